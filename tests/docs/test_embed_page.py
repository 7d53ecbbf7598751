"""docs/how-to/embed-the-client.md: the page's own page, on a site of another origin, in real Chromium."""

from __future__ import annotations

import functools
import http.server
import shutil
import threading
from typing import TYPE_CHECKING

import pytest
import trio
from playwright.sync_api import expect, sync_playwright

from tests.docs.page import ROOT, block, blocks, put

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.docs.conftest import Server

PAGE = "how-to/embed-the-client.md"
WAIT = 20_000  # ms for what should be there at once, on a machine that also does other things
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Files, and nothing on stderr."""

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A site that is not Belfry's: its folder and its origin."""
    folder = tmp_path / "site"
    folder.mkdir()
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{serving.server_address[1]}"
        serving.shutdown()
        thread.join()


async def test_the_pages_client_talks_from_another_origin(server: Server, site: tuple[Path, str]) -> None:
    folder, origin = site
    server.kill()
    await server.start("--origins", origin)
    shutil.copy(ROOT / "chat/web/belfry.js", folder)
    shutil.copytree(ROOT / "chat/web/belfry", folder / "belfry")
    (folder / "index.html").write_text("<!doctype html><meta charset=utf-8>" + block(PAGE, "html"))
    script = put(blocks(PAGE, "javascript")[0], {"https://chat.example.org": f"http://127.0.0.1:{server.port}"})
    (folder / "chat.js").write_text(script)
    (folder / "chat-token").write_text(await server.guest("Ada"))
    await trio.to_thread.run_sync(talk, origin)


def talk(origin: str) -> None:
    """Say something on the page and see it there, before and after a reload."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(origin)
        expect(page.get_by_role("status")).to_have_text("live", timeout=WAIT)
        page.get_by_label("Message").fill("hi from our own page")
        page.get_by_role("button", name="Send").click()
        row = page.get_by_role("listitem").filter(has_text="Ada: hi from our own page")
        expect(row).to_have_count(1, timeout=WAIT)
        page.reload()
        expect(row).to_have_count(1, timeout=WAIT)
        browser.close()
        assert errors == []
