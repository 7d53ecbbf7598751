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
from chat.peers import LEASE
from db.errors import StoreUnavailable
from db.records import ServerRecord

if TYPE_CHECKING:
    from collections.abc import Callable

    from bus.events import Event
    from chat.config import Config
    from chat.service import State
    from db.store import Store

log = logging.getLogger("belfry.chat.beats")

BEAT = 2.0  # seconds
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
        fence: Callable[[], None],
    ) -> None:
        self._config = config
        self._store = store
        self._publish = publish
        self._quiet = quiet
        self._state = state
        self._sessions = sessions
        self._fence = fence
        self._started = dt.datetime.now(dt.UTC)

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
            if self._quiet() is not None:
                await self.beat()
            await trio.sleep(BEAT)

    async def beat(self) -> None:
        """Say it once; a database that cannot take it now hears the next."""
        config = self._config
        url = config.public_url or f"http://{config.host}:{config.port}"
        now = dt.datetime.now(dt.UTC)
        self._publish(
            Beat(
                config.server_id, config.boot, url, config.version, self._state(), self._sessions(),
                config.limits.handshakes_per_second, made_at=now.timestamp(),
            )
        )  # fmt: skip
        record = ServerRecord(
            config.server_id, config.boot, url, config.version, self._state(), self._sessions(), self._started, now
        )
        with trio.move_on_after(BEAT_PATIENCE):
            try:
                await self._store.put_server(record)
            except StoreUnavailable as error:
                log.debug("the beat was not written: %s", error)
