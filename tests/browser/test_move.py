"""People whose server is drained to another one, on another port: their pages go there, and nobody misses a word."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.browser.conftest import MakePerson, Person

SCRIPT = Path(__file__).with_name("two_servers.py")
ROOT = Path(__file__).resolve().parents[2]

# Every state that the badge went through, from the moment at which it was live.
WATCH_BADGE = """
() => {
  const badge = document.querySelector("[role=status][data-state]");
  window.badges = [badge.dataset.state];
  new MutationObserver(() => badges.push(badge.dataset.state)).observe(badge, {attributeFilter: ["data-state"]});
}
"""


class Pair:
    """Two servers in one process, obedient on its stdin."""

    def __init__(self, directory: Path) -> None:
        self.one, self.two = (Server(directory / name) for name in ("one", "two"))
        ports = [str(server.port) for server in (self.one, self.two)]
        self._log = (directory / "log").open("w")
        self._process = subprocess.Popen(
            [sys.executable, str(SCRIPT), str(directory), *ports],
            cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log,
            text=True,
        )  # fmt: skip
        self.wait("ready")

    def tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def wait(self, what: str) -> None:
        """Read on until it says this; its end is the end of the wait."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.strip() == what:
                return
        raise AssertionError(f"the servers ended before {what!r}")

    def end(self) -> None:
        with contextlib.suppress(OSError):
            assert self._process.stdin is not None
            self._process.stdin.close()
        self._process.kill()
        self._process.wait(20)
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._log.close()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    running = Pair(tmp_path)
    yield running
    running.end()


def sees(person: Person, texts: list[str]) -> None:
    """Wait for the last, then all are there, once and in order."""
    expect(person.log.get_by_text(texts[-1], exact=True)).to_have_count(1)
    assert person.texts() == texts


def test_a_drain_takes_people_to_another_server_and_they_notice_nothing(pair: Pair, make_person: MakePerson) -> None:
    ada, bo = make_person(pair.one), make_person(pair.one)
    for person, name in ((ada, "Ada"), (bo, "Bo")):
        person.join(name)
        person.live()
        person.page.evaluate(WATCH_BADGE)
    ada.say("before")
    sees(bo, ["before"])
    said = ["before"]
    pair.tell("drain s1")
    for number in range(10):  # while they move
        speaker = (ada, bo)[number % 2]
        speaker.say(f"word {number}")
        said.append(f"word {number}")
        sees(bo if speaker is ada else ada, said)
    pair.wait("drained s1")
    for person in (ada, bo):
        person.settled()
        person.live()
        sees(person, said)
        badges = person.page.evaluate("badges")
        assert set(badges) == {"live", "moving"}, badges  # never without a connection
        assert badges[-1] == "live"
        expect(person.page.get_by_role("complementary", name="People").get_by_role("listitem")).to_have_count(2)

    pair.tell("stop s1")  # the server that gave them their page is gone
    pair.wait("stopped s1")
    ada.say("after")
    said.append("after")
    sees(bo, said)
    ada.rooms.get_by_role("button", name="New room").click()  # asks over HTTP: of the server where it is now
    dialog = ada.page.get_by_role("dialog", name="New room")
    dialog.get_by_label("Room name").fill("Second home")
    dialog.get_by_role("button", name="Create room").click()
    expect(dialog).to_be_hidden()
    expect(ada.page.get_by_role("log", name="Second home")).to_be_visible()
    assert [message["text"] for message in pair.two.history("lobby")] == said
    # Chromium asks for the page's icon again when the address changes, of the server that gave it.
    ada.forgive("Failed to load resource: net::ERR_CONNECTION_REFUSED")
