"""The dashboard of a real tower: `belfry up`, which is redeployed under it while people talk."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import LIVE

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Page

    from tests.browser.conftest import MakePerson, MakeServer, Person, Server

REFUSED_BY_HTTP = "Failed to load resource"  # how the console tells of an answer like 401, and of a stream that ended

# Everything the status and the region of what is wrong have said.
LISTEN = """
addEventListener("DOMContentLoaded", () => {
  window.said = [];
  const listen = () => {
    for (const element of document.querySelectorAll("#status, #wrong .title")) {
      if (!said.includes(element.textContent)) said.push(element.textContent);
    }
  };
  new MutationObserver(listen).observe(document, { subtree: true, childList: true, characterData: true });
});
"""


class Tower:
    """The tower's address of a server of the tests, as far as somebody who opens it is concerned."""

    def __init__(self, url: str) -> None:
        self.url = url


@pytest.fixture
def up(make_server: MakeServer) -> tuple[Server, Tower]:
    """`belfry up`, running, with its tower."""
    server = make_server()
    server.start()
    return server, Tower(server.dashboard())


def admin_token(data: Path) -> str:
    command = [sys.executable, "-m", "belfry", "token", "--user", "Ops", "--admin", "--data", str(data)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.strip()


def open_dashboard(tower: Tower, make_person: MakePerson) -> tuple[Person, Page]:
    person = make_person(tower)  # type: ignore[arg-type]
    person.context.add_init_script(LISTEN)
    person.visit()
    return person, person.page


def test_redeploys_are_counted_and_alarm_nobody(up: tuple[Server, Tower], make_person: MakePerson) -> None:
    server, tower = up
    watcher, page = open_dashboard(tower, make_person)
    ada = make_person(server)
    ada.join("Ada")
    row = page.get_by_role("row").filter(has_text="Ready")
    expect(row).to_have_count(1)
    expect(page.locator("#summary")).to_contain_text(re.compile("People connected1"))
    expect(page.get_by_role("region", name="What is wrong")).to_have_text("s1, the only server, is well")
    page.evaluate("window.said.length = 0")
    past = page.get_by_role("region", name="Past rollouts").get_by_role("listitem")
    for number in (1, 2):
        server.redeploy()
        expect(past).to_have_count(number, timeout=LIVE)
        ada.say(f"after redeploy {number}")
        ada.settled()
    expect(past.first).to_contain_text("none told to reconnect")
    expect(page.get_by_role("region", name="Rollout", exact=True)).to_contain_text("handed over")
    expect(page.get_by_role("region", name="What happened")).to_contain_text(
        "Redeploy: the successor of s1 is starting"
    )
    expect(page.get_by_role("status")).to_have_text("Live")
    # A machine that is slower than 3 s may say that it reconnects: but never that anything is wrong with the server.
    said = page.evaluate("said")
    assert not [line for line in said if "last data" in line or "silent" in line or "Not let in" in line], said
    watcher.forgive(REFUSED_BY_HTTP)


def test_verbs_go_the_whole_way(up: tuple[Server, Tower], make_person: MakePerson) -> None:
    server, tower = up
    watcher, page = open_dashboard(tower, make_person)
    page.get_by_role("button", name="Cordon s1", exact=True).click()
    page.get_by_role("textbox", name="Admin token").fill(admin_token(server.data))
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="Cordon s1")
    expect(dialog.get_by_role("alert")).to_contain_text("the last server that takes newcomers")
    dialog.get_by_label("Do it all the same").check()
    expect(dialog).to_contain_text("newcomers go to nobody")
    dialog.get_by_role("button", name="Cordon s1").click()
    expect(page.get_by_role("row").filter(has_text="Cordoned")).to_have_count(1)
    expect(page.get_by_role("region", name="What happened")).to_contain_text("s1 is cordoned")
    expect(page.get_by_role("region", name="What is wrong")).to_have_text("No server takes newcomers.")
    page.get_by_role("button", name="Uncordon s1", exact=True).click()
    dialog = page.get_by_role("dialog", name="Uncordon s1")
    expect(dialog).to_contain_text("s1 takes newcomers again.")
    dialog.get_by_role("button", name="Uncordon s1").click()
    expect(page.get_by_role("region", name="What is wrong")).to_have_text("s1, the only server, is well")
    watcher.forgive(REFUSED_BY_HTTP)
