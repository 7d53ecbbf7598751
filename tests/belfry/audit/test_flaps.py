"""Who is falsely said to have left is found, and who was truly away is not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from belfry.audit.checker import Checker
from belfry.audit.flaps import AWAY, EXAMPLES, LATE, Flaps
from belfry.audit.observation import Closed, Joined, Observation, Stored, Told
from chat.presence import GRACE, Presence

ROOM = "lobby"


def joined(number: int, link: int = 1, at: float = 0.0) -> Joined:
    after = None if link == 1 else ("e1", 0)
    return Joined(f"c{number}", link, ROOM, "e1", 0, after, 50, False, f"u{number}", at)


def left(user: int, at: float, by: int = 0) -> Told:
    return Told(f"c{by}", 1, ROOM, (), (f"u{user}",), at)


def came(user: int, at: float, by: int = 0) -> Told:
    return Told(f"c{by}", 1, ROOM, (f"u{user}",), (), at)


def folded(*observations: Joined | Closed | Told) -> Flaps:
    flaps = Flaps()
    for observation in observations:
        if isinstance(observation, Joined):
            flaps.joined(observation)
        elif isinstance(observation, Closed):
            flaps.closed(observation)
        else:
            flaps.told(observation)
    return flaps


HERE = (joined(0), joined(1), joined(2))


def test_somebody_connected_all_the_time_did_not_leave() -> None:
    flaps = folded(*HERE, left(1, 10.0), came(1, 10.1))
    assert (flaps.count, flaps.departures) == (1, 0)
    assert flaps.examples == ["c0 was told that u1 left lobby; it was connected all the time"]


def test_a_flap_heard_by_many_is_one_and_told_again_is_two() -> None:
    assert folded(*HERE, left(1, 10.0), left(1, 10.0, by=2)).count == 1
    assert folded(*HERE, left(1, 10.0), came(1, 10.1), left(1, 10.2)).count == 2
    assert folded(*HERE, left(1, 10.0), left(1, 10.1)).count == 2
    assert folded(*HERE, left(1, 10.0), left(1, 11.0 + GRACE, by=2)).count == 2


def test_a_short_absence_is_no_excuse_and_a_long_one_is() -> None:
    gone = Closed("c1", 1, 1012, 10.0, planned=True)
    assert folded(*HERE, gone, left(1, 10.0 + AWAY / 2)).count == 1
    assert folded(*HERE, gone, left(1, 10.0 + GRACE)).departures == 1
    back = joined(1, 2, 10.0 + GRACE)
    assert folded(*HERE, gone, back, left(1, 10.0 + GRACE + 1.0)).departures == 1
    assert folded(*HERE, gone, back, left(1, 10.0 + GRACE + LATE + 1.0)).count == 1
    soon = joined(1, 2, 10.0 + AWAY / 2)
    assert folded(*HERE, gone, soon, left(1, 10.0 + GRACE)).count == 1


def test_moving_with_both_connections_open_is_being_there() -> None:
    moved = [joined(1, 2, 9.9), Closed("c1", 1, 1000, 10.0, planned=True)]
    assert folded(*HERE, *moved, left(1, 10.0 + GRACE)).count == 1
    assert folded(*HERE, *moved).count == 0


def test_strangers_are_nobodys_business() -> None:
    assert folded(*HERE, Told("c0", 1, ROOM, (), ("somebody",), 1.0), came(9, 1.0)).count == 0


def test_examples_are_few() -> None:
    many = [left(1, at) for at in range(0, 100, 10)]
    flaps = folded(*HERE, *many)
    assert flaps.count == 10
    assert len(flaps.examples) == EXAMPLES


# --- in a verdict --------------------------------------------------------------------------------------------------


def judged(*more: Observation) -> dict[str, int]:
    verdict = Checker().observe_all([*HERE, *more, Stored(ROOM, "e1", 0, ())]).verdict()
    assert verdict.counts.flaps == 1
    return verdict.faults


def test_a_flap_where_all_was_planned_is_a_broken_promise() -> None:
    assert judged(left(1, 10.0)) == {"flickered": 1}
    assert judged(Closed("c2", 1, 1012, 5.0, planned=True), left(1, 10.0)) == {"flickered": 1}


def test_a_flap_where_somebody_died_is_told_and_breaks_none() -> None:
    assert judged(Closed("c2", 1, 1006, 5.0), left(1, 10.0)) == {}
    assert judged(left(1, 10.0), Closed("c2", 1, 1006, 15.0)) == {}  # they notice later than the others


# --- against what a server does --------------------------------------------------------------------------------------

STEPS = st.lists(st.tuples(st.integers(0, 2), st.floats(0.0, 12.0)), max_size=30)


@given(STEPS, st.floats(0.0, 2.5))
def test_what_the_presence_machine_tells_is_never_a_flap(steps: list[tuple[int, float]], late: float) -> None:
    """Members come and go at any pace; one that stays hears it all, up to 2.5 s late."""
    presence, flaps, now = Presence(), Flaps(), 0.0
    links = {0: 1, 1: 1, 2: 1}
    here = {0: True, 1: True, 2: True}
    for number in here:
        presence.enter(f"u{number}", f"U {number}")
        flaps.joined(joined(number))
    presence.changes(now)
    for number, seconds in steps:
        until = now + seconds
        while now < until:
            now = min(until, now + 0.5)
            came_now, left_now = presence.changes(now)
            flaps.told(Told("c0", 1, ROOM, tuple(user for user, _ in came_now), tuple(left_now), now + late))
        if number == 0:
            continue  # it listens
        here[number] = not here[number]
        if here[number]:
            links[number] += 1
            presence.enter(f"u{number}", f"U {number}")
            flaps.joined(joined(number, links[number], now))
        else:
            presence.leave(f"u{number}", now)
            flaps.closed(Closed(f"c{number}", links[number], 1012, now, planned=True))
    assert flaps.count == 0, flaps.examples
