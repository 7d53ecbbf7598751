"""The wire: every frame of `belfry.v1`, as msgspec structs tagged by "t". JSON text frames.

Positions are [epoch, seq]. Moments are RFC 3339 in UTC. Frames that go to many are assembled from parts encoded once
(`message_frame`, `joined_frame`); the others are encoded whole by `encode`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta, Struct, field

if TYPE_CHECKING:
    from collections.abc import Sequence

SUBPROTOCOL = "belfry.v1"

Position = tuple[str, Annotated[int, Meta(ge=0, le=2**63 - 1)]]
RoomName = Annotated[str, Meta(max_length=64)]
Nonce = Annotated[str, Meta(min_length=1, max_length=64)]
Seq = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class User(Struct, frozen=True):
    """Who somebody is: `id` is for ever, `name` is what people see."""

    id: str
    name: str


# --- client to server ------------------------------------------------------------------------------------------


class Hello(Struct, frozen=True, tag_field="t", tag="hello"):
    """The first frame, within 5 s. `token` may be a ticket from `moving`."""

    token: Annotated[str, Meta(max_length=8192)]
    resume: Annotated[dict[RoomName, Position], Meta(max_length=1000)] = {}
    client: Annotated[str, Meta(max_length=200)] = ""
    cause: Annotated[str, Meta(max_length=200)] = ""


class Join(Struct, frozen=True, tag_field="t", tag="join"):
    """Enter a room; with `after`, get everything since that position, else the last `limit` messages."""

    room: RoomName
    after: Position | None = None
    limit: Annotated[int, Meta(ge=0, le=500)] = 50


class Leave(Struct, frozen=True, tag_field="t", tag="leave"):
    """Leave a room."""

    room: RoomName


class Send(Struct, frozen=True, tag_field="t", tag="send"):
    """A message; the same nonce again gets the same number again."""

    room: RoomName
    nonce: Nonce
    text: str


class ClientTyping(Struct, frozen=True, tag_field="t", tag="typing"):
    """I am typing in this room."""

    room: RoomName


class ClientRead(Struct, frozen=True, tag_field="t", tag="read"):
    """I have read this room up to this number."""

    room: RoomName
    seq: Seq


class Pong(Struct, frozen=True, tag_field="t", tag="pong"):
    """The answer to `ping`."""


ClientFrame = Hello | Join | Leave | Send | ClientTyping | ClientRead | Pong


# --- server to client ------------------------------------------------------------------------------------------


class Reconnect(Struct, frozen=True, omit_defaults=True):
    """After a crash: spread the first retry over `window_ms`; `url` if it is not the same address.

    When nobody is there, `tower` knows who is: `GET {tower}/v1/assign?user=&room=`.
    """

    window_ms: int
    url: str | None = None
    tower: str | None = None


class Limits(Struct, frozen=True):
    """What this server allows. 0 is without limit."""

    text_chars: int
    frame_bytes: int
    rooms_per_session: int
    send_rate: float  # messages a second
    send_burst: int


class Welcome(Struct, frozen=True, tag_field="t", tag="welcome"):
    """The answer to a good hello."""

    user: User
    server: str
    heartbeat_ms: int
    reconnect: Reconnect
    limits: Limits


class Ack(Struct, frozen=True, tag_field="t", tag="ack"):
    """The message is durable. Comes before its `message`, in the same write."""

    room: str
    nonce: str
    seq: int
    at: Any


class Presence(Struct, frozen=True, tag_field="t", tag="presence"):
    """Who came and went since the last one. In large rooms only `count` is told."""

    room: str
    joined: list[User]
    left: list[str]
    count: int


class Typing(Struct, frozen=True, tag_field="t", tag="typing"):
    """Somebody types; good for 5 s."""

    room: str
    user: User = field(name="from")


class Read(Struct, frozen=True, tag_field="t", tag="read"):
    """Somebody's read mark moved."""

    room: str
    user_id: str = field(name="user")
    seq: int = 0


class Ping(Struct, frozen=True, tag_field="t", tag="ping"):
    """Answer with `pong`."""


class Moving(Struct, frozen=True, omit_defaults=True, tag_field="t", tag="moving"):
    """Come to `url` (or back here) `not_before_ms` from now, with the ticket as token. Until then all goes on.

    It comes shortly before its moment; the others of this server have theirs inside `window_ms`.
    """

    not_before_ms: int
    window_ms: int
    ticket: str
    url: str | None = None


class Error(Struct, frozen=True, omit_defaults=True, tag_field="t", tag="error"):
    """A frame was refused. `temporary`: the same may work after `retry_ms`. `ref`: the nonce or room it was about."""

    code: str
    message: str
    temporary: bool
    retry_ms: int | None = None
    ref: str | None = None


class Message(Struct, frozen=True):
    """A message's body, as it stands in `message` frames, in `joined.messages` and in HTTP history."""

    seq: int
    user: User = field(name="from")
    text: str = ""
    at: Any = None


_encoder = msgspec.json.Encoder()
encode = _encoder.encode
decode_client = msgspec.json.Decoder(ClientFrame).decode
"""Decode one client frame. Raises msgspec.DecodeError (not JSON) or msgspec.ValidationError (JSON, but no frame)."""


def message_frame(room: str, body: bytes) -> bytes:
    """A `message` frame's text from an encoded body."""
    return b'{"t":"message","room":"%b",%b' % (room.encode(), body[1:])


def joined_frame(
    room: str,
    epoch: str,
    head: int,
    bodies: Sequence[bytes],
    *,
    gap: bool,
    count: int,
    members: bytes | None,
    read: int,
) -> bytes:
    """A `joined` frame's text; `members` is an encoded list of users, left out in large rooms."""
    parts = [
        b'{"t":"joined","room":"%b","epoch":"%b","head":%d,"gap":%b,"count":%d,"read":%d'
        % (room.encode(), epoch.encode(), head, b"true" if gap else b"false", count, read)
    ]
    if members is not None:
        parts.append(b',"members":' + members)
    parts.append(b',"messages":[' + b",".join(bodies) + b"]}")
    return b"".join(parts)
