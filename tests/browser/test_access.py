"""The client by keyboard, by assistive technology, in the dark, and on a phone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.browser.contrast import LOW_CONTRAST

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.browser.conftest import MakePerson, MakeServer, Server

    MakeRoom = Callable[[str, str], str]

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


def test_regions_and_fields_have_their_names(server: Server, make_person: MakePerson) -> None:
    ada = make_person(server)
    ada.visit()
    expect(ada.page.get_by_role("main")).to_have_count(1)
    expect(ada.page.get_by_role("textbox", name="Your name")).to_be_visible()
    expect(ada.page.get_by_role("button", name="Join", exact=True)).to_be_visible()
    ada.join("Ada")
    page = ada.page
    expect(page.get_by_role("main")).to_have_count(1)
    expect(page.get_by_role("heading", level=1)).to_have_text("lobby")
    rooms = page.get_by_role("navigation", name="Rooms")
    expect(rooms.get_by_role("button", name="New room")).to_be_visible()
    expect(rooms.get_by_role("searchbox", name="Search rooms")).to_be_visible()
    expect(rooms.get_by_role("link", name="lobby")).to_have_attribute("aria-current", "page")
    expect(page.get_by_role("log", name="lobby")).to_be_visible()
    expect(page.get_by_role("textbox", name="Message")).to_be_visible()
    expect(page.get_by_role("button", name="Send")).to_be_visible()
    expect(page.get_by_role("complementary", name="People")).to_be_visible()
    expect(page.get_by_role("status")).to_have_count(1)
    # Nothing that can be pressed or filled is without a name, and no name is given twice by the same id.
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, textarea, a")]
          .filter((element) => element.checkVisibility())
          .filter((element) => !(element.labels?.length || element.ariaLabel || element.textContent.trim()))
          .map((element) => element.outerHTML)"""
    )
    assert nameless == []
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map((element) => element.id)")
    assert len(ids) == len(set(ids))


def test_everything_by_keyboard(server: Server, make_person: MakePerson, make_room: MakeRoom) -> None:
    make_room("by-keyboard", "By keyboard")
    ada = make_person(server)
    ada.visit()
    keyboard, page = ada.page.keyboard, ada.page
    keyboard.type("Ada")
    keyboard.press("Enter")
    expect(ada.field).to_be_focused()
    keyboard.press("Control+k")
    where = page.get_by_role("combobox", name="Room to go to")
    expect(where).to_be_focused()
    keyboard.type("keyb")
    expect(page.get_by_role("option", name="By keyboard")).to_have_attribute("aria-selected", "true")
    keyboard.press("Enter")
    expect(page.get_by_role("log", name="By keyboard")).to_be_visible()
    expect(ada.field).to_be_focused()
    keyboard.type("no mouse was moved https://example.com")
    keyboard.press("Enter")
    link = page.get_by_role("link", name="https://example.com")
    expect(link).to_be_visible()
    # Backwards from the composer: the link in the log, delivered meanwhile or not, the log itself.
    keyboard.press("Shift+Tab")
    expect(link).to_be_focused()
    ada.settled()
    expect(link).to_be_focused()
    keyboard.press("Shift+Tab")
    expect(ada.log).to_be_focused()
    # The first stop of the page leads past the rooms.
    page.evaluate("document.activeElement.blur()")
    page.get_by_role("heading", level=1).click()
    keyboard.press("Control+Home")
    page.locator(".skip").focus()
    keyboard.press("Enter")
    expect(ada.field).to_be_focused()
    assert page.url.endswith("#/r/by-keyboard"), "the skip link is no room"
    # A dialog closes by Escape and gives the keyboard back.
    page.get_by_role("button", name="New room").focus()
    keyboard.press("Enter")
    expect(page.get_by_label("Room name")).to_be_focused()
    keyboard.press("Escape")
    expect(page.get_by_role("button", name="New room")).to_be_focused()


def test_the_keyboard_stays_in_a_message_that_changes(make_server: MakeServer, make_person: MakePerson) -> None:
    server = make_server()
    server.start()
    ada = make_person(server)
    ada.join("Ada")
    server.kill()
    ada.say("see https://example.com")
    link = ada.log.get_by_role("link")
    expect(link).to_be_visible()
    ada.page.keyboard.press("Shift+Tab")
    expect(link).to_be_focused()
    server.start()
    ada.live()
    ada.settled()
    expect(link).to_be_focused()
    # A button that is gone once it is pressed leaves the keyboard in the log.
    ada.say("\u200b\u200b")  # nothing that can be seen: refused
    ada.log.get_by_role("button", name="Retry").focus()
    ada.page.keyboard.press("Enter")
    ada.settled()
    assert ada.log.evaluate("(log) => log.contains(document.activeElement)")
    ada.forgive("WebSocket connection", "Failed to load resource")


