"""The records on the bus: hints between servers, never the truth (the store is).

Each is one frozen struct; `made_at` (Unix seconds by the maker's clock) lets a reader see that a record is old.
"""

from __future__ import annotations

import msgspec


class Committed(msgspec.Struct, frozen=True, tag="committed"):
    """Messages of one room that one commit wrote, ascending and without holes.

    `bodies` are the encoded message objects ({"seq":..,"from":..,"text":..,"at":..}), as they go into frames:
    encoded once in the whole fleet.
    """

    room: str
    room_id: int
    epoch: str
    first_seq: int
    bodies: list[bytes]
    made_at: float = 0.0


class Members(msgspec.Struct, frozen=True, tag="members"):
    """Who joined and left a room on one boot of one server: [user id, name] pairs and user ids.

    `whole`: these are all who are there, and whoever else was has left.
    """

    room: str
    joined: list[tuple[str, str]]
    left: list[str]
    whole: bool = False
    made_at: float = 0.0


class Asked(msgspec.Struct, frozen=True, tag="asked"):
    """A server that has just begun with a room asks the others who is in it there."""

    room: str


class Typing(msgspec.Struct, frozen=True, tag="typing"):
    """A user types in a room."""

    room: str
    user_id: str
    user_name: str
    made_at: float = 0.0


class Read(msgspec.Struct, frozen=True, tag="read"):
    """A user's read mark moved."""

    room: str
    user_id: str
    seq: int
    made_at: float = 0.0


class RoomDeleted(msgspec.Struct, frozen=True, tag="room_deleted"):
    """A room is gone, with its history."""

    room: str
    room_id: int
    made_at: float = 0.0


class Revoked(msgspec.Struct, frozen=True, tag="revoked"):
    """A user was kicked, banned or let in again: look at the store's revocations. `room` is empty."""

    id: int
    room: str = ""


class Beat(msgspec.Struct, frozen=True, tag="beat"):
    """A server lives; each 2 s, and at each change of state. `room` is empty."""

    id: str
    boot: str
    url: str
    version: str
    state: str
    sessions: int
    handshakes_per_second: float  # what it says it can take; 0 is without limit
    room: str = ""
    made_at: float = 0.0


Event = Committed | Members | Asked | Typing | Read | RoomDeleted | Revoked | Beat
