"""How the bytes of one connection come and go: a plain socket of the run's set, or a stream of its own (TLS)."""

from __future__ import annotations

import socket
import ssl
from collections import deque
from typing import TYPE_CHECKING, Protocol

import trio

from belfry.audit.readers import HAVE_EPOLL
from chat.outbox import Backlog, Outbox

if TYPE_CHECKING:
    from collections.abc import Callable

    from belfry.audit.address import Address
    from belfry.audit.readers import Readers

READ_BYTES = 65_536  # a read: 300 messages


class Pipe(Protocol):
    """One connection's bytes."""

    def post(self, data: bytes) -> None:
        """Send these bytes, now or as soon as they go; never waits. A broken connection is told by `carry`."""

    async def carry(self, feed: Callable[[bytes], None]) -> None:
        """Call `feed` with what arrives, with b"" once at the end; until cancelled, then the connection is closed."""


async def dial(address: Address, readers: Readers) -> Pipe:
    """Connect. Raises OSError, trio.BrokenResourceError."""
    if address.secure:
        secured = await trio.open_ssl_over_tcp_stream(
            address.host, address.port, ssl_context=ssl.create_default_context(), https_compatible=True
        )
        try:
            await secured.do_handshake()
        except BaseException:
            await trio.aclose_forcefully(secured)
            raise
        return StreamPipe(secured)
    stream = await trio.open_tcp_stream(address.host, address.port)
    if not HAVE_EPOLL:
        return StreamPipe(stream)
    return SocketPipe(socket.socket(fileno=stream.socket.detach()), readers)


class SocketPipe:
    """A plain socket."""

    def __init__(self, sock: socket.socket, readers: Readers) -> None:
        self._sock = sock
        self._readers = readers
        self._feed: Callable[[bytes], None] | None = None
        self._sock.setblocking(False)
        self._outbox = Outbox(sock, 0, readers.spawn, Backlog())  # bounded by the client's unanswered sends

    def post(self, data: bytes) -> None:
        self._outbox.post(data)

    async def carry(self, feed: Callable[[bytes], None]) -> None:
        self._feed = feed
        self._readers.add(self._sock, self._readable)
        try:
            await trio.sleep_forever()
        finally:
            self._end()
            trio.lowlevel.notify_closing(self._sock)  # the Outbox may wait to write
            self._sock.close()

    def _readable(self) -> None:
        assert self._feed is not None
        try:
            data = self._sock.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        feed = self._feed
        if not data:
            self._end()
        feed(data)

    def _end(self) -> None:
        """Hear no more of it: at its end it would be readable for ever."""
        if self._feed is not None:
            self._feed = None
            self._readers.remove(self._sock)


class StreamPipe:
    """Any stream, with a task to read and one to write."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._out: deque[bytes] = deque()  # bounded by the client's unanswered sends and its rooms
        self._written = trio.Event()

    def post(self, data: bytes) -> None:
        self._out.append(data)
        self._written.set()

    async def carry(self, feed: Callable[[bytes], None]) -> None:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write)
                data: bytes | bytearray = b"?"
                while data:
                    try:
                        data = await self._stream.receive_some(READ_BYTES)
                    except (trio.BrokenResourceError, trio.ClosedResourceError):
                        data = b""
                    feed(bytes(data))
                await trio.sleep_forever()
        finally:
            await trio.aclose_forcefully(self._stream)

    async def _write(self) -> None:
        try:
            while True:
                while self._out:
                    await self._stream.send_all(self._out.popleft())
                self._written = trio.Event()
                await self._written.wait()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return  # the reader hears of it too
