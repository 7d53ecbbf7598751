"""A real server in a process of its own, and people in real Chromium."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

from compose.services.ports import free_port
from tests.family import kill_family, wait_gone

if TYPE_CHECKING:
    from pathlib import Path

START_TIMEOUT = 120.0  # seconds; two on an idle machine
STOP_TIMEOUT = 120.0  # seconds
WAIT = 60_000  # ms for what should be there at once, on a machine that also does other things
LIVE = 120_000  # ms to be connected again: a client's longest backoff is 30 s

expect.set_options(timeout=WAIT)

# A page reports here what its policy forbade; the console tells too, but not in every case.
WATCH_POLICY = """
window.violations = [];
addEventListener("securitypolicyviolation", (event) => {
  violations.push(`${event.violatedDirective} ${event.blockedURI}`);
});
"""


class Server:
    """`belfry up` on a port and a directory that stay the same over kills and restarts."""

    def __init__(self, data: Path, *flags: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.data = data
        self.log = data.with_suffix(".log")
        self.environ: dict[str, str] = {}  # over ours
        self._flags = flags
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        """Its verb, and what only this verb needs."""
        return ["up", "--data", str(self.data)]

    def start(self) -> None:
        """Start it, and return once it is ready."""
        command = [sys.executable, "-m", "belfry", *self.command(), "--port", str(self.port), *self._flags]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, env=os.environ | self.environ, stdout=log, stderr=log)
        deadline = time.monotonic() + START_TIMEOUT
        while not self._ready():
            assert self._process.poll() is None, self.log.read_text()[-4000:]
            assert time.monotonic() < deadline, "the server does not become ready"
            time.sleep(0.05)

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        assert self._process is not None
        family = kill_family(self._process.pid)
        self._process.wait(STOP_TIMEOUT)
        wait_gone(family)

    def dashboard(self) -> str:
        """Where its tower is; told a moment after it is ready."""
        deadline = time.monotonic() + START_TIMEOUT
        while not (found := re.findall(r'"dashboard":\s*"([^"]+)"', self.log.read_text())):
            assert time.monotonic() < deadline, self.log.read_text()[-4000:]
            time.sleep(0.05)
        told: str = found[-1]
        return told

    def redeploy(self) -> None:
        """SIGHUP, and return when the new process serves."""
        assert self._process is not None
        done = self.log.read_text().count("redeployed 1 server")
        self._process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 2 * START_TIMEOUT
        while self.log.read_text().count("redeployed 1 server") == done:
            assert self._process.poll() is None, self.log.read_text()[-4000:]
            assert time.monotonic() < deadline, self.log.read_text()[-4000:]
            time.sleep(0.05)

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(STOP_TIMEOUT)

    def end(self) -> None:
        """Be gone, whatever the test did."""
        if self._process is not None and self._process.poll() is None:
            self.kill()

    def call(self, method: str, path: str, body: object = None, *, token: str | None = None, key: str = "") -> Any:
        """One HTTP request under /v1; the answer's JSON."""
        request = urllib.request.Request(f"{self.url}/v1/{path}", method=method)
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        if token is not None:
            request.add_header("Authorization", f"Bearer {token}")
        if key:
            request.add_header("Idempotency-Key", key)
        with urllib.request.urlopen(request, timeout=20) as answer:
            content = answer.read()
        return json.loads(content) if content else None

    def guest(self, name: str) -> str:
        """A guest's token."""
        token: str = self.call("POST", "guests", {"name": name})["token"]
        return token

    def say(self, room: str, token: str, *texts: str) -> None:
        """Send messages over HTTP."""
        for text in texts:
            self.call("POST", f"rooms/{room}/messages", {"text": text}, token=token, key=uuid4().hex)

    def history(self, room: str, after: int = 0) -> list[dict[str, Any]]:
        """All messages of a room after a number."""
        token, found = self.guest("Historian"), []
        while True:
            page = self.call("GET", f"rooms/{room}/messages?after={after}&limit=200", token=token)
            if not page["messages"]:
                return found
            found += page["messages"]
            after = found[-1]["seq"]


