"""One websocket as its client sees it: bytes in and out, no socket. Pure.

Nearly all that a server sends is one whole text frame after another; those are cut here, in 1 us each. The opening
handshake, and everything from the first other frame on (a close, a ping, fragments, anything against the rules), is
wsproto's: it is the library beneath trio-websocket, whose own way from a socket to a message takes 60 to 120 us.
"""

from __future__ import annotations

import contextlib
import os

from wsproto import ConnectionType, WSConnection
from wsproto.connection import Connection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Ping,
    RejectConnection,
    Request,
    TextMessage,
)
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from chat.frames import MASKED, unmask
from chat.wire import SUBPROTOCOL

MAX_MESSAGE = 16 * 2**20  # bytes; a `joined` with 500 messages of 4,000 characters is 8 MB of UTF-8 at most
MAX_HEAD = 65_536  # bytes of the answer to the upgrade
FIN_TEXT = 0x81
GONE = 1006  # RFC 6455: no close frame came
TOO_LARGE = 1009
NORMAL = 1000


class Websocket:
    """Feed it what arrives; it gives the texts, and tells by its attributes what became of the connection.

    `opened`: the handshake was accepted; `rejected`: the HTTP status it was refused with, and the seconds to wait;
    `closed`: the code and reason of the end. After each `feed`, `take_answers` is what must be sent.
    """

    __slots__ = ("_answers", "_handshake", "_head", "_odd", "_parts", "_rest", "closed", "opened", "rejected",
                 "subprotocol")  # fmt: skip

    def __init__(self) -> None:
        self._handshake: WSConnection | None = WSConnection(ConnectionType.CLIENT)
        self._head = b""
        self._rest = b""
        self._odd: Connection | None = None  # wsproto's, from the first frame on that is no plain one
        self._parts: list[str] = []  # of a fragmented message
        self._answers = b""
        self.opened = False
        self.rejected: tuple[int, float] | None = None
        self.closed: tuple[int, str] | None = None
        self.subprotocol: str | None = None

    def request(self, host: str) -> bytes:
        """The upgrade request."""
        assert self._handshake is not None
        return self._handshake.send(Request(host=host, target="/ws", subprotocols=[SUBPROTOCOL]))

    def feed(self, data: bytes) -> list[bytes]:
        """The whole texts that these bytes complete, undecoded."""
        if self.closed is not None or self.rejected is not None:
            return []
        if self._handshake is not None:
            data = self._answered(self._handshake, data)
            if not data:
                return []
        if self._odd is not None:
            return self._oddly(data)
        return self._plainly(data)

    def text(self, payload: bytes) -> bytes:
        """A text frame to send."""
        size, mask = len(payload), os.urandom(4)
        if size < 126:
            head = bytes((FIN_TEXT, MASKED | size))
        elif size < 65_536:
            head = bytes((FIN_TEXT, MASKED | 126)) + size.to_bytes(2, "big")
        else:
            head = bytes((FIN_TEXT, MASKED | 127)) + size.to_bytes(8, "big")
        return head + mask + unmask(payload, mask)

    def goodbye(self) -> bytes:
        """A close frame to send; the server answers it with its own, behind whatever was under way."""
        if not self.opened or self.closed is not None:
            return b""
        if self._odd is None:
            self._odd, self._rest = Connection(ConnectionType.CLIENT, trailing_data=self._rest), b""
        try:
            return self._odd.send(CloseConnection(NORMAL))
        except LocalProtocolError:  # said already
            return b""

    def take_answers(self) -> bytes:
        """What has to be sent in answer to what came: a pong, or the other half of a close."""
        answers, self._answers = self._answers, b""
        return answers

    # --- the opening handshake ---------------------------------------------------------------------------------

    def _answered(self, handshake: WSConnection, data: bytes) -> bytes:
        """Read the answer to the upgrade; the bytes behind it."""
        self._head += data
        head, ended, behind = self._head.partition(b"\r\n\r\n")
        if not ended:
            if len(self._head) > MAX_HEAD:
                self.closed = (GONE, "no websocket handshake")
            return b""
        self._handshake, self._head = None, b""
        try:
            handshake.receive_data(head + ended)
            for event in handshake.events():
                if isinstance(event, AcceptConnection):
                    self.opened, self.subprotocol = True, event.subprotocol
                elif isinstance(event, RejectConnection):
                    self.rejected = (event.status_code, _retry_after(event))
        except RemoteProtocolError as error:
            self.closed = (GONE, f"no websocket handshake: {error}")
        if not self.opened and self.rejected is None and self.closed is None:
            self.closed = (GONE, "no websocket handshake")
        return behind if self.opened else b""

    # --- frames ------------------------------------------------------------------------------------------------

    def _plainly(self, data: bytes) -> list[bytes]:
        buffer = self._rest + data if self._rest else data
        texts: list[bytes] = []
        at, end = 0, len(buffer)
        while end - at >= 2:
            size = buffer[at + 1]
            if buffer[at] != FIN_TEXT or size & MASKED:
                return texts + self._turn_odd(buffer[at:])
            start = at + 2
            if size >= 126:
                start = at + 4 if size == 126 else at + 10
                if end < start:
                    break
                shortest = 126 if size == 126 else 65_536
                size = int.from_bytes(buffer[at + 2 : start], "big")
                if size < shortest:
                    return texts + self._turn_odd(buffer[at:])
                if size > MAX_MESSAGE:
                    self.closed = (TOO_LARGE, f"the server sent a message of {size:,} bytes")
                    return texts
            if end < start + size:
                break
            at = start + size
            texts.append(buffer[start:at])
        self._rest = buffer[at:]
        return texts

    def _turn_odd(self, buffer: bytes) -> list[bytes]:
        self._odd, self._rest = Connection(ConnectionType.CLIENT), b""
        return self._oddly(buffer)

    def _oddly(self, data: bytes) -> list[bytes]:
        """Let wsproto read; it is right about everything, and 50 times slower."""
        odd, texts = self._odd, []
        assert odd is not None
        odd.receive_data(data)
        for event in odd.events():
            if isinstance(event, TextMessage):
                self._parts.append(event.data)
                if event.message_finished:
                    texts.append("".join(self._parts).encode())
                    self._parts.clear()
                elif sum(map(len, self._parts)) > MAX_MESSAGE:
                    self.closed = (TOO_LARGE, "the server sent a message without end")
            elif isinstance(event, Ping):
                self._answers += odd.send(event.response())
            elif isinstance(event, BytesMessage):
                self.closed = (1003, "the server sent a binary message")
            elif isinstance(event, CloseConnection):
                with contextlib.suppress(LocalProtocolError):  # not where it answers our own
                    self._answers += odd.send(event.response())
                self.closed = (int(event.code), event.reason or "")
            if self.closed is not None:
                break
        return texts


def _retry_after(event: RejectConnection) -> float:
    for name, value in event.headers:
        if name.lower() == b"retry-after" and value.isdigit():
            return float(value)
    return 0.0
