"""Which event goes to which topic under which key: one table for all twins. Pure.

What shares a key stays in order; what stands in different topics does not.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bus.events import (
    Asked,
    Beat,
    Committed,
    Event,
    Leaving,
    Members,
    Order,
    Pace,
    Read,
    Revoked,
    Rollout,
    RoomDeleted,
    Typing,
)

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic; its name on the broker is the fleet's prefix and `name`.

    `kept`: the newest event of each key stays, and a reader that begins gets them all; of the others it gets what comes
    from then on.
    """

    name: str
    partitions: int
    retention: int  # seconds an event may be read; of a kept topic, seconds a key stays that is silent
    kept: bool = False

    @property
    def settings(self) -> dict[str, str]:
        """How the broker is to keep it, in the broker's own words."""
        # A segment is deleted or compacted only when it is closed, which by default takes a week or a gigabyte.
        if self.kept:
            return {
                "cleanup.policy": "compact,delete",
                "retention.ms": str(self.retention * 1_000),
                "segment.ms": "60000",
                "min.cleanable.dirty.ratio": "0.1",
            }
        return {
            "cleanup.policy": "delete",
            "retention.ms": str(self.retention * 1_000),
            "segment.ms": str(self.retention * 1_000),
        }


# Few partitions: every server reads all of them anyhow. Hints are short-lived: nobody reads old ones.
MESSAGES = Topic("messages", 4, 600)
PRESENCE = Topic("presence", 1, 60)
CONTROL = Topic("control", 1, 600)
SERVERS = Topic("servers", 1, 86_400, kept=True)  # a server that was silent for a day is forgotten
TOPICS = (MESSAGES, PRESENCE, CONTROL, SERVERS)


@dataclass(frozen=True, slots=True)
class Route:
    """Where a kind of event goes. Without a key of its own it goes under its sender's name."""

    topic: Topic
    key: Callable[[Any], str] | None


def _room(event: Any) -> str:
    return str(event.room)


def _id(event: Any) -> str:
    return str(event.id)


def _one(event: Any) -> str:
    return ""


Routes = dict[type[Event], Route]
ROUTES: Routes = {
    # All that one server commits stays together, so that a round of it is one record. The room's own numbers put it in
    # order with what others commit; by rooms, fifty of them made four records of each round.
    Committed: Route(MESSAGES, None),
    Members: Route(PRESENCE, _room),
    Asked: Route(PRESENCE, _room),
    Typing: Route(PRESENCE, _room),
    Read: Route(PRESENCE, _room),
    RoomDeleted: Route(CONTROL, _room),
    Revoked: Route(CONTROL, _one),
    Beat: Route(SERVERS, _id),
    Leaving: Route(CONTROL, _id),
    Pace: Route(CONTROL, _id),
    Order: Route(CONTROL, _id),
    Rollout: Route(CONTROL, _id),
}


def partition_of(key: str, count: int) -> int:
    """The partition of a key: the same on every server, whatever its version."""
    return zlib.crc32(key.encode()) % count
