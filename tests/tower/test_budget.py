"""The reconnect budget: nobody is ever sent more than they said they take."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tower.budget import COMFORT, CRASH, DRAINS, LEAST, SLACK, UNLIMITED, Budget

NOW = 1_000.0


def budget(**limits: float) -> Budget:
    made = Budget()
    made.limits(limits)
    return made


def test_a_drain_in_no_hurry_gets_a_comfortable_part() -> None:
    one = budget(s2=500, s3=500)
    grant = one.drain("ask", 5_000, 25.0, 0.0, {"s2": 100, "s3": 100}, NOW)
    assert grant.per_second == pytest.approx(1_000 * DRAINS * COMFORT)
    assert grant.rates["s2"] == pytest.approx(grant.rates["s3"])
    assert 5_000 / grant.per_second <= 15.0
    assert grant.until == pytest.approx(NOW + 5_000 / grant.per_second + SLACK)
    assert one.pace("ask") == grant.per_second


def test_a_drain_in_a_hurry_gets_what_it_needs_up_to_all_for_drains() -> None:
    one = budget(s2=500, s3=500)
    assert one.drain("ask", 5_000, 10.0, 0.0, {"s2": 0, "s3": 0}, NOW).per_second == pytest.approx(5_000 / 7)
    other = budget(s2=500, s3=500)
    assert other.drain("ask", 5_000, 1.0, 0.0, {"s2": 0, "s3": 0}, NOW).per_second == pytest.approx(1_000 * DRAINS)


def test_an_operators_rate_counts_as_far_as_it_is_free() -> None:
    assert budget(s2=500).drain("ask", 100, 25.0, 7.0, {"s2": 0}, NOW).per_second == pytest.approx(7)
    assert budget(s2=100).drain("ask", 100, 25.0, 700.0, {"s2": 0}, NOW).per_second == pytest.approx(90)


def test_the_emptier_one_takes_more_but_never_more_than_its_room() -> None:
    grant = budget(s2=500, s3=500).drain("ask", 1_000, 25.0, 0.0, {"s2": 1_000, "s3": 0}, NOW)
    assert grant.rates.get("s2", 0.0) < 0.2 * grant.per_second
    assert grant.rates["s3"] <= 500 * DRAINS + 0.001


def test_asked_again_it_is_the_same_and_ended_it_is_free_again() -> None:
    one = budget(s2=500)
    first = one.drain("ask", 1_000, 25.0, 0.0, {"s2": 0}, NOW)
    assert one.drain("ask", 1_000, 25.0, 0.0, {"s2": 0}, NOW + 1) is first
    assert one.free("s2", NOW + 1) == pytest.approx(500 - first.per_second)
    one.release("ask")
    assert one.free("s2", NOW + 1) == 500
    one.drain("other", 1_000, 25.0, 0.0, {"s2": 0}, NOW)
    assert one.free("s2", NOW + 1_000) == 500


def test_a_server_without_a_limit_has_a_sensible_one() -> None:
    assert budget(s2=0).free("s2", NOW) == UNLIMITED


def test_a_crash_is_charged_for_its_window_and_new_drains_find_less() -> None:
    one = budget(s2=500, s3=500)
    grant = one.crash("crash/x", 3_000, {"s2": 0, "s3": 0}, NOW)
    assert grant.per_second == pytest.approx(3_000 / CRASH)
    assert one.fastest(["s2", "s3"], NOW) == pytest.approx(900 - 300)
    assert one.fastest(["s2", "s3"], NOW + CRASH) == pytest.approx(900)


def test_a_drain_that_finds_nothing_free_still_moves() -> None:
    one = budget(s2=10)
    one.drain("a", 1_000, 1.0, 0.0, {"s2": 0}, NOW)
    assert one.drain("b", 1_000, 1.0, 0.0, {"s2": 0}, NOW).per_second == LEAST


def test_another_towers_grant_counts_and_of_two_the_larger() -> None:
    one = budget(s2=500, s3=500)
    one.adopt("ask", {"s2": 100.0}, NOW + 10)
    assert one.free("s2", NOW) == 400
    one.adopt("ask", {"s2": 50.0, "s3": 30.0}, NOW + 5)
    assert (one.free("s2", NOW), one.free("s3", NOW)) == (400, 470)
    assert one.free("s2", NOW + 10) == 500


def test_take_gives_newcomers_what_drains_leave() -> None:
    one = budget(s2=100)
    sent = sum(one.take("s2", NOW + i / 1_000) == 0.0 for i in range(1_000))
    assert 80 <= sent <= 100
    one.drain("ask", 10_000, 1.0, 0.0, {"s2": 0}, NOW + 1)
    sent = sum(one.take("s2", NOW + 1 + i / 1_000) == 0.0 for i in range(1_000))
    assert 0 < sent <= 100 * (1 - DRAINS) + 1


def test_take_says_when_to_come_back() -> None:
    one = budget(s2=10)
    waits = [one.take("s2", NOW) for _ in range(5)]
    assert waits[:2] == [0.0, 0.0]
    assert one.take("s2", NOW + waits[-1]) == 0.0
    assert one.take("unknown", NOW) > 0 or one.take("unknown", NOW) > 0


servers = st.sampled_from(["a", "b", "c"])
loads = st.dictionaries(servers, st.integers(0, 10_000), min_size=1)
steps = st.one_of(
    st.tuples(st.just("drain"), st.integers(0, 20_000), st.floats(0.1, 100), st.floats(0, 2_000), loads),
    st.tuples(st.just("crash"), st.integers(0, 20_000), loads),
    st.tuples(st.just("pass"), st.floats(0, 5)),
    st.tuples(st.just("end"), st.integers(0, 30)),
    st.tuples(st.just("take"), servers, st.integers(1, 300)),
)


@given(st.fixed_dictionaries({id: st.floats(20, 1_000) for id in "abc"}), st.lists(steps, max_size=30))
def test_drains_crashes_and_newcomers_together_never_exceed_it(
    limits: dict[str, float], story: list[tuple[object, ...]]
) -> None:
    """In every second, of every server: what is granted to drains and what `take` sent. Trickles are counted apart."""
    one, now = budget(**limits), NOW
    taken: dict[str, list[float]] = {id: [] for id in limits}
    trickles = 0
    for number, step in enumerate(story):
        match step:
            case ("drain", int(sessions), float(deadline), float(asked), dict(targets)):
                granted = one.drain(f"d{number}", sessions, deadline, asked, targets, now)
                trickles += granted.per_second <= LEAST
            case ("crash", int(sessions), dict(targets)):
                one.crash(f"d{number}", sessions, targets, now)
            case ("pass", float(seconds)):
                now += seconds
            case ("end", int(which)):
                one.release(f"d{which}")
            case ("take", str(id), int(times)):
                taken[id] += [now for _ in range(times) if one.take(id, now) == 0.0]
        for id, limit in limits.items():
            one.free(id, now)
            grants = list(one._grants.values())
            drains = sum(grant.rates.get(id, 0.0) for grant in grants if not grant.crash)
            everything = sum(grant.rates.get(id, 0.0) for grant in grants)
            assert drains <= limit * DRAINS + trickles * LEAST + 1e-6
            assert everything <= limit + trickles * LEAST + 1e-6
    for id, limit in limits.items():
        for moment in taken[id]:
            within = [other for other in taken[id] if moment <= other < moment + 1.0]
            assert len(within) <= math.ceil(limit) + 1


@given(
    st.floats(1, 1_000), st.integers(0, 10_000), st.floats(1, 100),
    st.dictionaries(servers, st.integers(0, 5_000), min_size=1),
)  # fmt: skip
def test_the_shares_of_a_grant_add_up(limit: float, sessions: int, deadline: float, targets: dict[str, int]) -> None:
    one = budget(**dict.fromkeys("abc", limit))
    grant = one.drain("ask", sessions, deadline, 0.0, targets, NOW)
    assert set(grant.rates) <= set(targets)
    assert all(rate > 0 for rate in grant.rates.values())
    expected = min(
        len(targets) * limit * DRAINS, max(sessions / (deadline * 0.7), len(targets) * limit * DRAINS * COMFORT)
    )
    assert grant.per_second == pytest.approx(max(expected, LEAST), rel=1e-6)
