"""The tower's dashboard in real Chromium: what it shows, what its verbs ask, and what it says when nobody answers."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from tests.browser.contrast import LOW_CONTRAST
from tests.browser.fake_tower import GUEST, TOKEN, FakeTower, rollout, server, step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Locator, Page

    from tests.browser.conftest import MakePerson, Person

    Watch = Callable[..., Page]

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
REFUSED_BY_HTTP = "Failed to load resource"  # how the console tells of an answer like 401, and of none


@pytest.fixture
def tower() -> Iterator[FakeTower]:
    """A tower over four servers that are well."""
    fake = FakeTower()
    yield fake
    fake.stop()


@pytest.fixture
def watch(tower: FakeTower, make_person: MakePerson) -> Iterator[Watch]:
    """`watch(color_scheme="dark")` opens the dashboard. `refusals=True`: the test provokes some."""
    watchers: list[tuple[Person, bool]] = []

    def open_it(*, refusals: bool = False, **options: Any) -> Page:
        person = make_person(tower, **options)  # type: ignore[arg-type]
        watchers.append((person, refusals))
        person.visit()
        return person.page

    yield open_it
    for person, refusals in watchers:
        if refusals:
            person.forgive(REFUSED_BY_HTTP)


def row(page: Page, id: str) -> Locator:
    return page.get_by_role("row").filter(has=page.get_by_role("rowheader", name=id))


def wrong(page: Page) -> Locator:
    return page.get_by_role("region", name="What is wrong")


def let_pass(page: Page, milliseconds: int, *, until: Callable[[], bool]) -> None:
    """Let the page's stopped clock go on in small steps until something is so."""
    for _ in range(200):
        page.clock.run_for(milliseconds)
        if until():
            return
        page.wait_for_timeout(50)
    raise AssertionError("it does not come to that")


def ids(page: Page) -> list[str]:
    """The servers in the order they are shown."""
    found: list[str] = page.evaluate("[...document.querySelectorAll('#servers-body tr')].map((row) => row.dataset.id)")
    return found


