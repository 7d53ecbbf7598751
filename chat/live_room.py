"""One room in memory, on this server."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Self

from chat import wire
from chat.presence import Presence
from chat.room import Room

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chat.outbox import Outbox
    from chat.session import Session
    from db.records import LiveRoom as StoredRoom
    from db.records import MessageRecord

MARKS = 2_000  # read marks kept a room: the newest; 100 B each


class LiveRoom:
    """A room's order, its members here, who is present, and read marks."""

    __slots__ = (
        "filling", "holes", "idle_since", "marks", "marks_dirty", "marks_version", "members", "members_json",
        "members_named", "news", "order", "pins", "presence", "presence_due",
    )  # fmt: skip

    def __init__(self, order: Room, marks: dict[str, int]) -> None:
        self.order = order
        self.members: dict[Session, Outbox] = {}
        self.members_json = b""  # encoded for `joined`, as of `members_named`
        self.members_named = -1  # of `presence.named`
        self.presence = Presence()
        self.presence_due = 0.0
        self.news: dict[str, str | None] = {}  # what the other servers are not told yet: user id -> name, None for left
        self.marks = marks
        self.marks_dirty: set[str] = set()
        self.marks_version = 0  # grows with each mark that moves
        self.pins = 0  # sends on their way, joins that read history: it must not be forgotten meanwhile
        self.filling = False
        self.holes: dict[int, float] = {}  # first number of each hole that the bus has not told of -> since when
        self.idle_since = 0.0

    @classmethod
    def of(cls, stored: StoredRoom) -> Self:
        """The room as the store has it."""
        room = stored.room
        order = Room(room.name, room.id, room.epoch, room.last_seq, map(body_of, stored.recent))
        return cls(order, dict(stored.marks))

    @contextlib.contextmanager
    def pinned(self) -> Iterator[None]:
        """Keep the room in memory for this long."""
        self.pins += 1
        try:
            yield
        finally:
            self.pins -= 1

    def mark(self, user_id: str, seq: int) -> bool:
        """Move a user's read mark; False if it is not ahead of the old one."""
        if seq <= self.marks.get(user_id, 0):
            return False
        self.marks_version += 1
        self.marks.pop(user_id, None)
        self.marks[user_id] = seq
        if len(self.marks) > MARKS:
            del self.marks[next(iter(self.marks))]
        return True


def body_of(message: MessageRecord) -> bytes:
    """A stored message as it goes into frames."""
    user = wire.User(message.user_id, message.user_name)
    return wire.encode(wire.Message(message.seq, user, message.text, message.at))
