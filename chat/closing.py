"""Close codes, in families that tell the client whether to come back.

1000-1015 as in RFC 6455; 4000-4499: come back with backoff; 4500-4999: do not come back as you are.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Return(enum.Enum):
    """What a client does after a close."""

    AT_ONCE = "follow `moving`, or the reconnect hint of `welcome`"
    LATER = "come back with backoff"
    NEVER = "do not come back without changing something"


@dataclass(frozen=True, slots=True)
class Closing:
    """One reason to close a websocket: what goes into the close frame, and what the client does next."""

    code: int
    reason: str  # at most 123 bytes of UTF-8, by RFC 6455
    back: Return


NORMAL = Closing(1000, "bye", Return.NEVER)
PROTOCOL = Closing(1002, "websocket protocol error", Return.NEVER)
NOT_TEXT = Closing(1003, "text frames only", Return.NEVER)
NOT_UTF8 = Closing(1007, "text is not UTF-8", Return.NEVER)
POLICY = Closing(1008, "policy violation", Return.NEVER)
FLOOD = Closing(1008, "too many frames: slow down", Return.NEVER)
TOO_LARGE = Closing(1009, "frame too large", Return.NEVER)
MOVED = Closing(1012, "server is moving", Return.AT_ONCE)
OVERLOADED = Closing(1013, "server is overloaded", Return.LATER)
SLOW = Closing(4001, "you read too slowly", Return.LATER)
NO_PONG = Closing(4002, "no pong", Return.LATER)
NO_HELLO = Closing(4003, "no hello in time", Return.LATER)
BAD_TOKEN = Closing(4500, "token refused", Return.NEVER)
EXPIRED = Closing(4500, "token expired", Return.NEVER)
BANNED = Closing(4501, "banned", Return.NEVER)
KICKED = Closing(4501, "sent away by an administrator", Return.NEVER)
REPLACED = Closing(4502, "replaced by a newer session", Return.NEVER)

ALL = (NORMAL, PROTOCOL, NOT_TEXT, NOT_UTF8, POLICY, FLOOD, TOO_LARGE, MOVED, OVERLOADED, SLOW, NO_PONG, NO_HELLO,
       BAD_TOKEN, EXPIRED, BANNED, KICKED, REPLACED)  # fmt: skip
