"""What a tower asks of a database: the little of db.store.Store that it needs. It can do without."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from db.records import RolloutRecord, ServerRecord


class TowerStore(Protocol):
    """As db.store.Store has them; all raise StoreUnavailable when the database cannot answer now."""

    async def servers(self) -> list[ServerRecord]:
        """All servers that ever beat, by id."""

    async def put_rollout(self, rollout: RolloutRecord) -> None:
        """Write a rollout down, unless what stands under its id knows more steps of it."""

    async def rollouts(self, limit: int) -> list[RolloutRecord]:
        """The last `limit` rollouts, newest first."""
