"""docs/images/dashboard.png: `python -m docs.generate.dashboard` takes the picture of a real fleet as it is redeployed.

MySQL, Kafka, four servers, their supervisor, a tower, the audit as the people, and two SIGHUPs. It takes six minutes.
"""

from __future__ import annotations

import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from playwright.sync_api import expect, sync_playwright

from compose.services import Kafka, Mysql
from docs.generate.constants import HOUSE
from docs.generate.screenshot import chromium

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import ViewportSize

PICTURE = HOUSE / "docs" / "images" / "dashboard.png"
SIZE: ViewportSize = {"width": 1440, "height": 1000}
SCALE = 1.25  # sharp enough on a dense screen, and still 200 KB
PORTS = (8601, 8602, 8603, 8604)
TOWER = 8690
CLIENTS = 240
RATE = 20  # messages a second, of all together
WATCHED = 110  # seconds before each redeploy, so that the small lines have something to tell
PATIENCE = 120.0  # seconds for a process to say that it is ready


def main() -> None:
    """Start all of it, wait, redeploy, take the picture in the middle."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        mysql = stack.enter_context(Mysql(folder / "mysql"))
        kafka = stack.enter_context(Kafka(folder / "kafka"))
        environ = os.environ | {
            "BELFRY_DB": mysql.url, "BELFRY_BUS": kafka.url, "BELFRY_SECRET": secrets.token_urlsafe(48),
            "BELFRY_LOG_FORMAT": "json",
        }  # fmt: skip
        run("db", "migrate", environ=environ)
        ports = ",".join(map(str, PORTS))
        fleet = stack.enter_context(running(folder / "fleet", environ, "fleet", "--ports", ports, "--guests"))
        stack.enter_context(running(folder / "tower", environ, "tower", "--port", str(TOWER), "--open-dashboard"))
        for port in (*PORTS, TOWER):
            until_ready(port)
        urls = ",".join(f"http://127.0.0.1:{port}" for port in PORTS)
        load = ("--clients", str(CLIENTS), "--rate", str(RATE), "--rooms", "24", "--seconds", "0")
        stack.enter_context(running(folder / "audit", environ, "audit", "--url", urls, *load))
        take(fleet)


def take(fleet: subprocess.Popen[bytes]) -> None:
    """Look at the dashboard at the second redeploy, while it is the third server's turn."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        context = browser.new_context(viewport=SIZE, device_scale_factor=SCALE, color_scheme="light", locale="en-GB")
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{TOWER}")
        past = page.get_by_role("region", name="Past rollouts").get_by_role("listitem")
        for number in range(2):
            expect(past).to_have_count(number, timeout=PATIENCE * 1_000)
            page.wait_for_timeout(WATCHED * 1_000)
            fleet.send_signal(signal.SIGHUP)
        rollout = page.get_by_role("region", name="Rollout", exact=True)
        expect(rollout.get_by_role("heading")).to_have_text(re.compile("server 3 of 4"), timeout=PATIENCE * 1_000)
        page.wait_for_timeout(500)
        page.screenshot(path=PICTURE)
        browser.close()


def run(*words: str, environ: dict[str, str]) -> None:
    """One command of ours, to its end."""
    subprocess.run([sys.executable, "-m", "belfry", *words], env=environ, cwd=HOUSE, check=True, timeout=PATIENCE)


@contextmanager
def running(log: Path, environ: dict[str, str], *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """One command of ours, until the block ends; it stops by SIGTERM."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "belfry", *words], env=environ, cwd=HOUSE, stdout=out, stderr=out
        )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.returncode not in (0, -signal.SIGTERM):
                print(log.read_text()[-2_000:], file=sys.stderr)


def until_ready(port: int) -> None:
    """Wait until whoever listens there says that it is ready."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5):
                return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


if __name__ == "__main__":
    main()
