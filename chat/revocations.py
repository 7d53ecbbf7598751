"""Who may not be here: bans at the door, and kicks and bans that reach living sockets on every server.

The store's log is the truth and the bus only says that it grew. Without the bus the log is read each POLL seconds, so a
revoked user is gone within 3 s on every server, and at once on the one that was asked.
"""

from __future__ import annotations

import datetime as dt
import logging
from typing import TYPE_CHECKING

import trio

from bus.events import Revoked
from chat.closing import BANNED, KICKED
from db.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from bus.events import Event
    from chat.closing import Closing
    from db.records import Revocation, RevokeAction
    from db.store import Store

log = logging.getLogger("belfry.chat.revocations")

POLL = 2.0  # seconds between looks at the log while there are other servers
PAGE = 1_000  # revocations a look


class Revocations:
    """The bans in force, and the place in the log up to which they are known."""

    def __init__(
        self,
        store: Store,
        publish: Callable[[Event], None],
        close_user: Callable[[str, Closing], int],
        quiet: Callable[[], float | None],
    ) -> None:
        self._store = store
        self._publish = publish
        self._close_user = close_user
        self._quiet = quiet
        self._banned: set[str] = set()  # 100 B each: a million bans are 100 MB
        self._last_id = 0
        self._grew = trio.Event()

    async def load(self) -> None:
        """Read the bans in force; before anybody is let in. Raises StoreUnavailable."""
        bans = await self._store.bans()
        self._banned = set(bans.user_ids)
        self._last_id = bans.last_id

    def is_banned(self, user_id: str) -> bool:
        """Whether this user must be turned away."""
        return user_id in self._banned

    async def revoke(self, user_id: str, action: RevokeAction, by: str) -> int:
        """Kick, ban or let in again, here at once; how many sockets were closed here. Raises StoreUnavailable."""
        revocation = await self._store.revoke(user_id, action, by, dt.datetime.now(dt.UTC))
        self._publish(Revoked(revocation.id))
        return self._apply(revocation)

    def heard(self) -> None:
        """Another server wrote to the log."""
        self._grew.set()

    async def watch(self) -> None:
        """Follow the log, until cancelled."""
        while True:
            with trio.move_on_after(POLL) as patience:
                await self._grew.wait()
            if patience.cancelled_caught and self._quiet() is None:
                continue  # alone: nobody else writes to it
            self._grew = trio.Event()
            try:
                for revocation in await self._store.revocations_after(self._last_id, PAGE):
                    self._last_id = revocation.id
                    self._apply(revocation)
            except StoreUnavailable:
                continue  # the next look finds them

    def _apply(self, revocation: Revocation) -> int:
        user_id = revocation.user_id
        if revocation.action == "unban":
            self._banned.discard(user_id)
            return 0
        if revocation.action == "ban":
            self._banned.add(user_id)
        closed = self._close_user(user_id, BANNED if revocation.action == "ban" else KICKED)
        if closed:
            log.info("%s: %d sockets of %s closed", revocation.action, closed, user_id)
        return closed
