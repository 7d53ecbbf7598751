"""One living websocket: plain frames are read here, everything else goes through trio-websocket.

trio-websocket is called in for a message that is not one plain text frame (fragments, binary, an uncommon close,
anything against the rules): it is given a replayed handshake, the odd message's bytes, and nothing more; its answers go
through the Outbox like all the rest. The opening handshake is checked by chat/head.py, stricter than any library, and
answered here: through the library it took 0.4 ms of a handshake's 1.0. Between odd messages no parser exists, so an
idle socket is a file descriptor, one task and a few hundred bytes.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import socket
from typing import TYPE_CHECKING

import trio
from trio_websocket import ConnectionClosed, wrap_server_stream

from chat.closing import NOT_TEXT, NOT_UTF8, PROTOCOL, TOO_LARGE, Closing
from chat.frames import FrameError, FrameReader, MessageEnd, close_code, close_frame, goodbye, pong_frame, whole_texts
from chat.wire import SUBPROTOCOL

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from chat.outbox import Outbox
    from chat.readers import Readers

ACCEPT_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3
SWITCHING = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: %b\r\n%b\r\n"
)
REPLAYED_UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: replay\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
FAILURES = {closing.code: closing for closing in (PROTOCOL, NOT_UTF8)}
LIBRARY_TIMEOUT = 60.0  # seconds for one fragmented message to arrive; heartbeats cannot get through inside one
LIBRARY_QUEUE = 1  # messages: one stretch given to the library holds one data message


class Ended(Exception):
    """The websocket is over. `code` is what the peer or the library closed with; 1006 when the peer just vanished.

    `closing` is what we still have to say to the peer, None when there is nothing more to say; `failed` says that the
    library sent its close frame because the peer broke the protocol, and that the peer's is still to come.
    """

    def __init__(self, code: int, closing: Closing | None = None, *, failed: bool = False) -> None:
        super().__init__(f"websocket ended: {code}")
        self.code = code
        self.closing = closing
        self.failed = failed


class Websocket:
    """Messages in, frames out, over one accepted socket."""

    __slots__ = ("_frame_bytes", "_reader", "_readers", "_stretch", "_walk", "library_runs", "outbox", "sock")

    def __init__(
        self, sock: socket.socket, outbox: Outbox, readers: Readers, frame_bytes: int, rest: bytes = b""
    ) -> None:
        self.sock = sock
        self.outbox = outbox
        self._readers = readers
        readers.add(sock)
        self._frame_bytes = frame_bytes
        self._reader = FrameReader(frame_bytes, rest)
        self._stretch: _Stretch | None = None  # while the library reads
        self._walk: MessageEnd | None = None  # how far into its message the library's last stretch came
        self.library_runs = 0

    def accept(self, key: bytes, subprotocol: bool) -> None:
        """Answer an opening handshake that was found good (chat/head.py)."""
        answer = base64.b64encode(hashlib.sha1(key + ACCEPT_GUID, usedforsecurity=False).digest())
        chosen = b"Sec-WebSocket-Protocol: %b\r\n" % SUBPROTOCOL.encode() if subprotocol else b""
        self.outbox.post(SWITCHING % (answer, chosen))

    async def receive(self, whole: Callable[[list[bytes]], bool] | None = None) -> list[bytes]:
        """The next messages, at least one, as many as have arrived. Raises Ended. A checkpoint.

        Messages that come whole, with nothing else, are shown to `whole` first; those that it takes, all or none, are
        not returned. It must not wait, and what it raises is raised here.
        """

        def take(data: bytes) -> bool:
            payloads = whole_texts(data, self._frame_bytes)
            return payloads is not None and whole is not None and whole(payloads)

        # Before anything is taken apart, not after: being cancelled must not lose a message that was whole.
        if self._reader.rest:
            await trio.lowlevel.checkpoint()
        data = b""
        pongs: list[bytes] = []
        while True:
            try:
                messages = self._reader.feed(data, pongs.append)
            except FrameError as error:
                raise Ended(error.closing.code, error.closing) from None
            if pongs:  # all in one write: a flood of pings is no flood of system calls
                self.outbox.post(b"".join(map(pong_frame, pongs)))
                pongs.clear()
            if messages:
                return messages
            if self._reader.odd:
                if (said := goodbye(self._reader.rest)) is not None:
                    code, answer = said
                    self.outbox.post(answer)
                    raise Ended(code)
                odd = await self._through_library()
                if odd is not None:
                    return [odd]
                data = b""
                continue
            data = await self._readers.wait_bytes(self.sock, None if whole is None or self._reader.rest else take)
            if not data:
                raise Ended(1006)

    def receive_bytes(self) -> Awaitable[bytes]:
        """Raw bytes as they arrive, b"" at the end. A checkpoint."""
        return self._readers.wait_bytes(self.sock)

    async def _through_library(self) -> bytes | None:
        """Let trio-websocket read what begins at `rest`: one data message, or one control frame (then None)."""
        self.library_runs += 1
        stream = self._stretch = _Stretch(self, REPLAYED_UPGRADE)
        message: str | bytes | None = None
        closed = False
        try:
            with trio.move_on_after(LIBRARY_TIMEOUT) as scope:
                async with trio.open_nursery() as nursery:
                    request = await wrap_server_stream(
                        nursery, stream, message_queue_size=LIBRARY_QUEUE, max_message_size=self._frame_bytes or 2**62
                    )
                    connection = await request.accept()
                    stream.when_handled(nursery.cancel_scope)
                    try:
                        message = await connection.get_message()
                    except ConnectionClosed:
                        closed = True
                    nursery.cancel_scope.cancel()
        finally:  # also when cancelled: whoever closes us walks on from here to the peer's close frame
            self._reader.rest, self._reader.odd, self._walk = stream.left, False, stream.end
            self._stretch = None
        if scope.cancelled_caught:
            raise Ended(PROTOCOL.code, PROTOCOL)
        if closed or stream.closed:
            reason = connection.closed
            if stream.code is None and reason is not None and reason.code in FAILURES:
                # The library ends a websocket whose peer breaks the protocol without telling it why.
                raise Ended(reason.code, FAILURES[reason.code])
            raise Ended(stream.code or 1006, failed=not stream.end.closing and stream.code is not None)
        if isinstance(message, bytes):
            self.binary(message)
            return None
        if message is None:
            return None
        payload = message.encode()
        if self._frame_bytes and len(payload) > self._frame_bytes:  # the library counts characters
            raise Ended(TOO_LARGE.code, TOO_LARGE)
        return payload

    def binary(self, payload: bytes) -> None:
        """Take a binary message: belfry.v1 has none; whoever wants them overrides this. Raises Ended."""
        raise Ended(NOT_TEXT.code, NOT_TEXT)

    # --- handed from process to process ------------------------------------------------------------------------

    def unread(self) -> bytes:
        """What arrived of the message that is not whole yet."""
        return self._stretch.taken() if self._stretch is not None else self._reader.rest

    def go_on_from(self, unread: bytes) -> None:
        """Begin inside that message; nothing else was read here yet."""
        self._reader.rest = unread

    # -----------------------------------------------------------------------------------------------------------

    async def finish(self, closing: Closing | None, linger: float, *, failed: bool = False) -> None:
        """Say goodbye and close the socket, within `linger` seconds, also when cancelled.

        First what waits in the Outbox and our close frame, if any; then the peer's own close. What the peer still
        sends is read and thrown away: closing with bytes unread would reset the connection and destroy, on its way,
        the very close frame that says why.
        """
        with trio.move_on_after(linger, shield=True):
            if closing is not None:
                self.outbox.post(close_frame(closing))
            await self.outbox.wait_drained()
            if not self.outbox.broken:
                if closing is not None or failed:
                    await self._peer_close()
                with contextlib.suppress(OSError):
                    self.sock.shutdown(socket.SHUT_WR)
                while await self.receive_bytes():
                    pass
        self.close()

    async def _peer_close(self) -> None:
        """Read on until the peer's close frame, or the end of its stream."""
        data, end = self._reader.rest, self._walk or MessageEnd()
        while not end.closing:
            if end.ended:
                end = MessageEnd()
            data = data or await self.receive_bytes()
            if not data:
                return
            data = data[end.feed(data) :]

    def close(self) -> None:
        """Close the file descriptor now; whoever waits on it learns it."""
        if self.sock.fileno() >= 0:
            self._readers.remove(self.sock)
            trio.lowlevel.notify_closing(self.sock)  # whoever waits to write
            self.sock.close()


