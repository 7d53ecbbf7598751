"""The token bucket: a burst at once, the rate in the long run, and a true word about when to come again."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from chat.rate import Bucket

gaps = st.lists(st.floats(0, 5), max_size=60)


@given(st.floats(0.1, 100), st.integers(1, 50), gaps)
def test_never_more_than_the_burst_and_the_rate(rate: float, burst: int, pauses: list[float]) -> None:
    bucket, now, taken = Bucket(rate, burst, 0.0), 0.0, 0
    for pause in pauses:
        now += pause
        taken += bucket.take(now) == 0.0
        assert taken <= burst + rate * now + 1e-6


@given(st.floats(0.1, 100), st.integers(1, 50), gaps)
def test_the_wait_is_enough_and_no_longer_than_needed(rate: float, burst: int, pauses: list[float]) -> None:
    now = 0.0
    bucket = Bucket(rate, burst, now)
    for pause in pauses:
        now += pause
        bucket.take(now)
    while not (wait := bucket.take(now)):
        pass
    assert wait <= 1 / rate + 1e-9
    assume(wait > 1e-6)  # below, the clock's own last digits decide
    assert bucket.take(now + wait * 0.5) > 0
    assert bucket.take(now + wait * 1.001) == 0


@pytest.mark.parametrize(("burst", "least"), [(0, 1), (1, 1), (60, 60)])
def test_the_burst_comes_at_once_and_is_one_at_least(burst: int, least: int) -> None:
    bucket = Bucket(1.0, burst, 100.0)
    assert [bucket.take(100.0) for _ in range(least)] == [0.0] * least
    assert bucket.take(100.0) == pytest.approx(1.0)


def test_idle_time_never_saves_up_more_than_the_burst() -> None:
    bucket = Bucket(10.0, 3, 0.0)
    assert [bucket.take(1_000.0) > 0 for _ in range(4)] == [False, False, False, True]


def test_a_rate_of_zero_is_without_limit() -> None:
    bucket = Bucket(0.0, 1, 0.0)
    assert [bucket.take(0.0) for _ in range(1_000)] == [0.0] * 1_000
