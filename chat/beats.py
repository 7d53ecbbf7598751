"""The server's own beat: into the database and onto the bus, for the tower and for the other servers' presence.

A process that stood still for longer than its lease (SIGSTOP, a frozen machine) finds out by its own late beat: the
others have let its members go, so it sends its clients away to resume where the fleet is whole, and begins anew.
"""

from __future__ import annotations

import datetime as dt
import logging
import time
from typing import TYPE_CHECKING

import trio

from bus.events import Beat
from chat.others import own_url
from chat.peers import LEASE
from db.errors import StoreUnavailable
from db.records import ServerRecord

if TYPE_CHECKING:
    from collections.abc import Callable

    from bus.events import Event
    from chat.config import Config
    from chat.load import Rates
    from chat.moving import Progress
    from chat.service import State
    from db.store import Store

log = logging.getLogger("belfry.chat.beats")

BEAT = 2.0  # seconds
BEAT_DRAINING = 0.5  # seconds while clients move, for whoever watches it
BEAT_PATIENCE = 1.5  # seconds for the database to take one; the next says the same, newer


class Beats:
    """Tells who this server is and how it is."""

    def __init__(
        self,
        config: Config,
        store: Store,
        publish: Callable[[Event], None],
        quiet: Callable[[], float | None],
        state: Callable[[], State],
        sessions: Callable[[], int],
        vitals: Callable[[], tuple[Rates, Progress]],
        fence: Callable[[], None],
    ) -> None:
        self._config = config
        self._store = store
        self._publish = publish
        self._quiet = quiet
        self._state = state
        self._sessions = sessions
        self._vitals = vitals
        self._fence = fence
        self._changed = trio.Event()
        self.held = False  # while the server is between two processes: neither speaks for it
        self.follows = ""  # the boot of this server whose living sockets we took over
        self._started = dt.datetime.now(dt.UTC)

    def changed(self) -> None:
        """The state is another one: others should know now, not in two seconds."""
        self._changed.set()

    async def run(self) -> None:
        """Beat, until cancelled."""
        # The monotonic clock goes on while a process is stopped; the event loop's own time is read from it too.
        beat_at = time.monotonic()
        while True:
            late = time.monotonic() - beat_at
            if late > LEASE:
                log.error("this process stood still for %.0f s: its clients are sent to resume", late)
                self._fence()
            beat_at = time.monotonic()
            if not self.held:
                await self.beat()
            with trio.move_on_after(BEAT_DRAINING if self._state() == "draining" else BEAT):
                await self._changed.wait()
            self._changed = trio.Event()

    async def beat(self, patience: float = BEAT_PATIENCE) -> None:
        """Say it once; a database that cannot take it within `patience` seconds hears the next."""
        config = self._config
        url, state, sessions = own_url(config), self._state(), self._sessions()
        rates, progress = self._vitals()
        now = dt.datetime.now(dt.UTC)
        self._publish(
            Beat(
                config.server_id, config.boot, url, config.version, state, sessions,
                config.limits.handshakes_per_second, made_at=now.timestamp(), started_at=self._started.timestamp(),
                follows=self.follows, sends_per_second=rates.sends_per_second,
                deliveries_per_second=rates.deliveries_per_second, commit_p99_ms=rates.commit_p99_ms,
                handshakes_peak=rates.handshakes_peak, to_move=progress.to_move, moved=progress.moved,
                eta=progress.eta,
            )
        )  # fmt: skip
        if self._quiet() is None:  # alone: nobody reads it, and a quiet disk may sleep
            return
        record = ServerRecord(config.server_id, config.boot, url, config.version, state, sessions, self._started, now)
        with trio.move_on_after(patience):
            try:
                await self._store.put_server(record)
            except StoreUnavailable as error:
                log.debug("the beat was not written: %s", error)
