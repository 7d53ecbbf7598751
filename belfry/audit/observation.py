"""What the audit's clients saw and did, as frozen values: the checker's whole input.

Order matters only within one client: its observations come in the order in which they happened to it. Moments (`at`)
are seconds of any one clock, and only for judging presence, where a promise depends on how long somebody was away.
A `link` is one websocket connection of a client, numbered from 1; during a move a client has two.
"""

from __future__ import annotations

from msgspec import Struct

Position = tuple[str, int]  # (epoch, seq)


class Sent(Struct, frozen=True, tag=True, gc=False):
    """A client is about to send a message for the first time; sending it again is no observation.

    In one room no user sends the same text twice: the wire shows texts but no nonces, so the text must say
    which send it is.
    """

    client: str
    room: str
    user: str
    nonce: str
    text: str


class Acked(Struct, frozen=True, tag=True, gc=False):
    """The server said that a send is durable under this number."""

    client: str
    link: int
    room: str
    nonce: str
    seq: int


class Refused(Struct, frozen=True, tag=True, gc=False):
    """The server refused a send for good, and the client gave it up."""

    client: str
    room: str
    nonce: str
    code: str


class Joined(Struct, frozen=True, tag=True, gc=False):
    """A room was entered; `after` is the position that the client named, else it asked for the last `limit`."""

    client: str
    link: int
    room: str
    epoch: str
    head: int
    after: Position | None
    limit: int
    gap: bool
    user: str = ""  # whose client this is; without it nobody's presence is judged by this join
    at: float = 0.0


class Saw(Struct, frozen=True, tag=True, gc=False):
    """A message arrived, in `joined.messages` or in a frame of its own; `epoch` is that of the link's last join."""

    client: str
    link: int
    room: str
    epoch: str
    seq: int
    user: str
    text: str


class Told(Struct, frozen=True, tag=True, gc=False):
    """A client was told who came to a room and who left it, by user id."""

    client: str
    link: int
    room: str
    joined: tuple[str, ...]
    left: tuple[str, ...]
    at: float = 0.0


class Closed(Struct, frozen=True, tag=True, gc=False):
    """A link ended; 1006 when no close frame came.

    `planned`: the client itself said goodbye, or the server had told it to move.
    """

    client: str
    link: int
    code: int
    at: float = 0.0
    planned: bool = False


class Garbled(Struct, frozen=True, tag=True, gc=False):
    """A frame arrived that is none of `belfry.v1`."""

    client: str
    link: int
    what: str


class Row(Struct, frozen=True, gc=False):
    """One message of the store; `nonce` is None where the reader cannot see it (HTTP)."""

    seq: int
    user: str
    text: str
    nonce: str | None = None


class Stored(Struct, frozen=True, tag=True, gc=False):
    """A page of a room's history, read when all sending was over; pages of one room ascend and meet."""

    room: str
    epoch: str
    head: int
    rows: tuple[Row, ...]
    last: bool = True  # no page comes behind this one


Observation = Sent | Acked | Refused | Joined | Saw | Told | Closed | Garbled | Stored
