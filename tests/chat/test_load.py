"""A server's load between two beats."""

from __future__ import annotations

from collections import deque

import pytest

from chat.load import Load, Rates, quantile


def test_rates_are_of_the_time_since_the_last_reading() -> None:
    load, commits = Load(10.0), deque([0.001] * 99 + [0.5])
    assert load.read(12.0, 100, 4_000, commits, lambda: 7) == Rates(50.0, 2_000.0, 500.0, 7)
    assert not commits
    assert load.read(14.0, 100, 4_000, commits, lambda: 0) == Rates()


def test_a_reading_right_after_another_says_the_same_and_takes_nothing() -> None:
    load, commits = Load(0.0), deque([0.25])
    before = load.read(2.0, 10, 10, commits, lambda: 1)
    commits.append(0.75)
    assert load.read(2.1, 50, 50, commits, lambda: pytest.fail("not asked")) == before
    assert load.read(4.0, 50, 50, commits, lambda: 3) == Rates(20.0, 20.0, 750.0, 3)


@pytest.mark.parametrize(("values", "expected"), [([], 0.0), ([3.0], 3.0), (range(200), 198), (range(50), 49)])
def test_quantile(values: list[float], expected: float) -> None:
    assert quantile(list(values), 0.99) == expected
