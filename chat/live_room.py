"""One room in memory, on this server."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

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
        "filling", "idle_since", "marks", "marks_dirty", "members", "members_json", "news", "order", "pins",
        "presence", "presence_due",
    )  # fmt: skip

    def __init__(self, stored: StoredRoom) -> None:
        room = stored.room
        self.order = Room(room.name, room.id, room.epoch, room.last_seq, map(body_of, stored.recent))
        self.members: dict[Session, Outbox] = {}
        self.members_json: bytes | None = None  # encoded for `joined`, until somebody comes or goes
        self.presence = Presence()
        self.presence_due = 0.0
        self.news: dict[str, str | None] = {}  # what the other servers are not told yet: user id -> name, None for left
        self.marks = dict(stored.marks)
        self.marks_dirty: set[str] = set()
        self.pins = 0  # sends on their way, joins that read history: it must not be forgotten meanwhile
        self.filling = False
        self.idle_since = 0.0

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
        self.marks.pop(user_id, None)
        self.marks[user_id] = seq
        if len(self.marks) > MARKS:
            del self.marks[next(iter(self.marks))]
        return True


def body_of(message: MessageRecord) -> bytes:
    """A stored message as it goes into frames."""
    user = wire.User(message.user_id, message.user_name)
    return wire.encode(wire.Message(message.seq, user, message.text, message.at))
