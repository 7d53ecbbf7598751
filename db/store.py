"""The Store protocol: the durable truth, whatever keeps it.

Twins: `db/sqlite.py` (embedded default) and `db/mysql.py`. One test file runs all.
Every method is a checkpoint and may be cancelled: a cancelled write was either committed whole or not at all.
All raise StoreUnavailable when the store cannot answer now, and nothing was changed then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence

    from db.records import (
        Appended,
        Bans,
        Draft,
        LiveRoom,
        Mark,
        MessageRecord,
        Order,
        Revocation,
        RevokeAction,
        RolloutRecord,
        RoomMissing,
        RoomPage,
        RoomRecord,
        RoomSort,
        ServerRecord,
    )


class RoomTaken(Exception):
    """A room of this name exists already."""


class BadCursor(Exception):
    """The cursor was not made by this listing (other sort or order, or not ours at all)."""


class Store(Protocol):
    """What a chat server asks of its database."""

    async def append(self, drafts: Sequence[Draft], at: dt.datetime) -> list[Appended | RoomMissing]:
        """Commit drafts in one transaction, durable when this returns; one outcome a draft, in their order.

        Each room's fresh drafts get consecutive numbers in the order given, from last_seq + 1, without holes.
        A draft whose (room, user, nonce) is in the store, or earlier in the same call, gets that message's number.
        `at` becomes the fresh messages' moment and their rooms' active_at.
        Raises OutcomeUnknown when the answer to COMMIT was lost: call again with the same drafts.
        """

    async def live_room(self, name: str, recent: int, marks: int) -> LiveRoom | None:
        """The room, its newest `recent` messages and `marks` read marks, from one moment; None if it is missing."""

    async def messages_after(self, room_id: int, seq: int, limit: int) -> list[MessageRecord]:
        """Up to `limit` messages with a number above `seq`, ascending."""

    async def messages_before(self, room_id: int, seq: int, limit: int) -> list[MessageRecord]:
        """The newest `limit` messages with a number below `seq`, ascending."""

    async def heads(self, room_ids: Sequence[int]) -> dict[int, int]:
        """last_seq of each of these rooms; a missing room is left out. One query for all."""

    async def create_room(self, name: str, title: str, created_by: str, at: dt.datetime) -> RoomRecord:
        """Make a room with a new epoch. Raises RoomTaken."""

    async def room(self, name: str) -> RoomRecord | None:
        """One room by name."""

    async def rename_room(self, name: str, title: str, at: dt.datetime) -> RoomRecord | None:
        """Change the title; None if the room is missing."""

    async def delete_room(self, name: str) -> RoomRecord | None:
        """Delete the room with all its messages and marks; the record it had, or None if it is missing."""

    async def rooms(self, q: str, sort: RoomSort, order: Order, limit: int, cursor: str | None) -> RoomPage:
        """A page of rooms whose name or title contains `q` (case-insensitive; "" is all), by keyset, never OFFSET.

        Raises BadCursor.
        """

    async def save_marks(self, marks: Sequence[Mark]) -> None:
        """Move read marks forward; one that is not ahead of the stored one, or in a missing room, changes nothing."""

    async def revoke(self, user_id: str, action: RevokeAction, by: str, at: dt.datetime) -> Revocation:
        """Write down that a user is kicked, banned or let in again."""

    async def revocations_after(self, id: int, limit: int) -> list[Revocation]:
        """Up to `limit` revocations with an id above `id`, ascending."""

    async def bans(self) -> Bans:
        """Everybody who is banned: whose newest ban or unban is a ban."""

    async def put_server(self, server: ServerRecord) -> None:
        """Write a server's beat, whatever stood under its id; but a boot that said that it stopped stays stopped.

        Two beats may come by two connections, and the earlier one last.
        """

    async def servers(self) -> list[ServerRecord]:
        """All servers that ever beat, by id."""

    async def put_rollout(self, rollout: RolloutRecord) -> None:
        """Write a rollout down, unless what stands under its id knows more steps of it."""

    async def rollouts(self, limit: int) -> list[RolloutRecord]:
        """The last `limit` rollouts, newest first."""

    async def aclose(self) -> None:
        """Close every connection; afterwards nothing else may be called."""
