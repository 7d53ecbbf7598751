"""Whether records come through: proved by pings that go the whole way round, told once when it changes.

Two threads and the event loop look at it: every field is one float, string or flag that one of them writes.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from bus.bus import Counts

log = logging.getLogger("belfry.bus.kafka")

PING = 0.3  # seconds between records that prove the way there and back
AWAY = 1.0  # seconds without a proof after which people are told
HOLD = 2.0  # seconds without an acknowledged ping after which nothing more is handed to the library


class Link:
    """The way to the broker and back, as this process knows it."""

    def __init__(self, name: str, counts: Counts, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._counts = counts
        self._clock = clock
        self._heard = self._began = clock() - 2 * AWAY  # when the newest ping was sent that came back: none did yet
        self._acked = clock()  # when a broker last took a ping; until it fails to, it is hoped for
        self._away_since: float | None = clock()
        self._heard_before = False
        self._told = ""  # the reason that people know of
        self.why = ""  # the newest reason that a client gave

    def quiet(self) -> float:
        """Seconds for which nothing proved that records come through, beyond those between two pings."""
        return max(0.0, self._clock() - self._heard - PING)

    def ping_heard(self, sent: float) -> None:
        """One of our pings came back; by when it was sent, a way that takes long is not taken for one that works."""
        self._heard = max(self._heard, sent)

    def ping_acked(self, _: object = None) -> None:
        """A broker took a ping."""
        self._acked = self._clock()

    @property
    def is_taking(self) -> bool:
        """Whether a broker takes what is sent."""
        return self._clock() - self._acked < HOLD

    def look(self) -> bool:
        """Tell people what changed; True when the bus has just come, or come back. One thread calls this."""
        now = self._clock()
        if now - self._heard < AWAY:
            self.why = self._told = ""
            if self._away_since is None:
                return False
            if self._heard_before:
                self._counts.reconnects += 1
                log.info("the bus at %s is back, after %.1f s", self._name, now - self._away_since)
            else:
                log.info("the bus at %s is reached", self._name)
            self._away_since, self._heard_before = None, True
            return True
        if self._away_since is None:
            self._away_since = self._heard
        if now - self._away_since > AWAY and (not self._told or (self.why and self.why != self._told)):
            self._told = self.why or "no answer"
            log.warning(
                "the bus at %s is away (%s); rooms on several servers go on through the database, about 1 s slower",
                self._name,
                self._told,
            )
        return False
