"""The drain's plan: everybody has a moment, evenly, as slow as asked for and as fast as the deadline needs."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat.drain import CLOSING_MAX, plan_drain

deadlines = st.floats(0.01, 1_000)


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


def test_without_a_pace_all_move_at_once() -> None:
    plan = plan_drain(500, 25.0, 0)
    assert {plan.moment(index) for index in range(500)} == {0.0}


def test_nobody_to_move_takes_no_time() -> None:
    assert plan_drain(0, 25.0, 500).window == 0.0
