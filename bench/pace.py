"""How long a run takes its time."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Pace:
    """Lengths in seconds and counts, for a full or a quick run."""

    step: float
    warm: float  # the part of a step that is not counted
    refinements: int  # each halves the interval in which the limit lies
    sessions: int  # of the memory and resume scenarios
    handshakes: int
    churn: float  # seconds of joining and leaving

    def with_churn(self, seconds: float) -> Pace:
        return replace(self, churn=seconds)


FULL = Pace(step=3.0, warm=0.5, refinements=3, sessions=5000, handshakes=4000, churn=600.0)
QUICK = Pace(step=1.0, warm=0.3, refinements=1, sessions=1000, handshakes=800, churn=5.0)
