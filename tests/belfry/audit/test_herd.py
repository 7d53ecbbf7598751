"""Waves of attempts are told apart, and each has the herd factor that one would count by hand."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from belfry.audit.herd import LEAST, PAUSE, SECOND, Herd


def herd(*moments: float) -> Herd:
    made = Herd()
    for moment in moments:
        made.attempt(moment)
    return made


def test_an_even_wave_has_the_factor_1() -> None:
    wave = herd(*(number / 100 for number in range(1_000))).worst()
    assert wave is not None
    assert (wave.attempts, wave.peak) == (1_000, 100)
    assert wave.herd == pytest.approx(1.0, abs=0.01)


def test_everybody_at_once_and_a_straggler_is_a_herd() -> None:
    wave = herd(*[0.0] * 99, *(2.0 * number for number in range(1, 6))).worst()
    assert wave is not None
    assert (wave.seconds, wave.peak) == (10.0, 99)
    assert wave.herd == pytest.approx(99 / 10.4)


def test_one_moment_counts_as_one_second() -> None:
    wave = herd(*[5.0] * 60).worst()
    assert wave is not None
    assert (wave.mean, wave.herd) == (60.0, 1.0)


def test_a_pause_parts_waves_and_the_worst_of_the_large_ones_counts() -> None:
    even = [number / 10 for number in range(LEAST)]
    sudden = [100.0] * LEAST + [104.0 - 2.0]
    few = [200.0] * 9 + [202.0, 204.0]
    found = herd(*even, *sudden, *few)
    assert [wave.attempts for wave in found.waves()] == [LEAST, LEAST + 1, 11]
    worst = found.worst()
    assert worst is not None
    assert worst.began == 100.0


def test_small_waves_are_told_when_there_are_no_others() -> None:
    assert herd().worst() is None
    wave = herd(1.0, 10.0, 10.1).worst()
    assert wave is not None
    assert wave.attempts == 2


@given(st.lists(st.floats(0.0, 5.0), min_size=1, max_size=60))
def test_the_peak_is_what_counting_finds(steps: list[float]) -> None:
    moments, now = [], 0.0
    for step in steps:
        now += step
        moments.append(now)
    waves = herd(*moments).waves()
    assert sum(wave.attempts for wave in waves) == len(moments)
    for wave in waves:
        mine = [moment for moment in moments if wave.began <= moment <= wave.began + wave.seconds]
        mine = mine[: wave.attempts]
        peak = max(sum(moment <= other < moment + SECOND - 1e-9 for other in mine) for moment in mine)
        assert abs(wave.peak - peak) <= 1  # a moment on the edge of a second may fall either way
    starts = [wave.began for wave in waves]
    assert all(two - one > PAUSE for one, two in pairwise(starts))