class _Stretch(trio.abc.Stream):
    """What trio-websocket sees: a handshake, then the bytes of exactly one message; its own bytes go to the Outbox."""

    def __init__(self, websocket: Websocket, head: bytes) -> None:
        self._websocket = websocket
        self._head = head
        self._answered = trio.Event()  # what follows the head must not reach the library before its own answer
        self.end = MessageEnd()
        self._scope: trio.CancelScope | None = None
        self._first: int | None = None  # the message's first byte
        self.left = websocket._reader.rest
        self._fed = bytearray()  # of this message, to the library: at most frame_bytes and its headers
        self.code: int | None = None  # of the close frame that the library sent
        self.closed = False

    def taken(self) -> bytes:
        """All of the message that arrived: another library can begin it anew."""
        return bytes(self._fed) + self.left

    def when_handled(self, scope: trio.CancelScope) -> None:
        """Cancel this scope once a control frame has been handled; a data message wakes its reader by itself."""
        self._scope = scope

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.lowlevel.checkpoint()
        if self._head:
            head, self._head = self._head, b""
            return head
        if self.closed:
            return b""
        await self._answered.wait()
        if self.end.ended:
            if self._scope is not None and self._first is not None and self._first & 0x08:
                self._scope.cancel()
            await trio.sleep_forever()
        data = self.left or await self._websocket.receive_bytes()
        if data:
            self._first = data[0] if self._first is None else self._first
            taken = self.end.feed(data)
            data, self.left = data[:taken], data[taken:]
            self._fed += data
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint()
        if not self._answered.is_set():  # the socket's handshake is long done: this one's 101 goes nowhere
            self._answered.set()
            return
        data = bytes(data)
        self.code = close_code(data) or self.code
        self._websocket.outbox.post(data)

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        self.closed = True
        await trio.lowlevel.checkpoint()
