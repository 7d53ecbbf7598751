"""When a client comes back: never in step with the others, never sooner than the cap and the codes allow."""

from __future__ import annotations

import random

import pytest

from belfry.audit.backoff import STABLE, Backoff, back_after
from chat.closing import Return


class Highest(random.Random):
    """Jitter at its longest, so that the ceiling shows."""

    def uniform(self, a: float, b: float) -> float:
        return b


def test_failures_double_the_ceiling_up_to_the_cap() -> None:
    backoff = Backoff(Highest(), base=0.5, cap=3.0)
    assert [backoff.after_failure() for _ in range(5)] == [0.5, 1.0, 2.0, 3.0, 3.0]


def test_thousands_of_failures_are_no_overflow() -> None:
    backoff = Backoff(Highest(), base=0.5, cap=3.0)
    assert {backoff.after_failure() for _ in range(5_000)} == {0.5, 1.0, 2.0, 3.0}


def test_jitter_is_full() -> None:
    waits = [Backoff(random.Random(seed), base=1.0).after_failure() for seed in range(500)]
    assert min(waits) < 0.05
    assert max(waits) > 0.95


def test_the_first_retry_is_spread_over_the_window_and_the_next_are_not() -> None:
    backoff = Backoff(Highest(), base=0.5, cap=3.0)
    assert backoff.after_end(0.1, window=7.0) == 7.0
    assert backoff.after_end(STABLE / 2, window=7.0) == 1.0  # it came and went: that is a failure


def test_a_stable_connection_forgets_failures() -> None:
    backoff = Backoff(Highest(), base=0.5, cap=3.0)
    backoff.after_failure()
    assert backoff.after_end(STABLE, window=7.0) == 7.0


@pytest.mark.parametrize(
    ("code", "back"),
    [
        (1000, Return.NEVER),
        (1006, Return.LATER),
        (1008, Return.NEVER),
        (1009, Return.NEVER),
        (1011, Return.LATER),
        (1012, Return.AT_ONCE),
        (1013, Return.LATER),
        (4001, Return.LATER),
        (4499, Return.LATER),
        (4500, Return.NEVER),
        (4999, Return.NEVER),
    ],
)
def test_each_family_says_whether_to_come_back(code: int, back: Return) -> None:
    assert back_after(code) is back
