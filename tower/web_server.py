"""Hypercorn behind a tower's door: one request a connection, on a socket that somebody else accepted."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio
from hypercorn.config import Config as HypercornConfig
from hypercorn.events import Closed
from hypercorn.trio.lifespan import Lifespan
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.utils import wrap_app

if TYPE_CHECKING:
    import socket

    from hypercorn.events import Event
    from hypercorn.typing import ASGIFramework, LifespanState

SEND_TIMEOUT = 30.0  # seconds a client may take nothing of an answer
LIFETIME = 60.0  # seconds for one request and its answer, but for a stream of events


class WebServer:
    """Serves the ASGI app on sockets that somebody else accepted."""

    def __init__(self, app: ASGIFramework) -> None:
        config = HypercornConfig()
        config.include_server_header = False
        config.errorlog = logging.getLogger("hypercorn.error")
        config.accesslog = None
        self._config = config
        self._app = wrap_app(app, config.wsgi_max_body_size, None)
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

    async def serve(self, sock: socket.socket, begun: bytes, *, body: bool, endless: bool) -> None:
        """Serve the one request that `begun` begins, and close; without `body` it is the whole of it.

        `endless` is for streams of events.
        """
        with trio.move_on_after(float("inf") if endless else LIFETIME) as life:
            stream = _Stream(trio.SocketStream(trio.socket.from_stdlib_socket(sock)), begun, body, life)
            await _OneRequest(self._app, self._config, self._context, self._state, stream)  # type: ignore[arg-type]  # wants less than an SSLStream


class _OneRequest(TCPServer):
    """Hypercorn's server for one connection, which ends when its answer is complete, not when the client says so."""

    stream: _Stream  # type: ignore[assignment]  # see above

    async def protocol_send(self, event: Event) -> None:
        # First, and without a checkpoint: the app's task, which tells this, may be cancelled as it ends.
        if isinstance(event, Closed):
            self.stream.end()
        await super().protocol_send(event)


class _Stream(trio.abc.HalfCloseableStream):
    """What Hypercorn sees: first what the door has read. Its sends cannot hang.

    Hypercorn shields its sends without a timeout: a client that stops reading would hold the shutdown for ever.
    """

    def __init__(self, stream: trio.SocketStream, begun: bytes, body: bool, life: trio.CancelScope) -> None:
        self._stream = stream
        self._begun = begun
        self._body = body
        self._life = life
        self._over = False
        self._reading = trio.CancelScope()
        self.socket = stream.socket

    def end(self) -> None:
        """The answer is complete: who reads shall not wait for the peer to go."""
        self._over = True
        self._reading.cancel()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if self._begun:
            await trio.lowlevel.checkpoint()
            begun, self._begun = self._begun, b""
            return begun
        while not self._over:
            data = b""
            with trio.CancelScope() as self._reading:
                data = bytes(await self._stream.receive_some(max_bytes))
            if self._body or not data:
                return data
            # Behind a whole request nothing follows on this connection; only its end is waited for.
        return b""

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        try:
            with trio.fail_after(SEND_TIMEOUT):
                await self._stream.send_all(data)
        except (trio.TooSlowError, trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError) as error:
            # Nobody reads the answer any more; whoever waits for it to be complete would wait until a timeout.
            self._life.cancel()
            raise trio.BrokenResourceError("the client is gone") from error

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def aclose(self) -> None:
        await self._stream.aclose()
