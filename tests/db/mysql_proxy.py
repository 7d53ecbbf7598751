"""A TCP proxy before a database that counts what clients send and cuts a connection in the middle of a COMMIT."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

Cut = Literal["before", "after"]  # the statement never arrives; it arrives, and its answer never comes back


class Proxy:
    """Listens on `port` while `run` runs."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._cut: Cut | None = None
        self.port = 0
        self.packets = 0  # that clients sent
        self.cuts = 0

    def cut_next_commit(self, where: Cut) -> None:
        """Cut the connection that sends COMMIT next."""
        self._cut = where

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(trio.serve_tcp, self._serve, 0)
            self.port = listeners[0].socket.getsockname()[1]
            task_status.started()

    async def _serve(self, client: trio.SocketStream) -> None:
        server = await trio.open_tcp_stream("127.0.0.1", self._target)
        async with client, server, trio.open_nursery() as nursery:
            asked = trio.Event()  # the answer to what was sent now goes nowhere
            nursery.start_soon(self._up, client, server, asked, nursery.cancel_scope.cancel)
            nursery.start_soon(self._down, server, client, asked, nursery.cancel_scope.cancel)

    async def _up(
        self, client: trio.SocketStream, server: trio.SocketStream, asked: trio.Event, done: Callable[[], None]
    ) -> None:
        try:
            async for data in client:
                self.packets += 1
                if self._cut is not None and b"COMMIT" in data:
                    where, self._cut = self._cut, None
                    self.cuts += 1
                    if where == "before":
                        break
                    asked.set()
                await server.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        done()

    async def _down(
        self, server: trio.SocketStream, client: trio.SocketStream, asked: trio.Event, done: Callable[[], None]
    ) -> None:
        try:
            async for data in server:
                if asked.is_set():
                    break
                await client.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        done()
