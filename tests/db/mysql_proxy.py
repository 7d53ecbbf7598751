"""A TCP proxy before a database that counts what clients send and cuts a connection in the middle of a COMMIT."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

Cut = Literal["before", "after"]  # the statement never arrives; it arrives, and its answer never comes back

# Of MySQL's protocol: how an error begins, that more answers follow, how many bytes of a number are behind its first.
ERROR, MORE, LENGTHS = 0xFF, 0x08, {0xFC: 2, 0xFD: 3, 0xFE: 8}

MESSAGES = (b"INSERT INTO message", b";COMMIT")  # others commit too, and what a session begins with is READ COMMITTED


class Proxy:
    """Listens on `port` while `run` runs."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._cut: Cut | None = None
        self.port = 0
        self.packets = 0  # that clients sent
        self.cuts = 0

    def cut_next_commit(self, where: Cut) -> None:
        """Cut the connection that sends messages and their COMMIT next."""
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
                if self._cut is not None and all(part in data for part in MESSAGES):
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
        unsaid = bytearray()
        try:
            async for data in server:
                if not asked.is_set():
                    await client.send_all(data)
                    continue
                # The packet holds more statements than COMMIT; cut off before it is answered, none of them may be done.
                unsaid += data
                if _is_whole(bytes(unsaid)):
                    break
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        done()


def _is_whole(answers: bytes) -> bool:
    """Whether the last of several answers, each OK or an error, is among them."""
    while len(answers) >= 4 and len(answers) >= (end := 4 + int.from_bytes(answers[:3], "little")):
        answer, answers = answers[4:end], answers[end:]
        if answer[0] == ERROR:
            return True
        at = 1
        for _ in range(2):  # how many rows, and the insert id: numbers of one byte, or of so many behind it
            at += 1 + LENGTHS.get(answer[at], 0)
        if not answer[at] & MORE:
            return True
    return False
