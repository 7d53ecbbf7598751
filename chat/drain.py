"""The plan of a planned stop: when each client moves. Pure.

With nobody to take over, a stop is a restart: clients come back by themselves, and all the plan does is spread them.
"""

from __future__ import annotations

from dataclasses import dataclass

CLOSING_SHARE = 0.2  # of the deadline, kept for closing handshakes and the last commit
CLOSING_MAX = 5.0  # seconds; a longer deadline needs no longer end


@dataclass(frozen=True, slots=True)
class DrainPlan:
    """`sessions` clients leave one after the other, evenly, inside `window` seconds."""

    sessions: int
    window: float

    def moment(self, index: int) -> float:
        """Seconds from the start of the drain at which client `index` (from 0) moves."""
        return self.window * index / self.sessions


def plan_drain(sessions: int, deadline: float, pace: float) -> DrainPlan:
    """As slow as `pace` (clients a second; 0: all at once) asks for, as fast as `deadline` (seconds) needs."""
    longest = deadline - min(CLOSING_MAX, deadline * CLOSING_SHARE)
    window = sessions / pace if pace else 0.0
    return DrainPlan(sessions, min(window, longest))
