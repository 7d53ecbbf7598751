"""The heart of a simulation: one clock, one generator of chance, and what happens next. Pure.

Everything that happens in a history is a call put here for a moment; nothing else makes time pass. So one integer
decides all of it, and the same integer tells the same history again.
"""

from __future__ import annotations

import heapq
import random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class Clockwork:
    """`after` puts a call there, `run_until` lets time pass."""

    def __init__(self, seed: int, *, keep: bool = False) -> None:
        self.rng = random.Random(seed)
        self.now = 0.0  # seconds
        self.steps = 0
        self._due: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._put = 0
        self._kept: list[str] | None = [] if keep else None

    def after(self, seconds: float, call: Callable[..., None], *arguments: Any) -> None:
        """Call it so many seconds from now; of two at one moment, the one that was put first."""
        self._put += 1
        heapq.heappush(self._due, (self.now + seconds, self._put, call, arguments))

    def run_until(self, moment: float) -> None:
        """Let everything happen that is due by then."""
        due = self._due
        while due and due[0][0] <= moment:
            self.now, _, call, arguments = heapq.heappop(due)
            self.steps += 1
            call(*arguments)
        self.now = moment

    def chance(self, share: float) -> bool:
        """True in this share of all cases."""
        return self.rng.random() < share

    def between(self, least: float, most: float) -> float:
        """Any number of seconds in between."""
        return least + (most - least) * self.rng.random()

    def note(self, *words: object) -> None:
        """Write down what happened, where somebody wants to read it."""
        if self._kept is not None:
            self._kept.append(f"{self.now:8.3f}  {' '.join(map(str, words))}")

    @property
    def story(self) -> list[str]:
        """Everything that was written down."""
        return self._kept or []
