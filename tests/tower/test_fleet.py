"""The fold of beats: what a tower knows of servers, however their beats reach it."""

from __future__ import annotations

import datetime as dt
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tower_world import START, beat

from db.records import ServerRecord
from tower.fleet import ALL_POINTS, KEEP_DOWN, KEEP_STOPPED, LEASE, POINTS, Fleet

if TYPE_CHECKING:
    from bus.events import Beat

BEAT = 2.0


def heard(fleet: Fleet, *beats: Beat, delay: float = 0.1) -> float:
    """Let a fleet hear beats, each a moment after it was made; the moment of the last."""
    for one in beats:
        fleet.beat(one, one.made_at + delay)
    return beats[-1].made_at + delay


def row(one: Beat) -> ServerRecord:
    """What a server writes into the table with a beat."""
    moments = (dt.datetime.fromtimestamp(at, dt.UTC) for at in (one.started_at, one.made_at))
    return ServerRecord(one.id, one.boot, one.url, one.version, one.state, one.sessions, *moments)  # type: ignore[arg-type]


def test_a_server_is_as_its_newest_beat_says() -> None:
    fleet = Fleet()
    now = heard(fleet, beat(state="starting"), beat(made_at=START + 1, sessions=3), beat(made_at=START + 2, sessions=7))
    found = fleet.server("s1", now)
    assert found is not None
    assert (found.state, found.sessions, found.url, found.boot) == ("ready", 7, "http://s1", "s1-a")
    assert found.seen_at == pytest.approx(now)
    assert fleet.server("s2", now) is None


def test_an_older_beat_or_the_same_again_changes_nothing() -> None:
    fleet = Fleet()
    newest = beat(made_at=START + 10, sessions=5)
    assert fleet.beat(newest, START + 10)
    before = fleet.servers(START + 10)
    assert not fleet.beat(newest, START + 10)
    assert not fleet.beat(beat(made_at=START + 8, state="stopped"), START + 10)
    assert fleet.servers(START + 10) == before


def test_silence_for_three_beats_is_down_and_a_beat_ends_it() -> None:
    fleet = Fleet()
    now = heard(fleet, *(beat(made_at=START + BEAT * i) for i in range(5)))
    assert fleet.servers(now + LEASE - 0.2)["s1"].state == "ready"
    assert fleet.servers(now + LEASE)["s1"].state == "down"
    assert LEASE + 0.25 < 7.0, "a death is seen within 7 s, with the tower's own look"
    heard(fleet, beat(made_at=START + 60))
    assert fleet.servers(START + 60.1)["s1"].state == "ready"


def test_a_dead_server_of_the_log_is_dead_at_once() -> None:
    fleet = Fleet()
    now = START + 3_600
    for i in range(20):  # a tower that starts gets the whole log in a moment
        fleet.beat(beat(made_at=START + BEAT * i), now + i * 0.001)
    assert fleet.servers(now + 0.02)["s1"].state == "down"


@pytest.mark.parametrize("skew", [-300.0, 300.0, -5.0, 5.0])
def test_a_clock_that_is_off_is_known_by_the_second_beat(skew: float) -> None:
    fleet = Fleet()
    for i in range(6):
        fleet.beat(beat(made_at=START + skew + BEAT * i), START + BEAT * i + 0.05)
        if i:
            assert fleet.servers(START + BEAT * i + 1)["s1"].state == "ready"
    last = START + BEAT * 5
    assert fleet.servers(last + LEASE - 1)["s1"].state == "ready"
    assert fleet.servers(last + LEASE + 0.1)["s1"].state == "down"


def test_beats_that_waited_for_the_bus_are_dated_by_their_making() -> None:
    fleet = Fleet()
    now = heard(fleet, *(beat(made_at=START + BEAT * i) for i in range(3)))
    late = now + 60
    for i in range(10):  # made in the first 20 s of the outage, then the server died; all come at once
        fleet.beat(beat(made_at=START + 6 + BEAT * i), late + i * 0.001)
    assert fleet.servers(late + 0.1)["s1"].state == "down"


def test_while_nothing_can_be_heard_silence_says_nothing() -> None:
    fleet = Fleet()
    now = heard(fleet, *(beat(made_at=START + BEAT * i) for i in range(3)))
    fleet.hears(False, now + 1)
    assert fleet.servers(now + 600)["s1"].state == "ready"
    fleet.hears(True, now + 600)
    assert fleet.servers(now + 600 + LEASE - 0.1)["s1"].state == "ready"
    assert fleet.servers(now + 600 + LEASE)["s1"].state == "down"


def test_a_goodbye_counts_at_once_and_is_shown_for_a_while() -> None:
    fleet = Fleet()
    now = heard(fleet, beat(), beat(made_at=START + 1, state="stopped"))
    assert fleet.servers(now)["s1"].state == "stopped"
    fleet.forget(now + KEEP_STOPPED - 1)
    assert "s1" in fleet.servers(now)
    fleet.forget(now + KEEP_STOPPED + 1)
    assert fleet.servers(now) == {}


def test_who_fell_silent_is_shown_for_a_day() -> None:
    fleet = Fleet()
    now = heard(fleet, beat())
    fleet.forget(now + KEEP_DOWN - 10)
    assert fleet.servers(now + KEEP_DOWN - 10)["s1"].state == "down"
    fleet.forget(now + KEEP_DOWN + 10)
    assert fleet.servers(now + KEEP_DOWN + 10) == {}


# --- several boots under one id --------------------------------------------------------------------------------


def test_a_successor_is_the_server_once_it_serves() -> None:
    fleet = Fleet()
    new = {"boot": "s1-b", "started_at": START + 3, "follows": "s1-a", "version": "1.1"}
    heard(fleet, beat(made_at=START), beat(made_at=START + 2, sessions=9))
    now = heard(fleet, beat(made_at=START + 3, state="starting", **new))
    assert fleet.servers(now)["s1"].boot == "s1-a"
    now = heard(fleet, beat(made_at=START + 4, sessions=9, **new), beat(made_at=START + 4.1, state="draining"))
    assert (fleet.servers(now)["s1"].boot, fleet.servers(now)["s1"].state) == ("s1-b", "ready")
    now = heard(fleet, beat(made_at=START + 4.5, state="stopped"))
    assert (fleet.servers(now)["s1"].boot, fleet.servers(now)["s1"].state) == ("s1-b", "ready")
    assert fleet.servers(now)["s1"].refused == ""


def test_when_the_successor_dies_the_one_before_it_is_the_server_again() -> None:
    fleet = Fleet()
    new = {"boot": "s1-b", "started_at": START + 3, "follows": "s1-a"}
    heard(fleet, beat(), beat(made_at=START + 3, state="starting", **new), beat(made_at=START + 4, **new))
    now = heard(fleet, *(beat(made_at=START + 4.5 + BEAT * i) for i in range(5)))
    assert (fleet.servers(now)["s1"].boot, fleet.servers(now)["s1"].state) == ("s1-a", "ready")


def test_a_restart_at_another_port_is_no_stranger() -> None:
    fleet = Fleet()
    heard(fleet, beat(), beat(made_at=START + 2))
    now = heard(fleet, beat(made_at=START + 4, boot="s1-b", url="http://elsewhere", started_at=START + 3))
    found = fleet.servers(now)["s1"]
    assert (found.boot, found.refused) == ("s1-b", "")


def test_two_that_beat_under_one_id_are_told_apart_and_the_first_stays() -> None:
    fleet = Fleet()
    other = {"boot": "s1-b", "url": "http://stranger", "started_at": START + 1}
    for i in range(5):
        fleet.beat(beat(made_at=START + BEAT * i), START + BEAT * i)
        fleet.beat(beat(made_at=START + BEAT * i + 1, **other), START + BEAT * i + 1)
    found = fleet.servers(START + 10)["s1"]
    assert (found.boot, found.url, found.refused) == ("s1-a", "http://s1", "http://stranger")
    now = START + 9 + LEASE - 0.5  # the first fell silent at 8, the stranger at 9
    found = fleet.servers(now)["s1"]
    assert (found.url, found.refused) == ("http://stranger", "")


def test_boots_of_one_id_do_not_pile_up() -> None:
    fleet = Fleet()
    for i in range(50):
        now = heard(fleet, beat(boot=f"b{i}", made_at=START + i, started_at=START + i))
    assert fleet.servers(now)["s1"].boot == "b49"
    assert len(fleet._known["s1"].boots) <= 4


# --- the table -------------------------------------------------------------------------------------------------


def test_a_row_is_a_beat_that_tells_less() -> None:
    by_bus, by_table = Fleet(), Fleet()
    one = beat(sessions=4, sends_per_second=12.5)
    by_bus.beat(one, START + 0.1)
    by_bus.row(row(beat(made_at=START + 2, sessions=5)), START + 2.1)
    by_table.row(row(one), START + 0.1)
    by_table.row(row(beat(made_at=START + 2, sessions=5)), START + 2.1)
    for fleet in (by_bus, by_table):
        found = fleet.servers(START + 2.1)["s1"]
        assert (found.state, found.sessions, found.url) == ("ready", 5, "http://s1")
    assert by_bus.servers(START + 2.1)["s1"].beat.sends_per_second == 12.5
    assert not by_bus.row(row(one), START + 2.2)


def test_a_row_that_comes_before_its_beat_does_not_hide_it() -> None:
    fleet = Fleet()
    one = beat(made_at=START + 0.123456, sessions=4, to_move=10, moved=6, state="draining")
    assert fleet.row(row(one), START + 0.2)
    assert fleet.beat(one, START + 0.3)
    assert fleet.servers(START + 0.3)["s1"].beat.to_move == 10
    assert not fleet.beat(one, START + 0.4)
    assert not fleet.row(row(one), START + 0.5)
    assert fleet.servers(START + 0.5)["s1"].beat.to_move == 10


