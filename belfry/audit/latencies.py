"""Latencies in a histogram: 90 numbers however long a run is. Pure."""

from __future__ import annotations

from bisect import bisect_left

STEPS = [0.001 * 1.15**step for step in range(90)]  # seconds; 1 ms to 250 s, each 15% above the last


class Latencies:
    """A histogram in steps of 15%."""

    def __init__(self) -> None:
        self._counts = [0] * (len(STEPS) + 1)
        self.longest = 0.0
        self.total = 0

    def add(self, seconds: float) -> None:
        self._counts[bisect_left(STEPS, seconds)] += 1
        self.total += 1
        if seconds > self.longest:
            self.longest = seconds

    def share(self, share: float) -> float:
        """The latency that this share (0 to 1) of all did not pass, in seconds; 0 when there are none."""
        wanted, seen = share * self.total, 0
        for step, count in enumerate(self._counts):
            seen += count
            if seen >= wanted and seen:
                return min(self.longest, STEPS[min(step, len(STEPS) - 1)])
        return 0.0
