"""The drain's plan: everybody has a moment, evenly, as slow as asked for and as fast as the deadline needs; and a place
to go, by shares.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.events import Target
from chat.drain import CLOSING_MAX, GRACE, MOST_TARGETS, evenly, fastest, plan_drain, sound

deadlines = st.floats(0.01, 1_000)
weights = st.lists(st.integers(1, 1_000), min_size=1, max_size=12)
anything = st.floats(allow_nan=True, allow_infinity=True)


def targets_of(weights: list[int]) -> tuple[Target, ...]:
    return tuple(Target(f"http://t{at}:80", weight / sum(weights)) for at, weight in enumerate(weights))


@given(st.integers(1, 300), deadlines, st.floats(0, 1_000))
def test_moments_are_even_and_inside_the_deadline(sessions: int, deadline: float, pace: float) -> None:
    plan = plan_drain(sessions, deadline, pace)
    moments = [plan.moment(index) for index in range(sessions)]
    assert moments[0] == 0.0
    steps = [later - sooner for sooner, later in itertools.pairwise(moments)]
    assert all(step == pytest.approx(plan.window / sessions, abs=1e-9) for step in steps)
    assert moments[-1] <= plan.window < deadline
    assert deadline - plan.window >= min(CLOSING_MAX, deadline * 0.2) - 1e-9


@given(st.integers(1, 300), deadlines, st.floats(0.1, 1_000))
def test_never_faster_than_the_pace_unless_the_deadline_needs_it(sessions: int, deadline: float, pace: float) -> None:
    plan = plan_drain(sessions, deadline, pace)
    longest = plan_drain(1_000_000, deadline, 0.001).window
    assert plan.window == pytest.approx(min(sessions / pace, longest))
    assert plan.window + plan.slack == pytest.approx(longest)
    assert (fastest(deadline, sessions) > pace) == (sessions / pace > longest)


@given(st.integers(200, 2_000), st.floats(50, 1_000))
def test_the_busiest_second_is_the_mean_one(sessions: int, pace: float) -> None:
    """The herd factor by construction: at most one client more than the mean in any second."""
    plan = plan_drain(sessions, 1_000.0, pace)
    moments = [plan.moment(index) for index in range(sessions)]
    mean = sessions / plan.window
    first = 0
    for last, moment in enumerate(moments):
        while moment - moments[first] >= 1.0:
            first += 1
        assert last - first + 1 <= mean + 1.0 + 1e-6


@given(deadlines)
def test_who_can_go_elsewhere_has_time_to(deadline: float) -> None:
    alone = plan_drain(100, deadline, 10)
    plan = plan_drain(100, deadline, 10, taken_over=True)
    assert alone.grace == 0.0
    assert 0.0 < plan.grace <= GRACE
    assert plan.moment(99) + plan.grace < deadline  # also the last one that ignores `moving` is closed in time


def test_without_a_pace_all_move_at_once() -> None:
    plan = plan_drain(500, 25.0, 0)
    assert {plan.moment(index) for index in range(500)} == {0.0}


def test_nobody_to_move_takes_no_time() -> None:
    assert plan_drain(0, 25.0, 500).window == 0.0


@given(weights, st.integers(1, 300))
def test_each_server_has_its_share_of_any_first_clients(weights: list[int], sessions: int) -> None:
    targets = targets_of(weights)
    plan = plan_drain(sessions, 25.0, 100, targets=targets)
    given_to: Counter[str | None] = Counter()
    for served, url in enumerate(itertools.islice(plan.urls(), sessions), start=1):
        given_to[url] += 1
        for target in targets:
            assert abs(given_to[target.url] - target.share * served) < 1.0


def test_without_targets_everybody_keeps_the_address() -> None:
    assert list(itertools.islice(plan_drain(5, 25.0, 100).urls(), 3)) == [None, None, None]


@given(st.lists(st.tuples(st.sampled_from(["http://a", "http://b", "http://own", "x", "http://0.0.0.0:1"]), anything)))
def test_whatever_a_tower_answers_the_shares_make_sense(told: list[tuple[str, float]]) -> None:
    good = sound([Target(url, share) for url, share in told], "http://own")
    assert {target.url for target in good} <= {"http://a", "http://b"}
    assert len({target.url for target in good}) == len(good)
    if good:
        assert math.isclose(sum(target.share for target in good), 1.0)
        plan = plan_drain(50, 25.0, 10, targets=good)
        assert {url for url in itertools.islice(plan.urls(), 50)} <= {"http://a", "http://b"}


def test_a_good_answer_is_taken_as_it_is() -> None:
    targets = targets_of([1, 3])
    assert sound(targets, "http://own") == targets
    assert evenly(["http://a", "http://b"]) == (Target("http://a", 0.5), Target("http://b", 0.5))
    assert evenly([]) == ()
    assert sum(target.share for target in evenly([f"http://{i}" for i in range(500)])) == pytest.approx(1.0)
    assert len(evenly([f"http://{i}" for i in range(500)])) == MOST_TARGETS
