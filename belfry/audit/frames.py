"""The server's frames as a client reads them; the two that the server assembles from parts have their structs here."""

from __future__ import annotations

import msgspec
from msgspec import Struct, field

from chat import wire


class Joined(Struct, frozen=True, tag_field="t", tag="joined"):
    """A room was entered: everything after the position named, or the last messages."""

    room: str
    epoch: str
    head: int
    gap: bool
    messages: list[wire.Message]


class Message(Struct, frozen=True, tag_field="t", tag="message"):
    """A message."""

    room: str
    seq: int
    user: wire.User = field(name="from")
    text: str = ""


ServerFrame = (
    wire.Welcome
    | wire.Ack
    | wire.Presence
    | wire.Typing
    | wire.Read
    | wire.Ping
    | wire.Moving
    | wire.Error
    | Joined
    | Message
)

decode: msgspec.json.Decoder[ServerFrame] = msgspec.json.Decoder(ServerFrame)
