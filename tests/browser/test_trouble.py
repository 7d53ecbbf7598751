"""Hostile texts, and the connection when it is in trouble."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from playwright.sync_api import expect

if TYPE_CHECKING:
    from tests.browser.conftest import MakePerson, MakeServer

REFUSED_BY_HTTP = "Failed to load resource"  # how the console tells of an answer like 404 or 409

HOSTILE = [
    "<script>document.title = 'owned'</script>",
    "<img src=x onerror=\"document.title = 'owned'\">",
    "javascript:document.title='owned'",
    "[click](javascript:alert(1)) <a href='javascript:alert(1)'>x</a>",
    "http://example.com/\u202egpj.exe",
    "\u202eright to left \u2066without an end",
    "שלום https://example.com/שלום ok",
    "zero\u200bwidth\u200djoined\ufeff",
    "Z̷̢̛̤̪a̸̡͚l̶̰̈g̶̣̏o̵͇̿ " + "̈" * 200,
    "&lt;b&gt; &amp; {{7*7}} ${7*7}",
    "a" * 3_000,
    "\n".join("many lines" for _ in range(50)),
    "🏴󠁧󠁢󠁥󠁮󠁧󠁿👩‍👩‍👧‍👦",
]


def test_hostile_texts_and_names_are_only_texts_and_names(make_server: MakeServer, make_person: MakePerson) -> None:
    server = make_server()
    server.start()
    name = "<b onmouseover=alert(1)>Eve"
    eve = server.guest(name)
    server.call("POST", "rooms", {"name": "hostile", "title": "<img src=x onerror=alert(1)>"}, token=eve)
    server.say("hostile", eve, *HOSTILE)
    ada = make_person(server)
    ada.join("Ada", "hostile")
    expect(ada.page.get_by_role("heading", name="<img src=x", level=1)).to_be_visible()
    seen: list[str] = []
    for _ in range(30):
        seen += [text for text in ada.texts() if text not in seen]
        ada.log.evaluate("(log) => { log.scrollTop -= 500; }")
        ada.page.wait_for_timeout(30)
    assert sorted(seen) == sorted(HOSTILE)
    expect(ada.log.locator(".name").first).to_have_text(name)
    assert ada.log.locator("img, script, b, iframe").count() == 0
    links = ada.log.locator("a")
    for i in range(links.count()):
        link = links.nth(i)
        assert (link.get_attribute("href") or "").startswith(("http://", "https://"))
        assert link.get_attribute("rel") == "noopener noreferrer"
    assert "owned" not in ada.page.title()
    # Nothing that somebody says makes the page wider than the window.
    assert ada.page.evaluate("document.documentElement.scrollWidth") <= 1440
    assert ada.log.evaluate("(log) => log.scrollWidth <= log.clientWidth")


def test_the_badge_tells_the_truth(make_server: MakeServer, make_person: MakePerson) -> None:
    # A drain with a window that is long enough to be seen, and a first retry late enough to be pressed.
    server = make_server("--reconnect-window", "60s", "--drain-deadline", "4s")
    server.start()
    ada = make_person(server)
    ada.join("Ada")
    expect(ada.status).to_have_text("Live")
    server.kill()
    expect(ada.status).to_have_text(re.compile(r"^Reconnecting in \d+ s now$"))
    ada.page.get_by_role("button", name="now", exact=True).click()
    expect(ada.status).to_have_text(re.compile("^Reconnecting"))
    ada.context.set_offline(True)
    expect(ada.status).to_have_text("Offline, your messages wait")
    ada.say("said offline")
    expect(ada.log.locator(".pending")).to_have_count(1)
    server.start()
    ada.context.set_offline(False)
    ada.live()
    ada.settled()
    assert [message["text"] for message in server.history("lobby")] == ["said offline"]
    assert server.stop() == 0
    expect(ada.status).to_have_text("This server is being updated, moving you")
    server.start()
    ada.live()
    ada.forgive("WebSocket connection", REFUSED_BY_HTTP)


def test_a_session_that_was_replaced_stops_and_says_so(make_server: MakeServer, make_person: MakePerson) -> None:
    server = make_server("--sessions-per-user", "1")
    server.start()
    ada = make_person(server)
    ada.join("Ada")
    ada.live()
    other = make_person(server, storage_state=ada.context.storage_state())
    other.visit()
    other.live()
    expect(ada.status).to_have_text("Disconnected")
    expect(ada.page.get_by_role("alert").filter(has_text="newer session")).to_be_visible()
    ada.page.get_by_role("button", name="Connect again").click()
    ada.live()
    expect(other.status).to_have_text("Disconnected")


def test_a_room_that_was_restored_begins_anew_and_says_so(make_server: MakeServer, make_person: MakePerson) -> None:
    server = make_server()
    server.start()
    ada = make_person(server)
    ada.join("Ada")
    ada.say("before the disk was lost")
    ada.settled()
    server.kill()
    for file in server.data.glob("belfry.db*"):
        file.unlink()
    server.start()
    ada.live()
    expect(ada.log.get_by_text("before the disk was lost")).to_have_count(0)
    ada.say("after it")
    ada.settled()
    expect(ada.log.get_by_text("This room was restored on its server")).to_be_visible()
    expect(ada.log.locator(".text")).to_have_text(["after it"])
    ada.forgive("WebSocket connection", REFUSED_BY_HTTP)
