"""A token bucket. Pure; moments are seconds of any one clock."""

from __future__ import annotations


class Bucket:
    """Lets `burst` through at once and `rate` a second in the long run; a rate of 0 lets everything through."""

    __slots__ = ("_burst", "_left", "_rate", "_then")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = max(burst, 1)
        self._left = self._burst
        self._then = now

    def take(self, now: float) -> float:
        """Take one; 0.0 if there was one, else the seconds until there will be."""
        if not self._rate:
            return 0.0
        self._left = min(self._burst, self._left + (now - self._then) * self._rate)
        self._then = now
        if self._left >= 1.0:
            self._left -= 1.0
            return 0.0
        return (1.0 - self._left) / self._rate
