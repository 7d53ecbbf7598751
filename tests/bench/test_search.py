"""The search for the highest rate that holds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.search import Highest, highest


@given(limit=st.floats(1.0, 1e5), first=st.floats(1.0, 50.0), refinements=st.integers(0, 6))
def test_it_ends_just_below_the_limit(limit: float, first: float, refinements: int) -> None:
    found = highest(lambda rate, roughly: rate if rate <= limit else None, first, refinements, 1e9)
    assert found.step == found.held <= limit < found.failed
    assert found.failed / found.held <= 2 ** (1 / 2**refinements) * 1.000001


def test_a_server_that_never_holds_has_no_step() -> None:
    tried: list[float] = []
    found: Highest[None] = highest(lambda rate, roughly: tried.append(rate), 64.0, 3, 1e9)
    assert found.step is None
    assert tried == [64, 64, 32, 16, 8, 4, 2, 1]


def test_what_failed_only_roughly_is_no_limit() -> None:
    def attempt(rate: float, roughly: bool) -> float | None:
        return None if rate > 1_000.0 or (roughly and rate == 400.0) else rate

    found = highest(attempt, 100.0, 0, 1e9)
    assert found.held == 800.0
    assert found.failed == 1_600.0


def test_it_stops_at_the_most_a_generator_is_asked_for() -> None:
    tried: list[float] = []

    def attempt(rate: float, roughly: bool) -> float:
        tried.append(rate)
        return rate

    assert highest(attempt, 100.0, 3, 450.0).held == pytest.approx(400.0)
    assert tried == [100, 200, 400]
