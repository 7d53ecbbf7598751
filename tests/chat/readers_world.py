"""Sets of readers over real sockets, for the tests of what is read and how."""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import TYPE_CHECKING

import trio
import trio.testing

from chat.readers import Readers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

PATIENCE = 20.0  # seconds for anything here; all of it takes milliseconds, unless it spins
PAIRS = 3  # sockets of a history


@contextlib.asynccontextmanager
async def reading(kind: type[Readers] = Readers) -> AsyncIterator[Readers]:
    """A set and its task."""
    readers = kind()
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            await nursery.start(readers.run)
            yield readers
            nursery.cancel_scope.cancel()


@contextlib.contextmanager
def pair(readers: Readers) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A socket in the set, and its peer."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with theirs, ours:
        readers.add(ours)
        yield ours, theirs
        readers.remove(ours)


def reset_pair() -> tuple[socket.socket, socket.socket]:
    """A TCP connection, whose second end resets it when it is closed."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    ours.setblocking(False)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return ours, theirs


async def settle() -> None:
    """Until nobody has anything to do; never, if something spins."""
    await trio.testing.wait_all_tasks_blocked()


class Waiter:
    """A task that waits once, and what became of it."""

    def __init__(
        self, readers: Readers, sock: socket.socket, nursery: trio.Nursery, take: Callable[[bytes], bool] | None = None
    ) -> None:
        self.scope = trio.CancelScope()
        self.data: bytes | None = None
        self.error: Exception | None = None
        self.taken = bytearray()  # by its `take`, if that puts it here
        self.done = False
        self._readers, self._sock, self._take = readers, sock, take
        nursery.start_soon(self._run)

    async def _run(self) -> None:
        with self.scope:
            try:
                self.data = await self._readers.wait_bytes(self._sock, self._take)
            except ZeroDivisionError as error:
                self.error = error
        self.done = True
