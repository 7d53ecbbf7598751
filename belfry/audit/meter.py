"""What a run of the audit counts for the person who watches. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from belfry.audit.herd import Herd
from belfry.audit.latencies import Latencies
from belfry.audit.waits import Waits


@dataclass
class Meter:
    """Counted by the clients as things happen."""

    sent: int = 0
    acked: int = 0
    delivered: int = 0
    attempts: int = 0  # connections dialled, the first of each client too
    reconnects: int = 0  # connections lost, or given up because the server said so
    held_back: int = 0  # sends left out because the client had too many unanswered
    arrived: bool = False  # everybody is in: from here on a dial is somebody who comes back
    acks: Latencies = field(default_factory=Latencies)
    waits: Waits = field(default_factory=Waits)
    herd: Herd = field(default_factory=Herd)  # of those who came back
    away: Latencies = field(default_factory=Latencies)  # from a lost connection to one with all rooms again
    errors: Counter[str] = field(default_factory=Counter)  # `error` frames and failed connects, by code
    stopped: list[str] = field(default_factory=list)  # clients told never to come back, and why

    def attempted(self, now: float) -> None:
        """A client dials."""
        self.attempts += 1
        if self.arrived:
            self.herd.attempt(now)

    @property
    def longest_silence(self) -> float:
        """Seconds that one client heard nothing though somebody talked."""
        return self.waits.longest_silence