class Person:
    """Somebody at a browser of their own."""

    def __init__(self, context: BrowserContext, server: Server, trouble: list[str]) -> None:
        self.context = context
        self.server = server
        self.page: Page = context.new_page()
        self.trouble = trouble
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: trouble.append(f"uncaught: {error}"))

    def _console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.trouble.append(message.text)

    def visit(self, room: str = "") -> None:
        """Open the client, perhaps at a room."""
        self.page.goto(f"{self.server.url}/{f'#/r/{room}' if room else ''}")

    def join(self, name: str, room: str = "") -> None:
        """Come in under a name, and wait for the room."""
        self.visit(room)
        self.page.get_by_label("Your name").fill(name)
        self.page.get_by_role("button", name="Join", exact=True).click()
        self.log.wait_for()

    def say(self, text: str) -> None:
        """Type and send."""
        self.field.fill(text)
        self.page.keyboard.press("Enter")
        expect(self.field).to_have_value("")

    @property
    def log(self) -> Any:
        return self.page.get_by_role("log")

    @property
    def field(self) -> Any:
        return self.page.get_by_label("Message", exact=True)

    @property
    def status(self) -> Any:
        return self.page.get_by_role("status")

    @property
    def rooms(self) -> Any:
        return self.page.get_by_role("navigation", name="Rooms")

    def live(self) -> None:
        """Wait until connected."""
        expect(self.status).to_have_attribute("data-state", "live", timeout=LIVE)

    def forgive(self, *beginnings: str) -> None:
        """Take what the test provoked from the console's errors."""
        self.trouble[:] = [line for line in self.trouble if not line.startswith(beginnings)]

    def texts(self) -> list[str]:
        """The messages in the page, in their order; only those near the view are."""
        found: list[str] = self.log.locator(".text").all_text_contents()
        return found

    def settled(self) -> None:
        """Wait until nothing one said is on its way any more; what was said just now is drawn in the next frame."""
        self.page.evaluate("() => new Promise((drawn) => requestAnimationFrame(drawn))")
        expect(self.log.locator(".pending")).to_have_count(0, timeout=LIVE)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One Chromium for all tests; each person gets a profile of their own in it."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    assert found, "Chromium is needed for these tests; get it, e.g. apt-get install chromium"
    with sync_playwright() as playwright:
        # Without its own sandbox, which containers seldom allow; the pages are ours.
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        chromium = playwright.chromium.launch(executable_path=found, args=arguments)
        yield chromium
        chromium.close()


MakeServer = Callable[..., Server]
MakePerson = Callable[..., Person]


@pytest.fixture
def make_server(tmp_path: Path) -> Iterator[MakeServer]:
    """`make_server("--flag")` gives a server, not started; all are gone when the test is over."""
    made: list[Server] = []

    def make(*flags: str) -> Server:
        made.append(Server(tmp_path / f"data{len(made)}", *flags))
        return made[-1]

    yield make
    for server in made:
        server.end()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running server that the tests of a module share, each in rooms of its own."""
    running = Server(tmp_path_factory.mktemp("server") / "data")
    running.start()
    yield running
    running.end()


@pytest.fixture
def make_person(browser: Browser) -> Iterator[MakePerson]:
    """`make_person(server)` opens a browser for somebody.

    At the end of the test none of them may have seen a forbidden load, an uncaught error or, unless the test
    takes them away from `trouble`, an error in the console.
    """
    people: list[Person] = []

    def make(server: Server, **options: Any) -> Person:
        context = browser.new_context(**({"viewport": {"width": 1440, "height": 900}} | options))
        context.add_init_script(WATCH_POLICY)
        people.append(Person(context, server, []))
        return people[-1]

    yield make
    trouble = []
    for person in people:
        trouble += person.trouble
        if not person.page.is_closed():
            trouble += person.page.evaluate("window.violations ?? []")
        person.context.close()
    assert trouble == []


@pytest.fixture
def make_room(server: Server) -> Callable[[str, str], str]:
    """`make_room(name, title)` on the shared server; returns the creator's token."""

    def make(name: str, title: str) -> str:
        token = server.guest("Founder")
        try:
            server.call("POST", "rooms", {"name": name, "title": title}, token=token)
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from error
        return token

    return make
