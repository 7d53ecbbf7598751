"""What a supervisor and its servers say to each other over their control channel. Pure.

The two may be of different versions: a message that is not known is an error of the conversation under way, and fields
are only ever added, with a default.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from bus.events import Rollout


class TakeOver(Struct, frozen=True, tag="take_over"):
    """To a successor: here (a descriptor comes along) is your predecessor."""


class GiveAway(Struct, frozen=True, tag="give_away"):
    """To a server: here (a descriptor comes along) is your successor."""


class Say(Struct, frozen=True, tag="say"):
    """To a server: tell the towers."""

    steps: list[Rollout]


class Adopt(Struct, frozen=True, tag="adopt"):
    """To a server whose supervisor is gone: I am the next one."""

    pid: int


class Prepared(Struct, frozen=True, tag="prepared"):
    """From a successor: everything is loaded and checked, I wait for my predecessor."""

    version: str


class Serving(Struct, frozen=True, tag="serving"):
    """From a server: I serve. The figures are those of its takeover; all 0 when there was none."""

    version: str
    boot: str
    moved: int = 0
    left_behind: int = 0
    stall_ms: float = 0.0


class Gave(Struct, frozen=True, tag="gave"):
    """From a server: my successor has the sockets, I end."""

    moved: int
    left_behind: int
    settled: bool


class Kept(Struct, frozen=True, tag="kept"):
    """From a server: the handover failed, I serve on."""

    why: str


class Adopted(Struct, frozen=True, tag="adopted"):
    """From a server, with its listening sockets (`chat` of them for the chat, the others for the tower)."""

    pid: int
    version: str
    boot: str
    chat: int


FromSupervisor = TakeOver | GiveAway | Say | Adopt
FromServer = Prepared | Serving | Gave | Kept | Adopted

encode = msgspec.msgpack.Encoder().encode
decode_from_supervisor = msgspec.msgpack.Decoder(FromSupervisor).decode
decode_from_server = msgspec.msgpack.Decoder(FromServer).decode
