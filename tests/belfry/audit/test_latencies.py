"""Latencies in a histogram are right within a step."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from belfry.audit.latencies import Latencies


@given(st.lists(st.floats(0.001, 200.0), min_size=1, max_size=200), st.sampled_from([0.01, 0.5, 0.99, 1.0]))
def test_a_share_is_within_a_step_of_the_truth(seconds: list[float], share: float) -> None:
    latencies = Latencies()
    for one in seconds:
        latencies.add(one)
    index = max(0, -int(-share * len(seconds) // 1) - 1)
    truth = sorted(seconds)[index]
    assert truth * 0.999 <= latencies.share(share) <= truth * 1.151
    assert latencies.longest == max(seconds)


def test_nothing_measured_is_zero_and_the_hopeless_is_kept() -> None:
    latencies = Latencies()
    assert latencies.share(0.99) == 0.0
    latencies.add(10_000.0)
    assert latencies.share(0.5) == pytest.approx(250, rel=0.2)
    assert latencies.longest == 10_000.0
