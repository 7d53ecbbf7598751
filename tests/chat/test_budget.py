"""The budget of handshakes: never over it in any second, and turns that bring everybody in without a storm."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat.budget import LATE, LONGEST, SHARE, Budget

moments = st.lists(st.floats(0, 0.7), min_size=1, max_size=300)


def busiest(taken: list[float], within: float = 1.0) -> int:
    """The most within one second, wherever it begins."""
    first = most = 0
    for last, moment in enumerate(taken):
        while moment - taken[first] >= within:
            first += 1
        most = max(most, last - first + 1)
    return most


@given(st.integers(1, 40), moments)
def test_no_second_has_more_than_the_budget(per_second: int, gaps: list[float]) -> None:
    budget, now = Budget(per_second), 0.0
    taken = []
    for gap in gaps:
        now += gap
        full = budget.full(now)
        if budget.take(now):
            assert not full
            taken.append(now)
        else:
            assert full
            assert sum(1 for one in taken if now - one < 1.0 + LATE) == per_second  # refused only when it is used up
    assert busiest(taken) <= per_second
    assert budget.peak() == busiest(taken, 1.0 + LATE) <= per_second
    assert budget.peak() == 0


@given(st.integers(1, 40), moments, st.randoms(use_true_random=False))
def test_no_second_as_the_clients_see_it_has_more_either(
    per_second: int, gaps: list[float], rng: random.Random
) -> None:
    budget, now, seen = Budget(per_second), 0.0, []
    for gap in gaps:
        now += gap / 20
        if budget.take(now):
            seen.append(now + rng.uniform(0.0, LATE - 1e-6))
    assert busiest(sorted(seen)) <= per_second


def test_without_a_limit_everybody_comes_in() -> None:
    budget = Budget(0)
    assert all(budget.take(0.0) for _ in range(10_000))
    assert not budget.full(0.0)
    assert budget.turn(0.0) == 1
    assert budget.peak() == 10_000


@given(st.integers(1, 500), st.integers(1, 3_000))
def test_turns_move_at_their_share(per_second: int, refused: int) -> None:
    budget = Budget(per_second)
    told = Counter(budget.turn(0.0) for _ in range(refused))
    assert min(told) >= 1
    for seconds, count in told.items():
        if seconds not in (1, LONGEST):  # who is refused first is told a second, though it could come at once
            assert count <= SHARE * per_second + 1


def test_turns_that_nobody_waits_for_any_more_are_forgotten() -> None:
    budget = Budget(10)
    for _ in range(100):
        budget.turn(0.0)
    assert budget.turn(0.0) == 13
    assert budget.turn(60.0) == 1


@pytest.mark.parametrize("seed", range(5))
def test_everybody_of_a_killed_server_is_back_within_ten_seconds(seed: int) -> None:
    """3,000 clients, a window of 2 s, one survivor of 500 a second: worse than two, and still no second over it."""
    rng = random.Random(seed)
    budget = Budget(500)
    waiting = sorted(rng.uniform(0.0, 2.0) for _ in range(3_000))
    taken: list[float] = []
    attempts = 0
    while waiting:
        now = waiting.pop(0)
        attempts += 1
        if budget.take(now):
            taken.append(now)
        else:
            waiting.append(now + budget.turn(now) + rng.random())
            waiting.sort()
    assert max(taken) < 10.0
    assert attempts < 2.5 * 3_000
    assert busiest(taken) <= 500
