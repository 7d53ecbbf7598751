"""Finding the highest rate that a server holds: doubling, then halving the interval on a logarithmic scale.

Pure: it is given a function that tries a rate and says whether it held.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")
Try = Callable[[float, bool], T | None]  # (rate, only roughly); None when the server did not hold it
DOWN = 6  # halvings below the first rate before a server is called too slow for it


class Highest(Generic[T]):
    """The best step so far, and the rates that bound it."""

    def __init__(self) -> None:
        self.step: T | None = None
        self.held = 0.0
        self.failed = float("inf")

    def note(self, rate: float, step: T | None) -> None:
        if step is None:
            self.failed = min(self.failed, rate)
        elif rate > self.held:
            self.held, self.step = rate, step


def highest(attempt: Try[T], first: float, refinements: int, most: float) -> Highest[T]:
    """The highest rate that holds, to within a factor of 2**(1/2**refinements).

    Doublings are tried only roughly; one that fails so is tried once more as long as the others, since a machine that
    stands still for a moment, as a virtual one does now and then, fails what is short.
    """
    found: Highest[T] = Highest()
    rate = first
    while found.failed == float("inf") and rate <= most:
        step = attempt(rate, True)
        found.note(rate, attempt(rate, False) if step is None else step)
        rate *= 2
    for _ in range(DOWN):
        if found.held:
            break
        found.note(found.failed / 2, attempt(found.failed / 2, False))
    for _ in range(refinements):
        if not found.held or found.failed == float("inf"):
            break
        middle = (found.held * found.failed) ** 0.5
        found.note(middle, attempt(middle, False))
    return found
