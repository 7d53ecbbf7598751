"""How long a run takes its time."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Pace:
    """Lengths in seconds and counts, for a full or a quick run."""

    step: float
    rough: float  # of a step while the rate still doubles
    warm: float  # the part of a step that is not counted
    refinements: int  # each halves the interval in which the limit lies
    tries: int  # of a rate before it counts as too high: an accident that fells a peer would flatter us
    sessions: int  # of the memory and resume scenarios
    handshakes: int
    churn: float  # seconds of joining and leaving

    def seconds(self, roughly: bool) -> float:
        return self.rough if roughly else self.step

    def with_churn(self, seconds: float) -> Pace:
        return replace(self, churn=seconds)


FULL = Pace(step=3.0, rough=1.5, warm=0.5, refinements=3, tries=2, sessions=5000, handshakes=4000, churn=600.0)
QUICK = Pace(step=0.8, rough=0.8, warm=0.3, refinements=1, tries=2, sessions=1000, handshakes=800, churn=10.0)
