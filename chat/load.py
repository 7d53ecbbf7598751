"""What a server did since its last beat, as rates. Pure; moments are seconds of any one clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Collection

QUANTILE = 0.99
SHORTEST = 0.5  # seconds between two readings; beats at a change of state come sooner, and say the rates of before


@dataclass(frozen=True, slots=True)
class Rates:
    """Of the time between two readings."""

    sends_per_second: float = 0.0
    deliveries_per_second: float = 0.0
    commit_p99_ms: float = 0.0  # 0 when nothing was committed
    handshakes_peak: int = 0  # most websocket upgrades within one second


class Load:
    """Makes rates of counts that only grow, and of what was noted since the last reading."""

    __slots__ = ("_acks", "_deliveries", "_last", "_then")

    def __init__(self, now: float) -> None:
        self._then = now
        self._acks = 0
        self._deliveries = 0
        self._last = Rates()

    def read(self, now: float, acks: int, deliveries: int, commits: deque[float], peak: Callable[[], int]) -> Rates:
        """The rates since the last reading. Takes `commits`, the seconds of each commit since then, and `peak`."""
        seconds = now - self._then
        if seconds >= SHORTEST:
            self._last = Rates(
                (acks - self._acks) / seconds,
                (deliveries - self._deliveries) / seconds,
                1_000 * quantile(commits, QUANTILE),
                peak(),
            )
            commits.clear()
            self._then, self._acks, self._deliveries = now, acks, deliveries
        return self._last


def quantile(values: Collection[float], share: float) -> float:
    """The value that this share of all does not pass; 0 of none."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
