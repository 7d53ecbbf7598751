"""How clients came back: in a herd, or one after the other. Pure; moments are seconds of any one clock.

Attempts that follow each other without a pause are a wave: one drain, one crash. Its herd factor is the most attempts
within any one second over the mean a second of the whole wave: 1 is perfectly even, and everybody at once is as many
seconds as the wave took.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass

PAUSE = 3.0  # seconds without an attempt that part two waves; the backoff's first waits are shorter
LEAST = 50  # attempts; in a smaller wave chance alone makes a factor of 2
SECOND = 1.0
ROUNDING = 1e-9  # seconds; moments a tenth apart are not quite a tenth apart


@dataclass(frozen=True, slots=True)
class Wave:
    """One wave of connection attempts."""

    began: float
    seconds: float  # from the first attempt to the last; at least one second
    attempts: int
    peak: int  # most attempts within any one second

    @property
    def mean(self) -> float:
        """Attempts a second."""
        return self.attempts / self.seconds

    @property
    def herd(self) -> float:
        """The peak over the mean."""
        return self.peak / self.mean


class Herd:
    """Told each attempt as it is made; only those of the wave under way are kept, 8 bytes each."""

    def __init__(self) -> None:
        self._over: list[Wave] = []
        self._moments = array("d")

    def attempt(self, now: float) -> None:
        """A client dials."""
        moments = self._moments
        if moments and now - moments[-1] > PAUSE:
            self._over.append(_wave(moments))
            del moments[:]
        moments.append(now)

    def waves(self) -> list[Wave]:
        """All waves in order, the last one perhaps still under way."""
        return [*self._over, _wave(self._moments)] if self._moments else list(self._over)

    def worst(self) -> Wave | None:
        """The wave with the highest herd factor among those large enough to judge, else the largest of all."""
        waves = self.waves()
        large = [wave for wave in waves if wave.attempts >= LEAST]
        if large:
            return max(large, key=lambda wave: wave.herd)
        return max(waves, key=lambda wave: wave.attempts, default=None)


def _wave(moments: array[float]) -> Wave:
    peak = first = 0
    for at, moment in enumerate(moments):
        while moment - moments[first] >= SECOND - ROUNDING:
            first += 1
        peak = max(peak, at - first + 1)
    return Wave(moments[0], max(SECOND, moments[-1] - moments[0]), len(moments), peak)
