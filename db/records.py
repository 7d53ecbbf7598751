"""The values that go into and come out of the store; all frozen, a value that exists is valid."""

from __future__ import annotations

import datetime as dt
from typing import Literal

import msgspec

RevokeAction = Literal["kick", "ban", "unban"]
ServerState = Literal["starting", "ready", "cordoned", "draining", "stopped", "down"]
RoomSort = Literal["name", "created_at", "active_at"]
Order = Literal["asc", "desc"]
RolloutState = Literal["running", "done", "failed"]


class RoomRecord(msgspec.Struct, frozen=True):
    """One room. `id` is never reused; `epoch` changes when the room's storage is replaced."""

    id: int
    name: str
    title: str
    epoch: str
    last_seq: int  # the highest sequence number given out, 0 for an empty room
    created_by: str
    created_at: dt.datetime  # all moments are aware and in UTC, to the microsecond
    updated_at: dt.datetime  # the title's last change
    active_at: dt.datetime  # the last message, or the creation


class MessageRecord(msgspec.Struct, frozen=True, gc=False):
    """One message as committed."""

    seq: int
    user_id: str
    user_name: str
    text: str
    at: dt.datetime


class Draft(msgspec.Struct, frozen=True, gc=False):
    """A message that waits for its number."""

    room_id: int
    user_id: str
    user_name: str
    nonce: str
    text: str


class Appended(msgspec.Struct, frozen=True, gc=False):
    """The number that a draft got.

    `fresh` is False when (room, user, nonce) had been committed before: `seq` and `at` are those of the first
    time, and nobody must be sent the message again.
    """

    seq: int
    at: dt.datetime
    fresh: bool


class RoomMissing(msgspec.Struct, frozen=True, gc=False):
    """The draft's room does not exist (any more); nothing was written for this draft."""


class LiveRoom(msgspec.Struct, frozen=True):
    """What a server needs to serve a room, read in one transaction."""

    room: RoomRecord
    recent: list[MessageRecord]  # the newest ones, ascending by seq, without holes
    marks: dict[str, int]  # user id -> read mark; the most recently moved ones


class RoomPage(msgspec.Struct, frozen=True):
    """A page of rooms and the cursor of the next one, None at the end."""

    rooms: list[RoomRecord]
    next_cursor: str | None


class Mark(msgspec.Struct, frozen=True, gc=False):
    """One user's read mark in one room."""

    room_id: int
    user_id: str
    seq: int


class Revocation(msgspec.Struct, frozen=True):
    """A user was sent away, banned, or let in again; `id` grows with each."""

    id: int
    user_id: str
    action: RevokeAction


class Bans(msgspec.Struct, frozen=True):
    """Who is banned now, and the newest revocation's id at that moment."""

    user_ids: list[str]
    last_id: int


class ServerRecord(msgspec.Struct, frozen=True):
    """One server of the fleet, as it beat last."""

    id: str
    boot: str  # random, new at each start
    url: str
    version: str
    state: ServerState
    connections: int
    started_at: dt.datetime
    seen_at: dt.datetime


class RolloutRecord(msgspec.Struct, frozen=True):
    """One rolling redeploy, as far as it was told."""

    id: str  # random, from the supervisor
    fleet: str  # whose redeploy: the supervisor's host and ports
    began_at: dt.datetime
    ended_at: dt.datetime | None
    state: RolloutState
    version_from: str
    version_to: str
    servers: int
    moved: int  # sockets handed over alive
    drained: int  # sockets told to reconnect
    stall_ms: float  # the longest
    why: str  # of a failure
    steps: int  # in the story: of two records the one that knows more counts
    story: str  # JSON: the steps
