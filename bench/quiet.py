"""How much of the machine others took while a benchmark ran: figures from a busy machine are not worth keeping."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path

BUSY = 0.05  # share of all cores from which on the report warns; a desktop at rest takes 1 to 3 %
TICKS = os.sysconf("SC_CLK_TCK")


class Quiet:
    """Counts from its making; servers count as ours once they have ended."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._all, self._stolen = _spent()
        self._ours = _ours()

    def shares(self) -> tuple[float, float]:
        """Shares of all cores' time that other programs took, and that the hypervisor did not give."""
        capacity = (time.monotonic() - self._start) * (os.cpu_count() or 1)
        spent, stolen = _spent()
        others = spent - self._all - (_ours() - self._ours)
        return max(0.0, others / capacity), max(0.0, (stolen - self._stolen) / capacity)

    def words(self) -> str:
        """The shares, and a warning when they are too high."""
        others, stolen = self.shares()
        text = f"other programs took {others:.0%} of the cores' time, the hypervisor {stolen:.0%}"
        if others + stolen > BUSY:
            text += "; THIS MACHINE WAS NOT QUIET: keep none of these figures"
        return text


def _spent() -> tuple[float, float]:
    """Seconds of all cores in programs and the kernel on their behalf, and those stolen; interrupts are nobody's."""
    user, nice, system, _idle, _wait, _irq, _soft, stolen = map(int, Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system) / TICKS, stolen / TICKS


def _ours() -> float:
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )
