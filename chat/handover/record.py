"""What one process tells its successor of its rooms and clients: every record of the handover's conversation. Pure.

The conversation is in chat/handover/give.py. Its records are the successor's only knowledge of a client beside the
socket itself, so a field that is forgotten here is a client that notices. FORMAT changes with every change that an
older reader would misread; who does not know it declines, and the clients are moved instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from chat.presence import PresenceState

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

FORMAT = 1

SOCKETS_A_PART = 200  # file descriptors in one message; the kernel takes at most 253
PART_BYTES = 1_000_000  # of rooms in one message: 5 ms to make, and so between two looks at the clients
WINDOWS_BYTES = 67_108_864  # of recent messages handed over, of all rooms; what is beyond is read from the store


class Offer(Struct, frozen=True, tag="offer"):
    """The giver: who I am, and what there is."""

    format: int
    version: str
    server_id: str
    boot: str
    sockets: int
    rooms: int


class Accept(Struct, frozen=True, tag="accept"):
    """The taker: go on."""


class Decline(Struct, frozen=True, tag="decline"):
    """The taker: I cannot read this."""

    why: str


class RoomState(Struct, frozen=True):
    """One live room, as it is now."""

    name: str
    id: int
    epoch: str
    head: int
    known: int  # the highest number heard of
    window: list[bytes]  # bodies up to the head, perhaps none
    marks: dict[str, int]
    marks_dirty: list[str]  # users whose marks are not in the store yet
    presence: PresenceState


class RoomChange(Struct, frozen=True):
    """What became of a room that was told before."""

    name: str
    head: int
    known: int
    bodies: list[bytes] | None  # those after the head told before; None when there were too many
    marks: dict[str, int] | None  # None: as told
    marks_dirty: list[str]
    presence: PresenceState | None  # None: as told


class SessionState(Struct, frozen=True):
    """One client that said hello; its socket comes with the message, in the same order."""

    key: int
    user_id: str
    name: str
    expires_at: float  # Unix seconds
    admin: bool
    rooms: list[str]


class SessionChange(Struct, frozen=True):
    """What became of a client that was told before; who is not named is as told, with nothing unread or unsent."""

    key: int
    gone: bool = False  # it left, or cannot be handed over: the taker lets go of its socket
    rooms: list[str] | None = None  # None: as told
    unread: bytes = b""  # the beginning of a message that is still arriving
    unsent: bytes = b""  # what its socket did not take yet


class LateSession(Struct, frozen=True):
    """A client that came after the others were told."""

    state: SessionState
    change: SessionChange


class Stranger(Struct, frozen=True):
    """A connection without a session.

    `websocket`: it is upgraded and has not said hello; else it is HTTP between two requests. `begun` is what was read
    of what comes next; `waited` the seconds it has used of its time for that.
    """

    websocket: bool
    begun: bytes = b""
    waited: float = 0.0
    unsent: bytes = b""


class Told(Struct, frozen=True, tag="told"):
    """The giver, while it still serves: rooms and clients, in as many of these as it takes."""

    rooms: list[RoomState] = []
    sessions: list[SessionState] = []


class AllTold(Struct, frozen=True, tag="all_told"):
    """The giver: these were all, as of now."""


class Ready(Struct, frozen=True, tag="ready"):
    """The taker: all that was told is in place, the rest may come."""


class Changes(Struct, frozen=True, tag="changes"):
    """The giver, while nobody is served: what is different now, in as many of these as it takes.

    The sockets of `late` come with it, then those of `strangers`.
    """

    rooms: list[RoomChange] = []
    new_rooms: list[RoomState] = []
    gone_rooms: list[str] = []
    sessions: list[SessionChange] = []
    late: list[LateSession] = []
    strangers: list[Stranger] = []


class Over(Struct, frozen=True, tag="over"):
    """The giver: that was all; I write nothing any more, neither to sockets nor to the store."""

    frozen_at: float  # when reading stopped, by the machine's monotonic clock
    left_behind: int  # clients that cannot be handed over, and are told to reconnect
    cordoned: bool = False  # whether the server takes no new clients from the tower
    direct: bool = True  # whether clients come to where the server listens, and by no proxy


class Taken(Struct, frozen=True, tag="taken"):
    """The taker: everything is in place, and the store is mine. It touches no socket before Go."""


class Go(Struct, frozen=True, tag="go"):
    """The giver: they are yours."""


class Back(Struct, frozen=True, tag="back"):
    """The giver: it took too long, I serve them on. The taker forgets everything and ends."""


class Settled(Struct, frozen=True, tag="settled"):
    """The taker: I have served for a moment and live; the giver may let go."""

    moved: int
    stall_ms: float


FromGiver = Offer | Told | AllTold | Changes | Over | Go | Back
FromTaker = Accept | Decline | Ready | Taken | Settled

encode = msgspec.msgpack.Encoder().encode
decode_from_giver = msgspec.msgpack.Decoder(FromGiver).decode
decode_from_taker = msgspec.msgpack.Decoder(FromTaker).decode


def parts_of_rooms(rooms: Iterable[RoomState]) -> Iterator[list[RoomState]]:
    """Cut into runs of about PART_BYTES, at least one room each; windows beyond WINDOWS_BYTES in all are left out."""
    part: list[RoomState] = []
    size = total = 0
    for room in rooms:
        weight = sum(map(len, room.window))
        total += weight
        if total > WINDOWS_BYTES:
            room, weight = msgspec.structs.replace(room, window=[]), 0
        part.append(room)
        size += weight + 60 * len(room.presence.names) + 200  # a member's id and name; the rest of a room
        if size > PART_BYTES:
            yield part
            part, size = [], 0
    if part:
        yield part
