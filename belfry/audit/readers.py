"""All plain sockets of a run in one epoll set, read by one task: a task each costs three times as much a message."""

from __future__ import annotations

import select
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable

EVENTS = 500  # sockets read between two checkpoints: 20 us each, 10 ms
BEAT = 1.0  # seconds between looks at who has gone silent
HAVE_EPOLL = hasattr(select, "epoll")  # Linux; elsewhere each connection reads for itself


class Readers:
    """Run it beside the clients; `add` a socket and hear of it by a call whenever it has something to read."""

    def __init__(self) -> None:
        self._calls: dict[int, Callable[[], None]] = {}
        self._beats: dict[Callable[[float], None], None] = {}
        self._epoll = select.epoll() if HAVE_EPOLL else None
        self._nursery: trio.Nursery | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Read until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self._beat)
                task_status.started()
                if self._epoll is not None:
                    await self._read(self._epoll)
        finally:
            if self._epoll is not None:
                self._epoll.close()

    async def _read(self, epoll: select.epoll) -> None:
        calls = self._calls
        while True:
            await trio.lowlevel.wait_readable(epoll.fileno())
            for number, _ in epoll.poll(0, EVENTS):
                call = calls.get(number)
                if call is not None:  # not one that an earlier call of this round removed
                    call()

    async def _beat(self) -> None:
        while True:
            await trio.sleep(BEAT)
            now = trio.current_time()
            for look in list(self._beats):
                look(now)

    def add(self, sock: socket.socket, readable: Callable[[], None]) -> None:
        """Call `readable` whenever there is something to read, until `remove`."""
        assert self._epoll is not None
        self._calls[sock.fileno()] = readable
        self._epoll.register(sock.fileno(), select.EPOLLIN)

    def remove(self, sock: socket.socket) -> None:
        """Before the socket is closed: its number will be another's."""
        assert self._epoll is not None
        del self._calls[sock.fileno()]
        if not self._epoll.closed:
            self._epoll.unregister(sock.fileno())

    def look_after(self, look: Callable[[float], None]) -> None:
        """Call `look` with the time about once a second, until `leave_alone`."""
        self._beats[look] = None

    def leave_alone(self, look: Callable[[float], None]) -> None:
        """No more."""
        self._beats.pop(look, None)

    def spawn(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run something beside."""
        assert self._nursery is not None
        self._nursery.start_soon(work)
