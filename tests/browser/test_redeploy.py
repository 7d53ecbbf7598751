"""The server is redeployed while people type: their pages do not notice."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from playwright.sync_api import expect

if TYPE_CHECKING:
    from tests.browser.conftest import MakePerson, MakeServer, Person

REDEPLOYS = 3

# What a page would show of a redeploy: each change of the connection's badge and of the people in the room, and each
# websocket that it opens.
WATCH = """() => {
  window.noticed = [];
  const note = (what) => new MutationObserver((changes) => {
    for (const change of changes) noticed.push(`${what}: ${change.target.textContent.trim().slice(0, 80)}`);
  });
  note("badge").observe(document.querySelector("[role=status]"), { subtree: true, childList: true, characterData: true,
    attributes: true });
  note("people").observe(document.querySelector("[aria-label=People], aside"), { subtree: true, childList: true,
    characterData: true });
}"""


def watch(person: Person) -> list[str]:
    """From here on everything that the page shows of its connection is kept; the list of websockets it opens."""
    opened: list[str] = []
    person.page.on("websocket", lambda websocket: opened.append(websocket.url))
    person.page.evaluate(WATCH)
    return opened


def test_a_redeploy_while_people_type(make_server: MakeServer, make_person: MakePerson) -> None:
    server = make_server()
    server.start()
    ada, grace = make_person(server), make_person(server)
    ada.join("Ada", "lobby")
    grace.join("Grace", "lobby")
    ada.live()
    grace.live()
    expect(ada.page.get_by_role("complementary", name="People")).to_contain_text("Grace")
    expect(grace.page.get_by_role("complementary", name="People")).to_contain_text("Ada")
    opened = [watch(ada), watch(grace)]
    said = []
    for number in range(REDEPLOYS):
        ada.field.click()
        ada.page.keyboard.type(f"half a thought {number}")
        server.redeploy()
        expect(ada.field).to_be_focused()
        ada.page.keyboard.type(", and the rest")
        ada.page.keyboard.press("Enter")
        grace.say(f"heard {number}")
        said += [f"half a thought {number}, and the rest", f"heard {number}"]
        for person in (ada, grace):
            expect(person.log.get_by_text(f"heard {number}", exact=True)).to_be_visible()
            person.settled()
    assert sorted(ada.texts()) == sorted(grace.texts()) == sorted(said)
    assert ada.texts() == grace.texts()
    for person, sockets in zip((ada, grace), opened, strict=True):
        assert sockets == []
        typed = re.compile(r"^people: .*typ", re.IGNORECASE)
        assert [line for line in person.page.evaluate("noticed") if not typed.match(line)] == []
    assert [message["text"] for message in server.history("lobby")] == ada.texts()