# --- what is shown ---------------------------------------------------------------------------------------------


def test_the_history_is_bounded_and_goes_on_over_a_redeploy() -> None:
    fleet = Fleet()
    for i in range(POINTS + 50):
        boot = "s1-a" if i < POINTS else "s1-b"
        started = START if i < POINTS else START + BEAT * POINTS - 1
        now = heard(fleet, beat(made_at=START + BEAT * i, boot=boot, started_at=started, sessions=i))
    (view,) = fleet.views(fleet.servers(now).values(), now, {})
    assert len(view.history) == POINTS
    assert [sessions for _, sessions, _ in view.history] == list(range(50, POINTS + 50))


def test_large_fleets_show_shorter_histories() -> None:
    fleet = Fleet()
    for i in range(80):
        for number in range(100):
            fleet.beat(beat(f"s{number}", made_at=START + BEAT * i), START + BEAT * i)
    now = START + BEAT * 80
    views = fleet.views(fleet.servers(now).values(), now, {})
    assert sum(len(view.history) for view in views) == ALL_POINTS


def test_a_drain_is_shown_with_its_pace() -> None:
    fleet = Fleet()
    now = heard(fleet, beat(state="draining", sessions=300, to_move=1_000, moved=700, eta=3.0))
    (view,) = fleet.views(fleet.servers(now).values(), now, {"s1": 120.0})
    assert view.drain is not None
    assert (view.drain.to_move, view.drain.moved, view.drain.per_second, view.drain.eta_s) == (1_000, 700, 120.0, 3.0)
    (view,) = fleet.views(fleet.servers(now).values(), now, {})
    assert view.drain is not None
    assert view.drain.per_second == 100.0


def test_who_is_gone_has_no_load() -> None:
    fleet = Fleet()
    heard(fleet, beat(sessions=9, sends_per_second=4.0))
    (view,) = fleet.views(fleet.servers(START + 60).values(), START + 60, {})
    assert (view.state, view.sessions, view.sends_per_second, view.age_s) == ("down", 0, 0.0, 60.0)


# --- two towers ------------------------------------------------------------------------------------------------

beats = st.builds(
    lambda id, boot, tick, state, sessions, url: beat(
        id, START + tick, state, boot=f"{id}-{boot}", sessions=sessions, url=f"http://{url}",
        started_at=START - (10 if boot == "a" else 5),
    ),
    st.sampled_from(["s1", "s2", "s3"]), st.sampled_from("ab"), st.integers(0, 20),
    st.sampled_from(["starting", "ready", "cordoned", "draining", "stopped", "some new one"]),
    st.integers(0, 9), st.sampled_from(["x", "y"]),
)  # fmt: skip


@given(st.data(), st.lists(beats, max_size=30))
def test_two_towers_that_hear_the_servers_in_other_orders_agree(data: st.DataObject, log: list[Beat]) -> None:
    """What shares a key (a server's id) stays in order; between keys anything may happen, and twice."""
    now = START + 20
    one, two = Fleet(), Fleet()
    for event in log:
        one.beat(event, now)
    lines = {id: [event for event in log if event.id == id] for id in ("s1", "s2", "s3")}
    while any(lines.values()):
        id = data.draw(st.sampled_from([id for id, line in lines.items() if line]))
        event = lines[id].pop(0)
        two.beat(event, now)
        if data.draw(st.booleans()):
            assert not two.beat(event, now)
    assert one.servers(now) == two.servers(now)
    assert one.servers(now + LEASE) == two.servers(now + LEASE)
    views = [fleet.views(fleet.servers(now).values(), now, {}) for fleet in (one, two)]
    assert views[0] == views[1]


@settings(max_examples=50)
@given(st.lists(st.tuples(st.floats(0, 0.5), st.sampled_from(["s1", "s2"])), min_size=1, max_size=40))
def test_who_beats_is_never_down(delays: list[tuple[float, str]]) -> None:
    fleet = Fleet()
    moment = {"s1": START, "s2": START}
    for delay, id in delays:
        moment[id] += BEAT
        fleet.beat(beat(id, moment[id]), moment[id] + delay)
        assert fleet.servers(moment[id] + BEAT)[id].state == "ready"


def test_a_thousand_servers_are_folded_in_no_time() -> None:
    """The figure is the bench's (`--only tower`); here it is only shown that the way is linear."""
    fleet = Fleet()
    began = time.perf_counter()
    for i in range(10):
        for number in range(1_000):
            fleet.beat(beat(f"s{number}", made_at=START + BEAT * i), START + BEAT * i)
    found = fleet.servers(START + 20)
    print(f"10,000 beats of 1,000 servers: {time.perf_counter() - began:.2f} s")
    assert len(found) == 1_000
    assert {server.state for server in found.values()} == {"ready"}
