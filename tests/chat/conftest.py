"""What several of chat's tests are given."""

from __future__ import annotations

import pytest
import trio.testing


@pytest.fixture
def fast_clock() -> trio.testing.MockClock:
    """Ten seconds of the loop's clock in one of ours: real sockets and threads keep up, and timeouts come sooner."""
    return trio.testing.MockClock(rate=10.0)
