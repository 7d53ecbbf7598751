"""Hypercorn as the HTTP side of the front door: one accepted socket at a time, with the deadlines it lacks."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio
from hypercorn.config import Config as HypercornConfig
from hypercorn.events import Closed, Updated
from hypercorn.trio.lifespan import Lifespan
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.utils import wrap_app

if TYPE_CHECKING:
    import socket

    from hypercorn.events import Event
    from hypercorn.typing import ASGIFramework, ASGIReceiveCallable, ASGISendCallable, LifespanState, Scope

SEND_TIMEOUT = 30.0  # seconds a client may take nothing of an answer
READ_TIMEOUT = 30.0  # seconds between two pieces of a request
LIFETIME = 120.0  # seconds for one request and its answer; then even a client that drips a byte at a time is cut


class WebServer:
    """Serves the ASGI app on sockets that somebody else accepted."""

    def __init__(self, app: ASGIFramework) -> None:
        config = HypercornConfig()
        config.include_server_header = False
        config.read_timeout = READ_TIMEOUT  # type: ignore[assignment]  # typed int, used as seconds
        config.errorlog = logging.getLogger("hypercorn.error")
        config.accesslog = None
        self._config = config
        self._app = wrap_app(_http_only(app), config.wsgi_max_body_size, None)
        self._context = WorkerContext(None)
        self._state: LifespanState = {}
        self._lifespan = Lifespan(self._app, config, self._state)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the app's lifespan open until cancelled."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self._lifespan.handle_lifespan)
            await self._lifespan.wait_for_startup()
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                with trio.move_on_after(2.0, shield=True):
                    await self._lifespan.wait_for_shutdown()
                nursery.cancel_scope.cancel()

    async def stop(self) -> None:
        """Requests under way are finished, and no connection is kept for another."""
        await self._context.terminated.set()

    async def serve(self, sock: socket.socket, head: bytes, rest: bytes, body: int | None) -> bytes | None:
        """Serve one request, whose head and first bytes behind it were read already.

        `body` is its body's length in bytes, None if only reading it tells (chunked). Returns what of `rest` belongs to
        the next request when the connection may bring one, else None. The next one's head is the front door's again:
        any request of a kept-alive connection may ask for a websocket, and proxies do keep theirs.
        """
        with trio.move_on_after(LIFETIME) as life:
            stream = _RequestStream(trio.SocketStream(trio.socket.from_stdlib_socket(sock)), head, rest, body, life)
            await _OneRequest(self._app, self._config, self._context, self._state, stream)  # type: ignore[arg-type]  # wants less than an SSLStream
        return stream.left if stream.idle else None


def _http_only(app: ASGIFramework) -> ASGIFramework:
    """Refuse websockets that get past the front door: pipelined behind another request, which no browser does."""

    async def without_websockets(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] != "websocket":
            await app(scope, receive, send)
            return
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": ""})  # before the handshake: HTTP 403

    return without_websockets


class _OneRequest(TCPServer):
    """Hypercorn's server for one connection, which ends after one request instead of waiting for the next."""

    stream: _RequestStream  # type: ignore[assignment]  # see above

    async def _read_data(self) -> None:
        await super()._read_data()
        await self.idle_task.stop()  # after a refused head it would wait for the next request, on a dead connection

    async def protocol_send(self, event: Event) -> None:
        # First, and without a checkpoint: the app's task, which tells this, may be cancelled as it ends.
        if isinstance(event, Closed):
            self.stream.end()
        if not isinstance(event, Updated):
            await super().protocol_send(event)
            return
        self.stream.between_requests(event.idle)
        if not event.idle:
            await self.idle_task.stop()


class _RequestStream(trio.abc.HalfCloseableStream):
    """What Hypercorn sees: the bytes of one request, then, when it has answered, the end. Its sends cannot hang.

    Hypercorn shields its sends without a timeout: a client that stops reading would hold the shutdown for ever.
    """

    def __init__(
        self, stream: trio.SocketStream, head: bytes, rest: bytes, body: int | None, life: trio.CancelScope
    ) -> None:
        self._stream = stream
        self._life = life
        first = len(rest) if body is None else min(body, len(rest))
        self._begun = head + rest[:first]
        self.left = rest[first:]
        self._missing = None if body is None else body - first  # bytes of the body still to come
        self._over = trio.Event()
        self._reading = trio.CancelScope()
        self.idle = False  # answered, and open for another request
        self.socket = stream.socket

    def between_requests(self, idle: bool) -> None:
        """The answer is complete and the connection stays open, or (False) a request has begun.

        One that follows a chunked body at once may have been read with it: then it is Hypercorn's too.
        """
        self.idle = idle
        if idle:
            self._over.set()
            self._reading.cancel()
        elif self._over.is_set():
            self._over = trio.Event()

    def end(self) -> None:
        """The answer is complete and the connection closes: who reads shall not wait for the peer to do so."""
        self._over.set()
        self._reading.cancel()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if self._begun:
            await trio.lowlevel.checkpoint()
            begun, self._begun = self._begun, b""
            return begun
        if self._missing == 0 or self._over.is_set():
            # Nothing behind the body is read here: it may be the next request, and is the front door's.
            await self._over.wait()
            return b""
        data = b""
        with trio.CancelScope() as self._reading:
            data = bytes(await self._stream.receive_some(max_bytes))
        if self._missing is not None:
            data, self.left = data[: self._missing], data[self._missing :]
            self._missing -= len(data)
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        try:
            with trio.fail_after(SEND_TIMEOUT):
                await self._stream.send_all(data)
        except (trio.TooSlowError, trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError) as error:
            # Busy: Hypercorn answers a broken body while its app ends the same connection. In each case nobody reads
            # the answer any more, and whoever waits for it to be complete would wait until a timeout.
            self._life.cancel()
            raise trio.BrokenResourceError("the client is gone") from error

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        if not self.idle:
            await self._stream.send_eof()

    async def aclose(self) -> None:
        self._over.set()
        if not self.idle:
            await self._stream.aclose()
        await trio.lowlevel.checkpoint()
