"""How long clients waited for what was said: each delivery, and the worst that each client met. Pure.

Moments are seconds of any one clock, the audit's own: a message's wait goes from the moment one client of the audit
sent it to the moment another heard it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from belfry.audit.latencies import Latencies

KEPT = 100_000  # sends whose moment is known: 20 MB; a message older than that is counted, but not timed
STALL = 0.3  # seconds; a wait that a person would notice


@dataclass(slots=True)
class Ear:
    """What one client heard, and when."""

    heard: float = 0.0  # the last moment at which it heard anything
    stall: float = 0.0  # its longest wait for one message, or one ack
    silence: float = 0.0  # the longest in which it heard nothing, though something had been said
    stalling: float = -math.inf  # the moment of its last wait above STALL


@dataclass
class Waits:
    """Of a whole run."""

    deliveries: Latencies = field(default_factory=Latencies)
    stalls: int = 0  # times that a client waited longer than STALL; one a client and pause, not one a message
    longest: float = 0.0
    longest_silence: float = 0.0
    _said: dict[str, float] = field(default_factory=dict)  # text -> moment

    def said(self, text: str, now: float) -> None:
        """Somebody sends this."""
        said = self._said
        said[text] = now
        if len(said) > KEPT:
            del said[next(iter(said))]

    def heard(self, ear: Ear, text: str, now: float) -> None:
        """A client got this message."""
        at = self._said.get(text)
        if at is not None:
            wait = now - at
            self.deliveries.add(wait)
            silence = now - max(at, ear.heard)
            if silence > ear.silence:
                ear.silence = silence
                self.longest_silence = max(self.longest_silence, silence)
            if wait > ear.stall or wait > STALL:
                self._waited(ear, wait, now)
        ear.heard = now

    def acked(self, ear: Ear, wait: float, now: float) -> None:
        """A client got the ack that it had waited for so long."""
        if wait > ear.stall or wait > STALL:
            self._waited(ear, wait, now)
        ear.heard = now

    def _waited(self, ear: Ear, wait: float, now: float) -> None:
        ear.stall = max(ear.stall, wait)
        self.longest = max(self.longest, wait)
        if wait > STALL:
            if now - wait > ear.stalling:  # said after the last stall was over: another one
                self.stalls += 1
            ear.stalling = now
