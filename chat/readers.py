"""The read side of all websockets of a server: one epoll set, waited on by one task.

Trio's own wait for a socket is a one-shot entry: two system calls and some forty lines of Python for each time that a
client says something, half of what a message cost the main thread. Here a socket is registered once and stays; when
some are readable the one task receives from each and wakes whoever waits for its bytes.

Whoever waits may leave a function with it, which is shown the bytes first. What it takes is done with then and there,
and the task goes on waiting: waking it would cost more than what a common message asks for.

A socket that is readable while nobody waits for it would keep the set awake for nothing. It is passed over once, since
nearly always its task is just on its way back; if nobody waits the second time either, it is taken out until somebody
does. Taken out, not masked: a hung-up socket is reported under any mask.

Where there is no epoll (macOS), before `run` has started and after it has ended, the same calls wait by Trio.
"""

from __future__ import annotations

import contextlib
import select
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

READ_BYTES = 65_536  # of one recv: at 100 B a frame, 650 frames a wake-up
TURN = 256  # sockets received from between two checkpoints: 256 x 4 us hold the loop for 1 ms, and 16 MB at most


class _Place:
    """One socket in the set."""

    __slots__ = ("alone", "armed", "data", "error", "fd", "passed", "recv", "sock", "take", "task")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.fd = sock.fileno()
        self.recv = sock.recv
        self.armed = False  # registered with epoll
        self.passed = False  # readable a moment ago, and nobody waited
        self.alone = False  # somebody waits for it by Trio
        self.task: trio.lowlevel.Task | None = None  # who waits for its bytes
        self.take: Callable[[bytes], bool] | None = None  # is shown the bytes before the task is woken
        self.data: bytes | None = None  # what the task was woken with; None sends it on by itself
        self.error: Exception | None = None  # what `take` raised: the task's own affair

    def abort(self, _: object) -> trio.lowlevel.Abort:
        """The waiting task is cancelled: nothing was received for it, or it would have been woken."""
        self.task = None
        return trio.lowlevel.Abort.SUCCEEDED

    def came(self, data: bytes) -> None:
        """Bytes for the waiting task, or for the function that it left."""
        try:
            if data and self.take is not None and self.take(data):
                return
        except Exception as error:  # raised where the bytes are waited for
            self.error = error
        self.wake(data)

    def wake(self, data: bytes | None) -> None:
        task, self.task, self.data = self.task, None, data
        if task is not None:
            trio.lowlevel.reschedule(task)


class Readers:
    """All sockets that are read, and the task that reads them.

    No byte is lost to a cancellation: bytes are received only for a task that waits, and a task that was woken with
    bytes returns them even if it is cancelled in the same moment.
    """

    def __init__(self) -> None:
        self._places: dict[int, _Place] = {}
        self._epoll: select.epoll | None = None  # while `run` runs
        self._thawed: trio.Event | None = None  # while frozen

    def __len__(self) -> int:
        return len(self._places)

    def add(self, sock: socket.socket) -> None:
        """Take a non-blocking socket; it has to be removed before it is closed, or sent away."""
        stale = self._places.get(sock.fileno())
        if stale is not None:
            if stale.sock is sock:
                return
            self._drop(stale)  # closed without us: the kernel has given its number to this one
        self._places[sock.fileno()] = _Place(sock)

    def remove(self, sock: socket.socket) -> None:
        """Let go of a socket, frozen or not; whoever waits for it gets b"". Does nothing for one that is not here."""
        place = self._places.get(sock.fileno())
        if place is not None:
            self._drop(place)

    def _drop(self, place: _Place) -> None:
        del self._places[place.fd]
        if place.armed and self._epoll is not None:
            with contextlib.suppress(OSError):  # closed already
                self._epoll.unregister(place.fd)
        place.armed = False
        if place.alone:
            trio.lowlevel.notify_closing(place.fd)
        if place.task is not None:
            place.wake(b"")

    async def wait_bytes(self, sock: socket.socket, take: Callable[[bytes], bool] | None = None) -> bytes:
        """What arrives next, at most READ_BYTES; b"" at the end, or when the socket is not here. A checkpoint.

        Bytes for which `take` says True are done with, and the wait goes on. It is called in the readers' task, so it
        must never wait, and if it ends this wait it has to take them; what it raises is raised here. Raises
        BusyResourceError if another task waits for the same socket, and OSError if epoll cannot take it.
        """
        place = self._places.get(sock.fileno())
        if place is None:
            await trio.lowlevel.checkpoint()
            return b""
        if place.task is not None or place.alone:
            raise trio.BusyResourceError("another task waits for this socket's bytes")
        if self._epoll is None:
            return await self._wait_alone(place)
        if not place.armed:
            self._epoll.register(place.fd, select.EPOLLIN)
            place.armed = True
        place.passed = False
        place.task, place.take = trio.lowlevel.current_task(), take
        await trio.lowlevel.wait_task_rescheduled(place.abort)
        if place.error is not None:
            error, place.error = place.error, None
            raise error
        data, place.data = place.data, None
        return data if data is not None else await self._wait_alone(place)

    async def _wait_alone(self, place: _Place) -> bytes:
        place.alone = True
        try:
            while self._places.get(place.fd) is place:  # else removed; its number may be another's by now
                await trio.lowlevel.wait_readable(place.fd)
                if self._thawed is not None:
                    await self._thawed.wait()
                    continue
                with contextlib.suppress(BlockingIOError):
                    return place.recv(READ_BYTES)
        except (OSError, trio.ClosedResourceError):
            pass
        finally:
            place.alone = False
        return b""

    def waiting(self, sock: socket.socket) -> bool:
        """Whether somebody waits for this socket's bytes, and so has done everything with those it got."""
        place = self._places.get(sock.fileno())
        return place is not None and (place.task is not None or place.alone)

    # --- the handover's standstill -----------------------------------------------------------------------------

    def freeze(self) -> None:
        """Receive nothing more from any socket and wake nobody, until `thaw`; what tasks were given is theirs."""
        if self._thawed is None:
            self._thawed = trio.Event()

    def thaw(self) -> None:
        """Go on."""
        if self._thawed is not None:
            self._thawed.set()
            self._thawed = None

    # --- the task ----------------------------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Receive and wake until cancelled; whoever still waits then waits on by Trio."""
        if not hasattr(select, "epoll"):
            task_status.started()
            await trio.sleep_forever()
        with select.epoll() as self._epoll:
            try:
                task_status.started()
                while True:
                    await trio.lowlevel.wait_readable(self._epoll.fileno())
                    if self._thawed is not None:
                        await self._thawed.wait()
                    else:
                        self._turn(self._epoll)
            finally:
                self._epoll = None
                for place in self._places.values():
                    place.armed = False
                    if place.task is not None:
                        place.wake(None)

    def _turn(self, epoll: select.epoll) -> None:
        # The kernel puts those that it reports at the end of its list, so a turn that is full starves nobody.
        for fd, _ in epoll.poll(0, TURN):
            place = self._places.get(fd)
            if place is None:  # let go of by what another's bytes asked for
                continue
            if place.task is None:
                if place.passed:
                    epoll.unregister(fd)
                    place.armed = False
                place.passed = True
                continue
            try:
                data = place.recv(READ_BYTES)
            except BlockingIOError:
                continue
            except OSError:
                data = b""
            place.came(data)
