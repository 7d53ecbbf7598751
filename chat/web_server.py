"""Hypercorn as the HTTP side of the front door: one accepted socket at a time, with the deadlines it lacks."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio
from hypercorn.config import Config as HypercornConfig
from hypercorn.trio.lifespan import Lifespan
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.utils import wrap_app

if TYPE_CHECKING:
    import socket

    from hypercorn.typing import ASGIFramework, LifespanState

SEND_TIMEOUT = 30.0  # seconds a client may take nothing of an answer
KEEP_ALIVE = 30.0  # seconds a connection may be idle between requests
READ_TIMEOUT = 30.0  # seconds between two pieces of a request
LIFETIME = 600.0  # seconds; then even a client that drips a byte at a time is cut
MAX_BODY = 65_536  # bytes of a request; the longest is a room's title


class WebServer:
    """Serves the ASGI app on sockets that somebody else accepted."""

    def __init__(self, app: ASGIFramework) -> None:
        config = HypercornConfig()
        config.include_server_header = False
        config.keep_alive_timeout = KEEP_ALIVE
        config.read_timeout = READ_TIMEOUT  # type: ignore[assignment]  # typed int, used as seconds
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

    async def stop(self) -> None:
        """Idle connections close now, requests under way are finished."""
        await self._context.terminated.set()

    async def serve(self, sock: socket.socket, begun: bytes) -> None:
        """Serve one connection whose first bytes were read already."""
        stream = _BoundedStream(trio.SocketStream(trio.socket.from_stdlib_socket(sock)), begun)
        with trio.move_on_after(LIFETIME):
            await TCPServer(self._app, self._config, self._context, self._state, stream)  # type: ignore[arg-type]  # wants less than an SSLStream


class _BoundedStream(trio.abc.HalfCloseableStream):
    """A socket whose first bytes were read already, and whose sends cannot hang.

    Hypercorn shields its sends without a timeout: a client that stops reading would hold the shutdown for ever.
    """

    def __init__(self, stream: trio.SocketStream, begun: bytes) -> None:
        self._stream = stream
        self._begun = begun
        self.socket = stream.socket

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if self._begun:
            await trio.lowlevel.checkpoint()
            begun, self._begun = self._begun, b""
            return begun
        return await self._stream.receive_some(max_bytes)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        try:
            with trio.fail_after(SEND_TIMEOUT):
                await self._stream.send_all(data)
        except trio.TooSlowError:
            raise trio.BrokenResourceError(f"the client took nothing for {SEND_TIMEOUT:.0f} s") from None

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def aclose(self) -> None:
        await self._stream.aclose()
