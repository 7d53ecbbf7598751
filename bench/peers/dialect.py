"""The few frames of Belfry's wire that the peers speak, so that one load generator drives all.

join -> joined, send -> message to every member of the room; ack only when asked for, and then at once: the peers keep
nothing. A message is as long as Belfry's: same keys, same ids, same names, same moment.
"""

from __future__ import annotations

import datetime as dt
import sys
from typing import Any

import msgspec


class Frame(msgspec.Struct):
    """Any client frame."""

    t: str
    room: str = ""
    nonce: str = ""
    text: str = ""


decode = msgspec.json.Decoder(Frame).decode
encode = msgspec.json.Encoder().encode


def user(number: int) -> dict[str, str]:
    """Who the n-th client is: peers know no tokens, so they number their connections."""
    return {"id": f"u_{number}", "name": f"Bench {number}"}


def joined(room: str) -> bytes:
    """The answer to a join."""
    return encode({"t": "joined", "room": room, "messages": []})


def message(room: str, seq: int, sender: dict[str, str], text: str) -> bytes:
    """What every member of a room gets."""
    return encode({"t": "message", "room": room, "seq": seq, "from": sender, "text": text, "at": _moment()})


def ack(room: str, nonce: str, seq: int) -> bytes:
    """What the sender gets, where acks are asked for."""
    return encode({"t": "ack", "room": room, "nonce": nonce, "seq": seq, "at": _moment()})


def _moment() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def arguments() -> tuple[int, bool]:
    """`PORT [--acks]`."""
    return int(sys.argv[1]), "--acks" in sys.argv


def run(main: Any) -> None:
    """Run a coroutine function on uvloop, which each of the asyncio peers is deployed with where speed matters."""
    import uvloop

    uvloop.run(main())
