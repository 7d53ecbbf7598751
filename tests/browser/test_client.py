"""What a person does with the client, and what it does for them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Route

    from tests.browser.conftest import MakePerson, MakeServer, Person, Server

    MakeRoom = Callable[[str, str], str]

REFUSED_BY_HTTP = "Failed to load resource"  # how the console tells of an answer like 404 or 409


# --- coming in -------------------------------------------------------------------------------------------------


def test_one_field_one_button_and_in_the_lobby(server: Server, make_person: MakePerson) -> None:
    ada = make_person(server)
    ada.visit()
    expect(ada.page.get_by_role("textbox")).to_have_count(1)
    expect(ada.page.get_by_label("Your name")).to_be_focused()
    ada.page.keyboard.type("Ada")
    ada.page.keyboard.press("Enter")
    expect(ada.page.get_by_role("log", name="lobby")).to_be_visible()
    expect(ada.field).to_be_focused()
    expect(ada.status).to_have_text("Live")
    assert ada.page.url.endswith("/#/r/lobby")
    ada.page.reload()
    expect(ada.page.get_by_role("log", name="lobby")).to_be_visible()


@pytest.mark.parametrize(("name", "problem"), [("   ", "Tell people what to call you"), ("x" * 60, "at most 40")])
def test_a_name_that_will_not_do_is_said_at_the_field(
    server: Server, make_person: MakePerson, name: str, problem: str
) -> None:
    ada = make_person(server)
    ada.visit()
    ada.page.get_by_label("Your name").fill(name)
    ada.page.get_by_role("button", name="Join", exact=True).click()
    expect(ada.page.get_by_role("alert").filter(has_text=problem)).to_be_visible()
    expect(ada.page.get_by_label("Your name")).to_be_focused()
    ada.forgive(REFUSED_BY_HTTP)


def test_where_guests_are_off_a_token_lets_in(make_server: MakeServer, make_person: MakePerson) -> None:
    source = make_server()
    source.start()
    token = source.guest("Ada")
    secret = (source.data / "secret").read_bytes()
    server = make_server("--no-guests")
    server.data.mkdir()
    kept = server.data / "secret"
    kept.write_bytes(secret)
    kept.chmod(0o600)
    server.start()
    ada = make_person(server)
    ada.visit()
    ada.page.get_by_label("Your name").fill("Ada")
    ada.page.get_by_role("button", name="Join", exact=True).click()
    expect(ada.page.get_by_role("alert").filter(has_text="takes no guests")).to_be_visible()
    ada.page.get_by_label("Access token").fill(token[:-4] + "AAAA")
    ada.page.get_by_role("button", name="Enter").click()
    expect(ada.page.get_by_role("alert").filter(has_text="not one of this server's")).to_be_visible()
    ada.page.get_by_label("Access token").fill(token)
    ada.page.get_by_role("button", name="Enter").click()
    expect(ada.log).to_be_visible()
    expect(ada.rooms.get_by_text("Ada", exact=True)).to_be_visible()
    ada.forgive(REFUSED_BY_HTTP)


def test_an_expired_guest_comes_back_with_name_and_draft(make_server: MakeServer, make_person: MakePerson) -> None:
    server = make_server("--token-ttl", "15s")
    server.start()
    ada = make_person(server)
    ada.join("Ada")
    ada.field.fill("half a thought")
    expect(ada.page.get_by_text("Your session has ended")).to_be_visible(timeout=40_000)
    expect(ada.page.get_by_label("Your name")).to_have_value("Ada")
    ada.page.get_by_role("button", name="Join", exact=True).click()
    expect(ada.field).to_have_value("half a thought")
    ada.forgive(REFUSED_BY_HTTP)


def test_signing_out_leaves_nothing_behind(server: Server, make_person: MakePerson) -> None:
    ada = make_person(server)
    ada.join("Ada")
    ada.field.fill("a secret draft")
    ada.page.get_by_role("button", name="Sign out").click()
    expect(ada.page.get_by_label("Your name")).to_be_visible()
    kept = ada.page.evaluate("JSON.stringify({...localStorage})")
    assert "secret" not in kept
    assert "token" not in kept


# --- rooms -----------------------------------------------------------------------------------------------------


def test_make_find_and_sort_rooms(server: Server, make_person: MakePerson, make_room: MakeRoom) -> None:
    founder = make_room("sort-alpha", "Sort alpha")
    make_room("sort-gamma", "Sort gamma")
    make_room("sort-beta", "Sort beta")
    server.say("sort-alpha", founder, "the latest word")
    ada = make_person(server)
    ada.join("Ada")
    search = ada.rooms.get_by_role("searchbox", name="Search rooms")
    listed = ada.rooms.locator("#all-rooms a")
    search.fill("SORT")
    expect(listed).to_have_text(["Sort alpha", "Sort beta", "Sort gamma"])
    sort = ada.rooms.get_by_label("Sort rooms")
    sort.select_option("newest")
    expect(listed).to_have_text(["Sort beta", "Sort gamma", "Sort alpha"])
    sort.select_option("active")
    expect(listed).to_have_text(["Sort alpha", "Sort beta", "Sort gamma"])
    search.fill("nothing like it")
    expect(ada.rooms.get_by_text("No room matches")).to_be_visible()
    search.fill("")

    ada.rooms.get_by_role("button", name="New room").click()
    dialog = ada.page.get_by_role("dialog", name="New room")
    dialog.get_by_label("Room name").fill("Sort alpha")
    expect(dialog.get_by_label("Address")).to_have_value("sort-alpha")
    dialog.get_by_role("button", name="Create room").click()
    expect(dialog.get_by_role("alert")).to_contain_text("exists already")
    dialog.get_by_label("Room name").fill("Élan & Vital")
    dialog.get_by_label("Address").fill("")
    dialog.get_by_label("Room name").fill("Élan & vital")
    dialog.get_by_role("button", name="Create room").click()
    expect(ada.page.get_by_role("log", name="Élan & vital")).to_be_visible()
    assert ada.page.url.endswith("/#/r/elan-vital")
    expect(ada.rooms.locator("#open-rooms a")).to_have_text(["lobby", "Élan & vital"])
    ada.forgive(REFUSED_BY_HTTP)


def test_many_rooms_come_page_by_page(make_server: MakeServer, make_person: MakePerson) -> None:
    server = make_server()
    server.start()
    token = server.guest("Founder")
    for i in range(60):
        server.call("POST", "rooms", {"name": f"room-{i:02}"}, token=token)
    ada = make_person(server)
    ada.join("Ada")
    listed = ada.rooms.locator("#all-rooms a")
    expect(listed).to_have_count(49)  # a page of 50, of which the lobby is open
    ada.rooms.get_by_role("button", name="Show more").click()
    expect(listed).to_have_count(60)
    expect(ada.rooms.get_by_role("button", name="Show more")).to_have_count(0)


def test_a_room_that_is_not_there_can_be_made(server: Server, make_person: MakePerson) -> None:
    ada = make_person(server)
    ada.visit("not-there-yet")
    ada.page.get_by_label("Your name").fill("Ada")
    ada.page.get_by_role("button", name="Join", exact=True).click()
    expect(ada.page.get_by_role("heading", name="There is no room not-there-yet")).to_be_visible()
    expect(ada.field).to_be_hidden()
    ada.page.get_by_role("button", name="Create it").click()
    ada.page.get_by_role("button", name="Create room").click()
    expect(ada.page.get_by_role("log", name="not-there-yet")).to_be_visible()
    ada.say("now it is")
    ada.settled()
    ada.forgive(REFUSED_BY_HTTP)


def test_a_room_that_is_deleted_says_so(server: Server, make_person: MakePerson, make_room: MakeRoom) -> None:
    token = make_room("doomed", "Doomed")
    ada = make_person(server)
    ada.join("Ada", "doomed")
    server.call("DELETE", "rooms/doomed", token=token)
    expect(ada.page.get_by_role("heading", name="The room doomed was deleted")).to_be_visible()
    ada.page.get_by_role("link", name="Go to the lobby").click()
    expect(ada.page.get_by_role("log", name="lobby")).to_be_visible()


def test_unread_messages_are_counted_and_the_line_stands_where_reading_stopped(
    server: Server, make_person: MakePerson, make_room: MakeRoom
) -> None:
    token = make_room("counted", "Counted")
    server.say("counted", token, "read before")
    ada = make_person(server)
    ada.join("Ada", "counted")
    expect(ada.log.get_by_text("read before")).to_be_visible()
    ada.page.goto(f"{server.url}/#/r/lobby")
    expect(ada.page.get_by_role("log", name="lobby")).to_be_visible()
    server.say("counted", token, "first news", "second news")
    room = ada.rooms.get_by_role("link", name="Counted")
    expect(room).to_contain_text("2 unread")
    expect(ada.page).to_have_title(re.compile(r"^\(2\) "))
    ada.page.reload()
    expect(room).to_contain_text("2 unread")
    room.click()
    expect(ada.log.locator(".row:not(.begin)")).to_have_text(
        ["Today", re.compile("read before"), "New messages", re.compile("first news"), re.compile("second news"), ""]
    )
    expect(room).not_to_contain_text("unread")
    ada.page.keyboard.press("Escape")
    expect(ada.log.get_by_text("New messages")).to_have_count(0)


def test_reading_elsewhere_clears_the_count_here(server: Server, make_person: MakePerson, make_room: MakeRoom) -> None:
    token = make_room("two-places", "Two places")
    desk = make_person(server)
    desk.join("Ada", "two-places")
    desk.page.goto(f"{server.url}/#/r/lobby")
    expect(desk.page.get_by_role("log", name="lobby")).to_be_visible()
    phone = make_person(server, storage_state=desk.context.storage_state())
    phone.visit("lobby")
    phone.live()
    server.say("two-places", token, "seen once, seen everywhere")
    for place in (desk, phone):
        expect(place.rooms.get_by_role("link", name="Two places")).to_contain_text("1 unread")
    phone.rooms.get_by_role("link", name="Two places").click()
    expect(desk.rooms.get_by_role("link", name="Two places")).not_to_contain_text("unread")


# --- talking ---------------------------------------------------------------------------------------------------


def test_two_people_talk(server: Server, make_person: MakePerson, make_room: MakeRoom) -> None:
    make_room("talk", "Talk")
    ada, bo = make_person(server), make_person(server)
    ada.join("Ada", "talk")
    bo.join("Bo", "talk")
    people = ada.page.get_by_role("complementary", name="People")
    expect(people.get_by_role("listitem")).to_have_text([re.compile("Ada.*you"), re.compile("Bo")])
    ada.field.press_sequentially("Hel")
    expect(bo.page.get_by_text("Ada is typing…")).to_be_visible()
    ada.say("Hello Bo")
    expect(bo.log.get_by_text("Hello Bo")).to_be_visible()
    expect(bo.page.get_by_text("Ada is typing…")).to_have_count(0)
    expect(bo.page.locator("#announcer")).to_have_text("Ada: Hello Bo")
    bo.field.fill("two")
    bo.field.press("Shift+Enter")
    bo.page.keyboard.type("lines")
    bo.page.get_by_role("button", name="Send").click()
    expect(ada.log.locator(".text").last).to_have_text("two\nlines")
    bo.context.close()
    expect(people.get_by_role("listitem")).to_have_count(1)


def test_a_refused_message_is_kept_told_and_can_be_retried(make_server: MakeServer, make_person: MakePerson) -> None:
    server = make_server()
    server.start()
    ada = make_person(server)
    ada.join("Ada")
    ada.say("\u200b\u200b")  # nothing that can be seen: the server refuses it
    refused = ada.log.get_by_role("article").filter(has_text="Not delivered")
    expect(refused).to_contain_text("the text is empty")
    ada.say("this one is fine")
    ada.settled()
    refused.get_by_role("button", name="Retry").click()
    expect(refused).to_contain_text("the text is empty")
    ada.page.reload()
    expect(refused).to_be_visible()
    refused.get_by_role("button", name="Discard").click()
    expect(refused).to_have_count(0)

    # A refusal that a retry cures: written by one guest, found by the next, who may take it over.
    server.kill()
    ada.say("for whom it may concern")
    ada.page.goto("about:blank")
    server.start()
    ada.page.goto(f"{server.url}/icon.svg")  # the same origin without the client
    ada.page.evaluate(
        """() => {
          const session = JSON.parse(localStorage["belfry.session"]);
          localStorage["belfry.session"] = JSON.stringify({ ...session, pass: null });
        }"""
    )
    ada.visit()
    ada.page.get_by_role("button", name="Join", exact=True).click()
    refused = ada.log.get_by_role("article").filter(has_text="written under another name")
    refused.get_by_role("button", name="Retry").click()
    expect(refused).to_have_count(0)
    ada.settled()
    assert [message["text"] for message in server.history("lobby")] == ["this one is fine", "for whom it may concern"]
    ada.forgive("WebSocket connection", REFUSED_BY_HTTP)


def test_drafts_are_kept_a_room_and_over_reloads(server: Server, make_person: MakePerson, make_room: MakeRoom) -> None:
    make_room("drafts", "Drafts")
    ada = make_person(server)
    ada.join("Ada")
    ada.field.fill("for the lobby")
    ada.page.goto(f"{server.url}/#/r/drafts")
    expect(ada.field).to_have_value("")
    ada.field.fill("for the other room")
    ada.page.reload()
    expect(ada.field).to_have_value("for the other room")
    ada.rooms.get_by_role("link", name="lobby").click()
    expect(ada.field).to_have_value("for the lobby")


def test_unsent_messages_survive_a_reload(make_server: MakeServer, make_person: MakePerson) -> None:
    server = make_server()
    server.start()
    ada = make_person(server)
    ada.join("Ada")
    ada.live()
    server.kill()
    ada.say("first")
    ada.say("second")
    expect(ada.log.locator(".pending")).to_have_count(2)
    server.start()
    ada.page.reload()
    ada.live()
    ada.settled()
    expect(ada.log.locator(".text")).to_have_text(["first", "second"])
    assert [message["text"] for message in server.history("lobby")] == ["first", "second"]
    ada.forgive("WebSocket connection", REFUSED_BY_HTTP)


def test_the_limit_is_shown_before_it_is_hit(make_server: MakeServer, make_person: MakePerson) -> None:
    server = make_server("--text-chars", "100")
    server.start()
    ada = make_person(server)
    ada.join("Ada")
    ada.live()
    counter, send = ada.page.locator("#counter"), ada.page.get_by_role("button", name="Send")
    ada.field.fill("🐝" * 80)
    expect(counter).to_have_text("")
    ada.field.fill("🐝" * 95)
    expect(counter).to_have_text("5 left")
    expect(send).to_be_enabled()
    ada.field.fill("🐝" * 103)
    expect(counter).to_have_text("3 over the limit")
    expect(send).to_be_disabled()
    ada.page.keyboard.press("Enter")
    expect(ada.field).to_have_value("🐝" * 103)
    ada.say("🐝" * 100)
    ada.settled()
    expect(ada.log.get_by_text("Not delivered")).to_have_count(0)


def test_the_composer_grows_to_six_lines(server: Server, make_person: MakePerson) -> None:
    ada = make_person(server)
    ada.join("Ada")
    heights = []
    for lines in (1, 3, 6, 12):
        ada.field.fill("\n".join("line" for _ in range(lines)))
        heights.append(ada.field.evaluate("(field) => field.clientHeight"))
    assert heights == [36, 84, 156, 156]


def far_behind(server: Server, make_person: MakePerson, make_room: MakeRoom, name: str) -> Person:
    """Somebody with 170 unread messages in a room, of which a freshly loaded page has only the newest at hand."""
    token = make_room(name, name.capitalize())
    server.say(name, token, "the last that was read")
    ada = make_person(server)
    ada.join("Ada", name)
    expect(ada.log.get_by_text("the last that was read")).to_be_visible()
    ada.page.goto(f"{server.url}/#/r/lobby")
    server.say(name, token, *(f"news {i}" for i in range(170)))
    expect(ada.rooms.get_by_role("link", name=name.capitalize())).to_contain_text("99+ unread")
    return ada


def test_where_reading_stopped_is_found_however_far_back(
    server: Server, make_person: MakePerson, make_room: MakeRoom
) -> None:
    ada = far_behind(server, make_person, make_room, "far-back")
    ada.page.reload()
    ada.rooms.get_by_role("link", name="Far-back").click()
    expect(ada.log.get_by_text("news 169", exact=True)).to_be_visible()
    back = ada.page.get_by_role("button", name="170 new")
    back.click()
    expect(ada.log.get_by_text("New messages")).to_be_in_viewport()
    expect(ada.log.get_by_text("news 0", exact=True)).to_be_in_viewport()
    expect(back).to_have_count(0)
    ada.page.keyboard.press("Escape")
    expect(ada.log.get_by_text("news 169", exact=True)).to_be_in_viewport()
    expect(back).to_have_count(0)


def test_the_way_back_waits_for_the_page_of_history_that_is_on_its_way(
    server: Server, make_person: MakePerson, make_room: MakeRoom
) -> None:
    ada = far_behind(server, make_person, make_room, "slow-line")
    held: list[Route] = []
    ada.page.route("**/messages?before=*", lambda route: held.append(route), times=1)
    ada.page.reload()
    with ada.page.expect_request("**/messages?before=*"):
        ada.rooms.get_by_role("link", name="Slow-line").click()
        ada.log.evaluate("(log) => { log.scrollTop = 1_200; }")  # near the top: the page before is asked for
    ada.page.get_by_role("button", name="170 new").click()
    held.pop().continue_()
    expect(ada.log.get_by_text("New messages")).to_be_in_viewport()
    expect(ada.log.get_by_text("news 0", exact=True)).to_be_in_viewport()
