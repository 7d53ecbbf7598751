"""A tower's database, opened when it can be: a tower starts and lives on the bus while its database is away."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio

from db.errors import StoreUnavailable
from db.mysql_migrations import make_mysql
from db.open import open_store
from db.url import MysqlUrl

if TYPE_CHECKING:
    from db.records import RolloutRecord, ServerRecord
    from db.store import Store
    from db.url import DatabaseUrl

log = logging.getLogger("belfry.tower")

AGAIN = 2.0  # seconds between two tries
CLOSE_TIMEOUT = 1.0  # seconds; nothing is under way that would be missed


class LateStore:
    """tower.store.TowerStore on a database that may not be there yet."""

    def __init__(self, url: DatabaseUrl) -> None:
        self._url = url
        self._store: Store | None = None
        self._why = "it was not tried yet"

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Open it, again and again until it is there, and close it at the end. Started after the first try.

        Raises StoreUnusable: that is an operator's to mend.
        """
        try:
            while self._store is None:
                try:
                    if isinstance(self._url, MysqlUrl):  # empty when a whole fleet is started for the first time
                        await make_mysql(self._url)
                    self._store = await open_store(self._url, migrate=False)
                except StoreUnavailable as error:
                    if str(error) != self._why:
                        self._why = str(error)
                        log.warning("the database is away (%s); the tower goes on from the bus", error)
                    task_status.started()
                    task_status = trio.TASK_STATUS_IGNORED
                    await trio.sleep(AGAIN)
            task_status.started()
            await trio.sleep_forever()
        finally:
            if self._store is not None:
                with trio.move_on_after(CLOSE_TIMEOUT, shield=True):
                    await self._store.aclose()

    async def servers(self) -> list[ServerRecord]:
        """See TowerStore."""
        return await self._opened().servers()

    async def put_rollout(self, rollout: RolloutRecord) -> None:
        """See TowerStore."""
        await self._opened().put_rollout(rollout)

    async def rollouts(self, limit: int) -> list[RolloutRecord]:
        """See TowerStore."""
        return await self._opened().rollouts(limit)

    def _opened(self) -> Store:
        if self._store is None:
            raise StoreUnavailable(self._why)
        return self._store
