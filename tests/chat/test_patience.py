"""Patience with the bus: it grows at once with what comes late, is forgotten slowly, and has its bounds."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chat.patience import FORGET, LEAST, MARGIN, MOST, Patience

lates = st.floats(0, 10) | st.floats(0, MOST)  # seconds


def after(*late: float) -> Patience:
    """Patience that was told all of these."""
    patience = Patience()
    for seconds in late:
        patience.told(seconds)
    return patience


def needed(late: float) -> float:
    return min(max(late * MARGIN, LEAST), MOST)


def test_it_begins_with_the_least() -> None:
    assert after().seconds == LEAST


@given(st.lists(lates, max_size=60))
@example([MOST / MARGIN])
@example([10.0, *[0.0] * 59])
def test_it_stays_within_its_bounds(late: list[float]) -> None:
    patience = Patience()
    for seconds in late:
        patience.told(seconds)
        assert LEAST <= patience.seconds <= MOST


@given(st.lists(lates, max_size=20), lates)
def test_it_is_enough_at_once_for_what_was_just_as_late(before: list[float], late: float) -> None:
    assert after(*before, late).seconds >= min(late * MARGIN, MOST)
    assert after(late).seconds == pytest.approx(needed(late))


@given(st.lists(lates, max_size=20), lates)
def test_each_time_it_forgets_a_small_part_of_what_is_too_much(before: list[float], late: float) -> None:
    old = after(*before).seconds
    new = after(*before, late).seconds
    if needed(late) < old:
        assert old - new == pytest.approx(FORGET * (old - needed(late)))
    else:
        assert new == needed(late)


def test_one_late_event_is_remembered_for_a_while_and_not_for_ever() -> None:
    late = 0.1  # seconds
    assert after(late, *[0.0] * 5).seconds > late
    assert after(late, *[0.0] * 100).seconds < LEAST * 1.1