def test_regions_fields_and_buttons_have_their_names(tower: FakeTower, watch: Watch) -> None:
    tower.rollout = rollout(steps=[step("began"), step("starting", "s1", 1)])
    page = watch()
    expect(page.get_by_role("table", name="Servers")).to_be_visible()
    for name in ("What is wrong", "Rollout", "Servers", "What happened", "Past rollouts"):
        expect(page.get_by_role("region", name=name, exact=True)).to_be_visible()
    expect(page.get_by_role("searchbox", name="Filter servers")).to_be_visible()
    expect(page.get_by_role("status")).to_have_count(1)
    expect(page.get_by_role("status")).to_have_text("Live")
    expect(page.get_by_role("main")).to_have_count(1)
    expect(page.get_by_role("heading", level=1)).to_have_text("Belfry tower")
    # A grid of rows is a table still.
    expect(page.get_by_role("row")).to_have_count(5)
    expect(row(page, "s1").get_by_role("cell")).to_have_count(7)  # one column is for walls
    for verb in ("Cordon", "Drain"):
        expect(page.get_by_role("button", name=f"{verb} s1", exact=True)).to_be_visible()
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, a")]
          .filter((element) => element.checkVisibility())
          .filter((element) => !(element.labels?.length || element.ariaLabel || element.textContent.trim()))
          .map((element) => element.outerHTML)"""
    )
    assert nameless == []
    found = page.evaluate("[...document.querySelectorAll('[id]')].map((element) => element.id)")
    assert len(found) == len(set(found))


def test_the_fleet_is_shown_as_it_is_and_as_it_changes(tower: FakeTower, watch: Watch) -> None:
    page = watch()
    expect(wrong(page)).to_have_text("All 4 servers are well")
    first = row(page, "s1")
    for text in ("Ready", "0.2.0", "300", "42", "4.2 ms", "10.0.0.7:8001"):
        expect(first).to_contain_text(text)
    summary = page.locator("#summary")
    expect(summary).to_contain_text("1,200")
    expect(summary).to_contain_text("4of 4")
    tower.one("s1").update(
        state="draining", sessions=100, drain={"to_move": 300, "moved": 200, "per_second": 50.0, "eta_s": 2.0}
    )
    tower.one("s2").update(state="cordoned")
    tower.one("s3").update(state="down", age_s=74.0)
    tower.wrong = ["s3 at http://10.0.0.7:8003 has been silent for 74 s; it had 300 people", "no bus"]
    tower.tell()
    expect(first).to_contain_text("Draining")
    expect(first).to_contain_text("200 of 300 moved, about 2 s left, 50/s")
    expect(first.get_by_role("progressbar", name="Moved away from s1")).to_have_attribute("value", "200")
    expect(row(page, "s2")).to_contain_text("Cordoned")
    expect(row(page, "s3")).to_contain_text("74 s ago")
    expect(summary).to_contain_text("1of 4")
    expect(wrong(page)).to_contain_text("2 things are wrong")
    expect(wrong(page).get_by_role("listitem")).to_have_count(2)
    expect(page.locator("#spoken")).to_have_text(re.compile("^2 things are wrong. s3 at"))
    expect(page).to_have_title("! 2 things are wrong")
    # Which verbs there are follows the state.
    for name in ("Abort s1", "Uncordon s2", "Drain s2"):
        expect(page.get_by_role("button", name=name, exact=True)).to_be_visible()
    for name in ("Drain s1", "Cordon s2", "Drain s3", "Cordon s3"):
        expect(page.get_by_role("button", name=name, exact=True)).to_have_count(0)
    tower.servers, tower.wrong = [server("s9")], []
    tower.tell()
    expect(page.get_by_role("row")).to_have_count(2)
    expect(wrong(page)).to_have_text("s9, the only server, is well")
    tower.servers = []
    tower.tell()
    expect(page.get_by_text("Servers tell the tower of themselves")).to_be_visible()
    expect(page.get_by_role("table", name="Servers")).to_have_count(0)


def test_what_runs_on_is_not_spoken_again(tower: FakeTower, watch: Watch) -> None:
    tower.wrong = ["s3 has been silent for 10 s"]
    page = watch()
    spoken = page.locator("#spoken")
    expect(spoken).to_have_text("s3 has been silent for 10 s.")
    tower.wrong = ["s3 has been silent for 12 s"]
    tower.tell()
    expect(wrong(page)).to_have_text("s3 has been silent for 12 s.")
    expect(spoken).to_have_text("s3 has been silent for 10 s.")


def test_a_rollout_is_told_while_it_happens(tower: FakeTower, watch: Watch) -> None:
    page = watch()
    region = page.get_by_role("region", name="Rollout", exact=True)
    past = page.get_by_role("region", name="Past rollouts")
    expect(page.get_by_role("table", name="Servers")).to_be_visible()
    expect(region).to_have_count(0)
    expect(past).to_contain_text("None yet")
    running = tower.rollout = rollout(steps=[step("began"), step("starting", "s1", 1)])
    tower.tell()
    expect(region.get_by_role("heading")).to_have_text("Rolling out 0.1.0 → 0.2.0, server 1 of 4")
    expect(region).to_contain_text("s1: the successor starts")
    running["steps"] += [step("handed", "s1", 1, moved=300, stall_ms=84.0), step("starting", "s2", 2)]
    running |= {"moved": 300, "longest_stall_ms": 84.0}
    tower.tell()
    expect(region.get_by_role("heading")).to_have_text("Rolling out 0.1.0 → 0.2.0, server 2 of 4")
    expect(region).to_contain_text("s1: 300 sockets handed over, none told to reconnect, longest stall 84 ms")
    expect(region).not_to_contain_text("s1: the successor starts")
    stages = region.get_by_role("list", name="Servers of the rollout").get_by_role("listitem")
    expect(stages).to_have_text(["s1 done", "s2 in progress", "server 3 waits", "server 4 waits"])
    # It ends: the story keeps standing for a while, with its verdict, and is in the past besides.
    ended = running | {"state": "done", "ended_at": time.time(), "moved": 1_200}
    tower.past = [ended, rollout("r0", "failed", began_at=time.time() - 90, why="s2 did not become ready")]
    tower.rollout = None
    tower.tell()
    expect(region).to_contain_text("Rolled out 0.1.0 → 0.2.0")
    expect(region).to_contain_text("1,200 sockets handed over, none told to reconnect, longest stall 84 ms")
    expect(past.get_by_role("listitem")).to_have_count(2)
    expect(past.get_by_role("listitem").first).to_contain_text(
        re.compile(r"Done in [\d.]+ s: 1,200 sockets handed over")
    )
    expect(past.get_by_role("listitem").last).to_contain_text("s2 did not become ready")
    expect(past.locator(".tally")).to_have_text("2")


def test_notes_come_once_newest_first(tower: FakeTower, watch: Watch) -> None:
    tower.note("s1 takes clients", at=time.time() - 20)
    tower.note("s4 fell silent", "error", at=time.time() - 10)
    page = watch(refusals=True)
    notes = page.get_by_role("region", name="What happened").get_by_role("listitem")
    expect(notes).to_have_count(2)
    expect(notes.first).to_contain_text("Error: s4 fell silent")
    tower.stop()
    tower.start()
    tower.note("no server takes newcomers", "warning", at=time.time() - 15)
    expect(notes).to_have_count(3)
    expect(notes.nth(1)).to_contain_text("Warning: No server takes newcomers")


def test_a_verb_says_first_what_it_will_do(tower: FakeTower, watch: Watch) -> None:
    page = watch()
    page.get_by_role("button", name="Drain s2", exact=True).click()
    dialog = page.get_by_role("dialog", name="Drain s2")
    expect(dialog).to_contain_text("300 people will be moved at 100 a second.")
    dialog.get_by_role("button", name="Cancel").click()
    expect(dialog).to_have_count(0)
    assert tower.orders == []
    page.get_by_role("button", name="Drain s2", exact=True).click()
    dialog.get_by_text("More").click()
    dialog.get_by_label("People a second").fill("25")
    dialog.get_by_label("Deadline, seconds").fill("x")
    expect(dialog.get_by_role("alert")).to_have_text(re.compile("“x” is no number of seconds"))
    expect(dialog.get_by_role("button", name="Drain s2")).to_be_disabled()
    dialog.get_by_label("Deadline, seconds").fill("20")
    expect(dialog).to_contain_text("300 people will be moved at 25 a second.")
    dialog.get_by_role("button", name="Drain s2").click()
    expect(dialog).to_have_count(0)
    assert tower.orders == [("s2", "drain", {"per_second": 25, "deadline": 20})]
    expect(page.locator("#toast")).to_have_text("300 people will be moved at 25 a second.")
    # The next one begins anew, and a verb without such fields has none.
    page.get_by_role("button", name="Drain s3", exact=True).click()
    expect(page.get_by_label("People a second")).to_have_value("")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Cordon s3", exact=True).click()
    dialog = page.get_by_role("dialog", name="Cordon s3")
    expect(dialog).to_contain_text("s3 gets cordon.")
    expect(dialog.get_by_text("More")).to_be_hidden()
    dialog.get_by_role("button", name="Cordon s3").click()
    expect(dialog).to_have_count(0)
    assert tower.orders[-1] == ("s3", "cordon", {})


def test_what_the_tower_refuses_stands_in_the_dialog(tower: FakeTower, watch: Watch) -> None:
    page = watch(refusals=True)
    tower.refusals = [(409, "last_server", "no other server would be left for newcomers")]
    page.get_by_role("button", name="Drain s1", exact=True).click()
    dialog = page.get_by_role("dialog", name="Drain s1")
    expect(dialog.get_by_role("alert")).to_have_text("No other server would be left for newcomers.")
    sure = dialog.get_by_role("button", name="Drain s1")
    expect(sure).to_be_disabled()
    dialog.get_by_label("Do it all the same").check()
    expect(dialog).to_contain_text("300 people will be moved")
    expect(dialog.get_by_role("alert")).to_have_count(0)
    sure.click()
    expect(dialog).to_have_count(0)
    assert tower.orders == [("s1", "drain", {"force": True})]
    # Between the question and the order things may change.
    page.get_by_role("button", name="Drain s2", exact=True).click()
    dialog = page.get_by_role("dialog", name="Drain s2")
    expect(dialog).to_contain_text("300 people will be moved")
    tower.refusals = [(409, "server_gone", "s2 has stopped")]
    dialog.get_by_role("button", name="Drain s2").click()
    expect(dialog.get_by_role("alert")).to_have_text("s2 has stopped.")
    expect(dialog.get_by_label("Do it all the same")).to_be_hidden()


def test_nobody_looks_without_an_admins_token(tower: FakeTower, watch: Watch) -> None:
    tower.tokens, tower.reading_is_open = {TOKEN: 200, GUEST: 403}, False
    page = watch(refusals=True)
    field = page.get_by_role("textbox", name="Admin token")
    expect(field).to_be_focused()
    expect(page.get_by_role("table", name="Servers")).to_have_count(0)
    expect(page.get_by_role("alert")).to_have_count(0)
    for token, problem in (
        ("", "Paste the token"),
        ("wrong", "not one of this fleet's"),
        (GUEST, "not an administrator"),
    ):
        field.fill(token)
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_contain_text(problem)
        expect(field).to_be_focused()
    field.fill(f"  {TOKEN}\n")
    page.get_by_role("button", name="Open").click()
    expect(page.get_by_role("table", name="Servers")).to_be_visible()
    expect(page.locator("#gate-token")).to_have_value("")
    assert TOKEN not in page.url
    assert page.evaluate("Object.values(localStorage)") == []
    page.get_by_role("button", name="Drain s1", exact=True).click()
    expect(page.get_by_role("dialog", name="Drain s1")).to_contain_text("300 people")
    page.keyboard.press("Escape")
    page.reload()
    expect(page.get_by_role("table", name="Servers")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("textbox", name="Admin token")).to_be_visible()


def test_a_token_that_ends_while_one_looks_asks_for_another(tower: FakeTower, watch: Watch) -> None:
    tower.tokens, tower.reading_is_open = {TOKEN: 200}, False
    page = watch(refusals=True)
    page.get_by_role("textbox", name="Admin token").fill(TOKEN)
    page.keyboard.press("Enter")
    expect(page.get_by_role("table", name="Servers")).to_be_visible()
    tower.tokens = {"another": 200}
    tower.stop()
    tower.start()
    expect(page.get_by_role("alert")).to_contain_text("has expired")
    page.get_by_role("textbox", name="Admin token").fill("another")
    page.keyboard.press("Enter")
    expect(page.get_by_role("table", name="Servers")).to_be_visible()
    expect(page.get_by_role("status")).to_have_text("Live")


def test_a_token_that_ends_takes_nothing_from_who_may_look_without(tower: FakeTower, watch: Watch) -> None:
    tower.tokens = {TOKEN: 200}
    page = watch(refusals=True)
    page.evaluate(f"sessionStorage.setItem('belfry.tower.token', '{GUEST}')")
    page.reload()
    expect(page.get_by_role("table", name="Servers")).to_be_visible()
    expect(page.get_by_role("button", name="Sign out")).to_be_hidden()


def test_who_may_look_may_not_yet_act(tower: FakeTower, watch: Watch) -> None:
    tower.tokens = {TOKEN: 200, GUEST: 403}
    page = watch(refusals=True)
    page.get_by_role("button", name="Drain s1", exact=True).click()
    unlock = page.get_by_role("dialog", name="This is for administrators")
    field = unlock.get_by_label("Admin token")
    expect(field).to_be_focused()
    expect(unlock.get_by_role("alert")).to_have_count(0)
    field.fill(GUEST)
    page.keyboard.press("Enter")
    expect(unlock.get_by_role("alert")).to_contain_text("not an administrator")
    field.fill(TOKEN)
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="Drain s1")
    expect(dialog).to_contain_text("300 people will be moved")
    expect(unlock).to_have_count(0)
    assert tower.orders == []
    dialog.get_by_role("button", name="Drain s1").click()
    expect(dialog).to_have_count(0)
    assert tower.orders == [("s1", "drain", {})]
    # Nobody is asked twice.
    page.get_by_role("button", name="Cordon s2", exact=True).click()
    expect(page.get_by_role("dialog", name="Cordon s2")).to_contain_text("s2 gets cordon")


def test_a_tower_that_is_replaced_alarms_nobody(tower: FakeTower, make_person: MakePerson) -> None:
    person = make_person(tower)  # type: ignore[arg-type]
    page = person.page
    page.clock.install(time=time.time())
    person.visit()
    expect(page.get_by_role("status")).to_have_text("Live")
    page.clock.pause_at(time.time() + 5)  # it stands still from here, but for what the test lets pass
    tower.one("s1")["sessions"] = 301
    let_pass(page, 10, until=lambda: "301" in row(page, "s1").inner_text())  # so the data are new by this clock too
    tower.stop()
    expect(page.get_by_role("status")).to_have_attribute("data-state", "waiting")
    page.clock.run_for(1_000)  # ms; a try is made, and nobody listens yet
    expect(page.get_by_role("status")).to_have_attribute("data-state", "waiting")
    expect(page.get_by_role("status")).to_have_text("Live")
    expect(wrong(page)).to_have_text("All 4 servers are well")
    tower.start()
    tower.servers = tower.servers[:3]
    let_pass(page, 100, until=lambda: wrong(page).inner_text() == "All 3 servers are well")
    expect(page.get_by_role("status")).to_have_text("Live")
    person.forgive(REFUSED_BY_HTTP)


def test_old_data_are_called_old(tower: FakeTower, watch: Watch) -> None:
    page = watch(refusals=True)
    status = page.get_by_role("status")
    expect(status).to_have_text("Live")
    colour = "getComputedStyle(document.querySelector('#summary .value')).color"
    lively = page.evaluate(colour)
    tower.stop()
    expect(status).to_contain_text(re.compile(r"the last data are \d+ s old"))
    expect(status).to_contain_text("Reconnecting")
    expect(wrong(page)).to_contain_text("Nothing has come from the tower since")
    expect(wrong(page)).to_contain_text("Servers go on without it")
    assert page.evaluate(colour) != lively
    assert page.evaluate(LOW_CONTRAST) == []
    expect(status).to_contain_text(re.compile(r"in (\d\d|[2-9]) s"))  # or it would come back by itself before the click
    tower.start()
    status.get_by_role("button", name="now", exact=True).click()
    expect(status).to_have_text("Live")
    expect(wrong(page)).to_have_text("All 4 servers are well")
    assert page.evaluate(colour) == lively
    tower.silent = True  # the connection stands, and says nothing
    expect(status).to_contain_text("the last data are")
    tower.silent = False
    expect(status).to_have_text("Live")


def test_sorting_and_filtering(tower: FakeTower, watch: Watch) -> None:
    for i, one in enumerate(tower.servers):
        one["sessions"] = [50, 400, 10, 200][i]
    tower.servers.append(server("s10", 300, "cordoned", version="0.1.0"))
    page = watch()
    expect(page.get_by_role("row")).to_have_count(6)
    assert ids(page) == ["s1", "s2", "s3", "s4", "s10"]
    table = page.get_by_role("table", name="Servers")
    table.get_by_role("button", name="People, last 5 min").click()
    assert ids(page) == ["s2", "s10", "s4", "s1", "s3"]
    expect(table.get_by_role("columnheader", name="People")).to_have_attribute("aria-sort", "descending")
    table.get_by_role("button", name="People, last 5 min").click()
    assert ids(page) == ["s3", "s1", "s4", "s10", "s2"]
    field = page.get_by_role("searchbox", name="Filter servers")
    field.fill("cordoned 0.1")
    assert ids(page) == ["s10"]
    expect(page.locator("#servers-tally")).to_have_text("1 of 5")
    field.fill("nothing like it")
    expect(page.get_by_text("None of the 5 servers has “nothing like it”")).to_be_visible()
    field.press("Escape")
    assert len(ids(page)) == 5
    # Rows change places with the figures, but not under somebody's hand.
    page.get_by_role("button", name="Drain s4", exact=True).focus()
    tower.one("s4")["sessions"] = 5_000
    tower.tell()
    expect(row(page, "s4")).to_contain_text("5,000")
    assert ids(page) == ["s3", "s1", "s4", "s10", "s2"]
    field.focus()
    expect(page.locator("#servers-body tr").last).to_have_attribute("data-id", "s4")


def test_a_thousand_servers_stay_quick(tower: FakeTower, watch: Watch) -> None:
    tower.servers = [server(f"s{i}", history=server("s1")["history"][-20:]) for i in range(1, 1_001)]
    page = watch()
    expect(page.locator("#servers-tally")).to_have_text("1,000")
    # A fleet that is as it was touches nothing in the table; one server that changed touches its own row.
    page.evaluate(
        """() => {
          window.touched = new Set();
          new MutationObserver((changes) => {
            for (const { target } of changes) {
              const element = target.closest ? target : target.parentElement;
              touched.add(element.closest("tr")?.dataset.id);
            }
          }).observe(document.querySelector("#servers-body"), { subtree: true, childList: true, characterData: true });
        }"""
    )
    tower.one("s3")["sessions"] = 777
    tower.tell()
    expect(row(page, "s3").first).to_contain_text("777")
    assert page.evaluate("[...touched]") == ["s3"]
    # What is not in view has no line drawn.
    drawn = page.evaluate(
        "[...document.querySelectorAll('#servers-body .line')].filter((line) => line.getAttribute('d')).length"
    )
    assert 0 < drawn < 100
    page.get_by_role("searchbox", name="Filter servers").fill("s99")
    expect(page.locator("#servers-body tr")).to_have_count(11)
    expect(page.locator("#servers-body tr").first.locator(".line")).to_have_attribute("d", re.compile("^M"))


def test_what_a_server_calls_itself_is_only_a_name(tower: FakeTower, watch: Watch) -> None:
    tower.servers = [
        server("s1", version="<b>2</b>", url="javascript:document.title='owned'"),
        server("s2", url="http://10.0.0.7:8002/<script>"),
    ]
    tower.servers[0]["id"] = "<img src=x onerror=\"document.title='owned'\">"
    tower.wrong = ["<script>document.title='owned'</script>"]
    tower.note("<img src=x onerror=\"document.title='owned'\">")
    page = watch()
    expect(page.get_by_role("row")).to_have_count(3)
    expect(page.get_by_role("rowheader").first).to_contain_text("<img src=x")
    assert page.locator("#app img, #app script, #app b:not(li b)").count() == 0
    expect(page.locator("#servers-body tr").first.locator(".url")).not_to_have_attribute("href", re.compile(""))
    assert "owned" not in page.title().replace("title='owned'", "")


def test_everything_by_keyboard(tower: FakeTower, watch: Watch) -> None:
    page = watch()
    expect(page.get_by_role("table", name="Servers")).to_be_visible()
    keyboard = page.keyboard
    keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the servers")).to_be_focused()
    keyboard.press("Enter")
    keyboard.press("Tab")
    expect(page.get_by_role("searchbox", name="Filter servers")).to_be_focused()
    keyboard.press("Tab")
    expect(page.get_by_role("button", name="Server", exact=True)).to_be_focused()
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineWidth")
    assert outline == "2px"
    keyboard.press("Enter")
    assert ids(page) == ["s4", "s3", "s2", "s1"]
    expect(page.get_by_role("button", name="Server", exact=True)).to_be_focused()
    for _ in range(6):
        keyboard.press("Tab")
    keyboard.press("Tab")
    expect(page.get_by_role("link", name="10.0.0.7:8004")).to_be_focused()
    keyboard.press("Tab")
    keyboard.press("Tab")
    drain = page.get_by_role("button", name="Drain s4", exact=True)
    expect(drain).to_be_focused()
    keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="Drain s4")
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    keyboard.press("Enter")  # pressed once too often: nothing is done
    expect(dialog).to_have_count(0)
    expect(drain).to_be_focused()
    keyboard.press("Enter")
    expect(dialog.get_by_role("button", name="Drain s4")).to_be_enabled()
    keyboard.press("Tab")
    keyboard.press("Enter")
    expect(dialog).to_have_count(0)
    assert tower.orders == [("s4", "drain", {})]
    # The button that was pressed makes way for its opposite, and the keyboard goes along.
    tower.one("s4")["state"] = "draining"
    tower.tell()
    expect(page.get_by_role("button", name="Abort s4", exact=True)).to_be_focused()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("device", ["desktop", "phone"])
def test_every_text_has_contrast(tower: FakeTower, watch: Watch, scheme: str, device: str) -> None:
    states = ("ready", "starting", "cordoned", "draining", "stopped", "down")
    tower.servers = [server(f"s{i}", state=state) for i, state in enumerate(states)]
    tower.one("s3")["drain"] = {"to_move": 300, "moved": 200, "per_second": 50.0, "eta_s": 2.0}
    tower.one("s5")["age_s"] = 74.0
    tower.wrong = [f"thing {i} is wrong" for i in range(12)]
    tower.rollout = rollout(
        steps=[step("began"), step("handed", "s1", 1), step("failed", "s2", 2, why="x"), step("starting", "s3", 3)]
    )
    tower.past = [rollout("r0", "failed", why="s2 did not become ready"), rollout("r1", "done")]
    for level in ("info", "warning", "error"):
        tower.note(f"of level {level}", level)
    page = watch(refusals=True, color_scheme=scheme, reduced_motion="reduce", **(PHONE if device == "phone" else {}))
    expect(page.get_by_role("region", name="Past rollouts").get_by_role("listitem")).to_have_count(2)
    expect(wrong(page)).to_contain_text("and 4 more")
    assert page.evaluate(LOW_CONTRAST) == []
    tower.refusals = [(409, "last_server", "no other server would be left")]
    page.get_by_role("button", name="Drain s0", exact=True).click()
    expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("No other server")
    assert page.evaluate(LOW_CONTRAST) == []
    page.get_by_label("Do it all the same").check()
    expect(page.get_by_role("dialog").get_by_role("button", name="Drain s0")).to_be_enabled()
    assert page.evaluate(LOW_CONTRAST) == []
    page.keyboard.press("Escape")
    tower.tokens, tower.reading_is_open = {TOKEN: 200}, False
    page.reload()
    page.get_by_role("textbox", name="Admin token").fill("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("not one of")
    assert page.evaluate(LOW_CONTRAST) == []


@pytest.mark.parametrize("width", [320, 390, 760, 1024, 1280, 1440, 1920])
def test_nothing_is_wider_than_the_window(tower: FakeTower, watch: Watch, width: int) -> None:
    tower.servers = [server(f"s{i}", 123_456, "draining", version="2026.11.26+a1b2c3") for i in range(1, 4)]
    tower.servers += [server("a-server-with-a-name-that-goes-on-and-on-and-on-and-on-and-on", state="cordoned")]
    tower.one("s1")["drain"] = {"to_move": 123_456, "moved": 99_999, "per_second": 1_000.0, "eta_s": 200.0}
    tower.wrong = [f"s1 at http://{'a' * 90}.example has been silent for 74 s"]
    tower.rollout = rollout(servers=40, steps=[step("began"), step("starting", "s1", 1, why="y" * 200)])
    tower.past = [rollout("r0", "failed", why="z" * 200)]
    tower.note("w" * 200)
    page = watch(viewport={"width": width, "height": 844}, is_mobile=width < 700, has_touch=width < 700)
    expect(page.get_by_role("region", name="Past rollouts").get_by_role("listitem")).to_have_count(1)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    # Nor does anything in a row stick out of it, where it would be cut off.
    out = page.evaluate(
        """() => [...document.querySelectorAll("#servers-body tr")].flatMap((row) => {
          const { left, right, bottom } = row.getBoundingClientRect();
          return [...row.querySelectorAll("button, .sub, td")].filter((element) => {
            const box = element.getBoundingClientRect();
            const inside = box.left >= left && box.right <= right + 0.5 && box.bottom <= bottom + 0.5;
            return element.checkVisibility() && !(inside && element.scrollWidth <= element.clientWidth + 1);
          }).map((element) => element.outerHTML.slice(0, 80));
        })"""
    )
    assert out == []


def test_a_phone_has_cards(tower: FakeTower, watch: Watch) -> None:
    page = watch(**PHONE)
    first = row(page, "s1")
    box = first.bounding_box()
    assert box is not None
    assert box["width"] <= 390
    assert box["height"] > 120  # px: a card, not a line
    for label in ("Version", "Messages/s", "Commit p99", "Last beat"):
        shown = first.locator(f"td[data-label='{label}']").evaluate(
            "(cell) => getComputedStyle(cell, '::before').content"
        )
        assert shown == f'"{label}"'
    page.get_by_label("Sort by").select_option("Name")
    button = page.get_by_role("button", name="Drain s1", exact=True).bounding_box()
    assert button is not None
    assert button["height"] >= 40  # px for a thumb
    page.get_by_role("button", name="Drain s1", exact=True).tap()
    expect(page.get_by_role("dialog", name="Drain s1")).to_contain_text("300 people")


def test_who_asks_for_less_motion_gets_none(tower: FakeTower, watch: Watch) -> None:
    page = watch(reduced_motion="reduce")
    expect(page.get_by_role("table", name="Servers")).to_be_visible()
    moving = page.evaluate(
        """() => [...document.querySelectorAll("*")].filter((element) => {
          const { animationName, transitionDuration } = getComputedStyle(element);
          return animationName !== "none" || parseFloat(transitionDuration) > 0;
        }).length"""
    )
    assert moving == 0
