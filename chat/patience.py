"""How long a hole in a room's order is left to the bus before the store is asked: as long as the bus is late. Pure.

A fixed time is wrong on both sides. Shorter than the bus takes, each hole is read from the database and then told by
the bus too, which makes both slower still; longer, a lost event costs more than it must.
"""

from __future__ import annotations

LEAST = 0.03  # seconds: what a bus at ease delivers out of turn comes within this
MOST = 0.25  # seconds: how much longer than that a lost event may cost, whatever the bus was like before
MARGIN = 1.5  # of the latest that came
FORGET = 0.05  # of the distance to what is needed now, each time the bus was faster


class Patience:
    """One server's patience with its bus."""

    __slots__ = ("seconds",)

    def __init__(self) -> None:
        self.seconds = LEAST

    def told(self, late: float) -> None:
        """The bus told of a hole so many seconds after it was seen, whether the store had filled it meanwhile or not.

        It grows at once and shrinks slowly.
        """
        needed = min(max(late * MARGIN, LEAST), MOST)
        self.seconds = needed if needed > self.seconds else self.seconds + FORGET * (needed - self.seconds)
