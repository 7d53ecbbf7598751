"""What a run of the audit counts for the person who watches. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field

STEPS = [0.001 * 1.15**step for step in range(90)]  # seconds; 1 ms to 250 s, each 15% above the last


class Latencies:
    """A histogram in steps of 15%: 90 numbers however long the run is."""

    def __init__(self) -> None:
        self._counts = [0] * (len(STEPS) + 1)
        self.longest = 0.0
        self.total = 0

    def add(self, seconds: float) -> None:
        self._counts[bisect_left(STEPS, seconds)] += 1
        self.total += 1
        self.longest = max(self.longest, seconds)

    def share(self, share: float) -> float:
        """The latency that this share (0 to 1) of all did not pass, in seconds; 0 when there are none."""
        wanted, seen = share * self.total, 0
        for step, count in enumerate(self._counts):
            seen += count
            if seen >= wanted and seen:
                return min(self.longest, STEPS[min(step, len(STEPS) - 1)])
        return 0.0


@dataclass
class Meter:
    """Counted by the clients as things happen."""

    sent: int = 0
    acked: int = 0
    delivered: int = 0
    reconnects: int = 0
    held_back: int = 0  # sends left out because the client had too many unanswered
    longest_silence: float = 0.0  # seconds one client heard nothing of its rooms while others talked
    acks: Latencies = field(default_factory=Latencies)
    errors: Counter[str] = field(default_factory=Counter)  # `error` frames and failed connects, by code
    stopped: list[str] = field(default_factory=list)  # clients told never to come back, and why