def test_scrolling_back_is_silent_and_news_is_not(server: Server, make_person: MakePerson, make_room: MakeRoom) -> None:
    token = make_room("spoken", "Spoken")
    for i in range(80):
        server.say("spoken", token, f"old {i}")
    ada = make_person(server)
    ada.join("Ada", "spoken")
    announcer = ada.page.locator("#announcer")
    expect(announcer).to_have_attribute("aria-live", "polite")
    expect(ada.log).to_have_attribute("aria-live", "off")
    ada.log.evaluate("(log) => { log.scrollTop = 0; }")
    expect(ada.log.get_by_text("old 0", exact=True)).to_be_visible()
    expect(announcer).to_have_text("")
    for i in range(5):
        server.say("spoken", token, f"new {i}")
    expect(ada.page.get_by_role("button", name="5 new")).to_be_visible()
    expect(announcer).not_to_have_text("")


def test_each_message_says_who_and_when(server: Server, make_person: MakePerson, make_room: MakeRoom) -> None:
    make_room("who-and-when", "Who and when")
    ada = make_person(server)
    ada.join("Ada", "who-and-when")
    for text in ("first", "second"):
        ada.say(text)
    ada.settled()
    articles = ada.log.get_by_role("article")
    expect(articles).to_have_count(2)
    for i in range(2):
        expect(articles.nth(i).locator(".who")).to_contain_text("Ada")
        expect(articles.nth(i).locator(".who time")).to_have_count(1)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("device", ["desktop", "phone"])
def test_every_text_has_contrast(
    server: Server, make_person: MakePerson, make_room: MakeRoom, scheme: str, device: str
) -> None:
    room = f"contrast-{scheme}-{device}"
    token = make_room(room, "Contrast")
    for name in ("Bo", "Cyd", "Dee", "Eli", "Fay", "Gus", "Hal"):
        guest = server.guest(name)
        server.say(room, guest, "see https://example.com")
    ada = make_person(server, color_scheme=scheme, **(PHONE if device == "phone" else {}))
    ada.visit(room)
    assert ada.page.evaluate(LOW_CONTRAST) == []
    ada.join("Ada", room)
    ada.say("\u200b")
    expect(ada.log.get_by_text("Not delivered")).to_be_visible()
    server.say(room, token, "news")
    expect(ada.log.get_by_text("news", exact=True)).to_be_visible()
    assert ada.page.evaluate(LOW_CONTRAST) == []
    ada.page.keyboard.press("Control+k")
    expect(ada.page.get_by_role("listbox").get_by_role("option").first).to_be_visible()
    assert ada.page.evaluate(LOW_CONTRAST) == []


def test_a_phone_has_drawers(server: Server, make_person: MakePerson, make_room: MakeRoom) -> None:
    make_room("pocket", "Pocket")
    ada = make_person(server, **PHONE)
    ada.join("Ada")
    page = ada.page
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    expect(page.get_by_role("navigation", name="Rooms")).to_have_count(0)  # inert: nobody gets there unseen
    page.get_by_role("button", name="Show rooms").click()
    expect(page.get_by_role("link", name="lobby")).to_be_focused()
    expect(page.locator("#main")).to_have_attribute("inert", "")
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Show rooms")).to_be_focused()
    page.get_by_role("button", name="Show rooms").click()
    page.get_by_role("link", name="Pocket").click()
    expect(page.get_by_role("log", name="Pocket")).to_be_visible()
    expect(page.get_by_role("navigation", name="Rooms")).to_have_count(0)
    page.get_by_role("button", name="Show people").click()
    expect(page.get_by_role("complementary", name="People").get_by_role("listitem")).to_contain_text("Ada")


def test_who_asks_for_less_motion_gets_none(server: Server, make_person: MakePerson) -> None:
    ada = make_person(server, reduced_motion="reduce", **PHONE)
    ada.join("Ada")
    moving = ada.page.evaluate(
        """() => [...document.querySelectorAll("*")].filter((element) => {
          const { animationName, transitionDuration } = getComputedStyle(element);
          return animationName !== "none" || parseFloat(transitionDuration) > 0;
        }).length"""
    )
    assert moving == 0
