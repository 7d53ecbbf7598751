"""Two people talk, a third reads far back, the server is killed with -9 and started again: nobody loses anything."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import trio
from playwright.sync_api import expect

from db.records import Draft
from db.sqlite import SqliteStore

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Route

    from tests.browser.conftest import MakePerson, MakeServer, Person

HISTORY = 2_100  # messages that are there before anybody comes
ROUNDS = 12  # messages each of the two says, with the kill in the middle


def write_history(data: Path, count: int) -> None:
    """Fill the lobby, as two people would have in the course of some days."""

    async def write() -> None:
        store = await SqliteStore.open(data / "belfry.db")
        begin = dt.datetime(2026, 1, 5, 8, 0, tzinfo=dt.UTC)
        room = await store.create_room("lobby", "Lobby", "u_old", begin)
        for first in range(0, count, 50):
            drafts = [
                Draft(room.id, f"u_{i // 3 % 2}", f"Old {i // 3 % 2}", f"n{i}", f"old {i + 1}" + " and on" * (i % 40))
                for i in range(first, min(first + 50, count))
            ]
            await store.append(drafts, begin + dt.timedelta(hours=first))
        await store.aclose()

    data.mkdir(parents=True)
    trio.run(write)


def first_seen(person: Person) -> tuple[str, float]:
    """The topmost message that is wholly in view, and where it stands."""
    text, top = person.log.evaluate(
        """(log) => {
          const edge = log.getBoundingClientRect().top;
          for (const row of log.querySelectorAll("article")) {
            const { top } = row.getBoundingClientRect();
            if (top >= edge) return [row.querySelector(".text").textContent, top];
          }
          return ["", 0];
        }"""
    )
    return text, top


def where(person: Person, text: str) -> float:
    """Where a message stands now."""
    box = person.log.locator("article", has=person.page.get_by_text(text, exact=True)).bounding_box()
    assert box is not None, f"{text} is gone from the page"
    top: float = box["y"]
    return top


def scroll_back(person: Person, to: str) -> None:
    """Scroll up by the wheel until a text is in the page."""
    box = person.log.bounding_box()
    assert box is not None
    person.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    wanted = person.log.get_by_text(to, exact=True)
    for _ in range(400):
        if wanted.count():
            return
        person.page.mouse.wheel(0, -2_000)
        person.page.wait_for_timeout(30)
    raise AssertionError(f"scrolled 400 times and never saw {to}")


def test_a_killed_server_costs_nobody_anything(make_server: MakeServer, make_person: MakePerson) -> None:
    server = make_server()
    write_history(server.data, HISTORY)
    server.start()
    ada, bo, cyd = make_person(server), make_person(server), make_person(server)
    for person, name in ((ada, "Ada"), (bo, "Bo"), (cyd, "Cyd")):
        person.join(name)
        person.live()
    scroll_back(cyd, "This is where it begins.")
    expect(cyd.log.get_by_text("old 1", exact=True)).to_be_visible()
    # Away from the edge, where nothing holds her but the client's own care.
    cyd.page.mouse.wheel(0, 1_500)
    cyd.page.wait_for_timeout(300)
    reading, stood = first_seen(cyd)

    for i in range(ROUNDS):
        if i == ROUNDS // 2:
            server.kill()
        ada.say(f"ada {i}")
        bo.say(f"bo {i}")
    expect(ada.status).not_to_have_attribute("data-state", "live")
    assert ada.log.locator(".pending").count() > 0
    server.start()
    for person in (ada, bo, cyd):
        person.live()
    ada.settled()
    bo.settled()
    ada.say("ada at last")
    bo.say("bo at last")
    ada.settled()
    bo.settled()

    said = server.history("lobby", after=HISTORY)
    assert [message["seq"] for message in said] == list(range(HISTORY + 1, HISTORY + len(said) + 1))
    texts = [message["text"] for message in said]
    for name in ("ada", "bo"):
        mine = [text for text in texts if text.startswith(name)]
        assert mine == [*(f"{name} {i}" for i in range(ROUNDS)), f"{name} at last"]
    for person in (ada, bo):
        expect(person.log.locator(".text").last).to_have_text(texts[-1])
        assert person.texts()[-len(texts) :] == texts

    assert abs(where(cyd, reading) - stood) <= 1, "what she reads has moved"
    down = cyd.page.get_by_role("button", name=f"{len(texts)} new")
    expect(down).to_be_visible()
    down.click()
    expect(cyd.log.locator(".text").last).to_be_in_viewport()
    assert cyd.texts()[-len(texts) :] == texts
    for person in (ada, bo, cyd):
        assert all("ERR_CONNECTION" in line for line in person.trouble), person.trouble
        person.trouble.clear()


def drawn(person: Person) -> None:
    """Two frames: one to draw what came, one that would show a correction that was needed."""
    person.page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def test_history_comes_without_a_jump(make_server: MakeServer, make_person: MakePerson) -> None:
    server = make_server()
    write_history(server.data, HISTORY)
    server.start()
    reader = make_person(server)
    held: list[Route] = []
    reader.page.route("**/messages?before=*", lambda route: held.append(route))
    reader.join("Reader")
    for page in range(12):
        reader.log.evaluate("(log) => { log.scrollTop = Math.min(log.scrollTop, 1_200); }")
        for _ in range(200):
            if len(held) > page:
                break
            reader.page.wait_for_timeout(20)
        drawn(reader)
        before, height = first_seen(reader), reader.log.evaluate("(log) => log.scrollHeight")
        with reader.page.expect_response("**/messages?before=*") as answer:
            held[page].continue_()
        assert answer.value.ok
        reader.page.wait_for_function("(height) => document.querySelector('#log').scrollHeight > height", arg=height)
        drawn(reader)
        text, top = first_seen(reader)
        assert text == before[0]
        assert abs(top - before[1]) <= 1
        # Only what is near the view is in the page.
        assert reader.log.locator("article").count() < 150


def test_ten_thousand_messages_stay_few_in_the_page(make_server: MakeServer, make_person: MakePerson) -> None:
    server = make_server()
    write_history(server.data, 10_000)
    server.start()
    reader = make_person(server)
    reader.join("Reader")
    # Pages as they come at the top, without waiting for a hand to turn the wheel.
    reader.page.evaluate(
        """async () => {
          const log = document.querySelector("[role=log]");
          const deadline = performance.now() + 90_000;
          while (!log.querySelector(".begin") && performance.now() < deadline) {
            log.scrollTop = 0;
            await new Promise((done) => requestAnimationFrame(done));
          }
        }"""
    )
    expect(reader.log.get_by_text("old 1", exact=True)).to_be_visible()
    longest = reader.page.evaluate(
        """async () => {
          const log = document.querySelector("[role=log]");
          let most = 0;
          for (let i = 0; i < 60; i += 1) {
            log.scrollTop = (log.scrollHeight * i) / 60;
            await new Promise((done) => requestAnimationFrame(done));
            most = Math.max(most, log.querySelectorAll("article").length);
          }
          return most;
        }"""
    )
    assert 0 < longest < 150
    reader.say("and one more")
    expect(reader.log.locator(".text").last).to_have_text("and one more")
    reader.settled()
