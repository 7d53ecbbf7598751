"""docs/images/client.png: `python -m docs.generate.screenshot` takes the real client's picture, on its own server."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING

from playwright.sync_api import sync_playwright

from docs.generate.constants import HOUSE

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, ViewportSize

PICTURE = HOUSE / "docs" / "images" / "client.png"
SIZE: ViewportSize = {"width": 1200, "height": 850}
SCALE = 1.5  # sharp on a dense screen, and still 150 KB
ROOMS = ("design", "incidents", "tea-break", "water-cooler")
TALK = (
    ("Ada", "Pulling the plug on the server now."),
    ("Grace", "Now? Everybody is here."),
    ("Ada", "That is the idea. Keep talking."),
    ("Margaret", "The graphs are at https://graphs.example.org/rooms"),
    ("Ada", "And it is back."),
    ("Grace", "It said it was reconnecting. Nothing is missing here."),
    ("Margaret", "Nor here.\nEvery message once, and in order."),
    ("Ada", "Then let us have tea."),
)


def main() -> None:
    """Start a server, let people talk, take the picture."""
    with tempfile.TemporaryDirectory() as data:
        command = [sys.executable, "-m", "belfry", "up", "--port", "0", "--data", data, "--log-format", "json"]
        with subprocess.Popen(
            [*command, "--first-rooms", ",".join(("lobby", *ROOMS))], stderr=subprocess.PIPE, text=True, cwd=HOUSE
        ) as server:
            try:
                assert server.stderr is not None
                url = next(found[0] for line in server.stderr if (found := re.search(r"http://[\d.:]+", line)))
                take(url)
            finally:
                server.terminate()


def take(url: str) -> None:
    """Drive as many browsers as there are people, and look over the shoulder of the last to speak."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        people = {name: come_in(browser, url, name) for name in ("Ada", "Grace", "Margaret", "Linus")}
        for name, text in TALK:
            page = people[name]
            page.get_by_label("Message", exact=True).fill(text)
            page.get_by_label("Message", exact=True).press("Enter")
            for everybody in people.values():
                everybody.get_by_role("log").get_by_text(text.split("\n")[-1]).wait_for()
        page = people["Grace"]
        page.mouse.move(600, 200)
        page.wait_for_timeout(7_000)  # ms; until the words about typing are gone
        PICTURE.parent.mkdir(exist_ok=True)
        page.screenshot(path=PICTURE)
        browser.close()


def chromium() -> str | None:
    """The browser of this machine; None is playwright's own."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def come_in(browser: Browser, url: str, name: str) -> Page:
    context = browser.new_context(viewport=SIZE, device_scale_factor=SCALE, color_scheme="light", locale="en-GB")
    page = context.new_page()
    page.goto(url)
    page.get_by_label("Your name").fill(name)
    page.get_by_role("button", name="Join").click()
    page.get_by_label("Message", exact=True).wait_for()
    return page


if __name__ == "__main__":
    main()
