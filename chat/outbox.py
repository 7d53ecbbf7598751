"""The write side of one socket: posting never waits, and one slow reader costs only itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable

SEND_BUFFERS = 64  # chunks in one sendmsg; the kernel takes at most 1,024
SLOW_LINGER_BYTES = 65_536  # of the chunk under way that are still sent to a reader found too slow


class Backlog:
    """Bytes that wait in all the outboxes of a server, for /metrics."""

    __slots__ = ("bytes",)

    def __init__(self) -> None:
        self.bytes = 0


class Outbox:
    """Sends whole frames, in order, without ever waiting.

    `post` tries a non-blocking send at once; what does not go is kept and flushed by a task that lives only while
    there is something to flush. The chunks of a fan-out are shared by all members: a slow reader costs a reference a
    chunk, not a copy. Over `bound` bytes `on_slow` is called, once.
    """

    __slots__ = (
        "_backlog", "_bound", "_drained", "_gathering", "_held", "_on_slow", "_parked", "_sock", "_spawn", "broken",
        "kept", "send", "waiting",
    )  # fmt: skip

    def __init__(
        self,
        sock: socket.socket,
        bound: int,
        spawn: Callable[[Callable[[], Awaitable[None]]], None],
        backlog: Backlog,
    ) -> None:
        self._sock = sock
        self.send = sock.send  # past all order: for `post`, and for the fan-out while nothing is kept
        self._bound = bound  # bytes kept for a reader that is behind; 0 is without bound
        self._spawn = spawn
        self._backlog = backlog
        self.kept: list[bytes] | None = None  # None while nothing waits: the common case
        self._drained: trio.Event | None = None
        self._held: trio.Event | None = None  # there while nothing may be written
        self._parked = False  # held without a flushing task: nothing waited then
        self._gathering = False
        self._on_slow: Callable[[], None] | None = None
        self.waiting = 0  # bytes kept
        self.broken = False  # the peer is gone; the reading side learns it by itself

    def when_slow(self, call: Callable[[], None]) -> None:
        """Call this, once, when the reader falls more than `bound` bytes behind."""
        self._on_slow = call

    def post(self, data: bytes) -> None:
        """Send these frames, now or as soon as the reader takes them."""
        if self.kept is not None:
            self._keep(data)
            return
        if self.broken:
            return
        try:
            sent = self.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.broken = True
            return
        if sent < len(data):
            self.keep_rest(data[sent:])

    def keep_rest(self, data: bytes) -> None:
        """Flush what a direct send did not take."""
        self.kept = []
        self._keep(data)
        self._spawn(self._flush)

    def gather(self) -> bool:
        """Gather what is posted from now on for one send; False when it is kept anyway. Nothing may be awaited."""
        if self.kept is not None:
            return False
        self.kept, self._gathering = [], True
        return True

    def send_gathered(self) -> None:
        """Send what was posted since `gather`."""
        kept, self.kept, self._gathering = self.kept, None, False
        if kept:
            self.post(b"".join(kept))

    def _keep(self, data: bytes) -> None:
        assert self.kept is not None
        self.kept.append(data)
        if self._gathering:  # not for the reader, who may well take it all at once
            return
        self.waiting += len(data)
        self._backlog.bytes += len(data)
        if self._bound and self.waiting > self._bound and self._on_slow is not None:
            on_slow, self._on_slow = self._on_slow, None
            on_slow()

    def cut(self) -> None:
        """Forget everything but the chunk under way, which must end before any other frame can follow."""
        if not self.kept:  # nothing waits, or it is held and nothing waited
            return
        first = self.kept[0]
        keep = [first] if len(first) <= SLOW_LINGER_BYTES else []
        if not keep:
            self.broken = True  # too much is left of that chunk to wait for; the close frame cannot follow it
        self._forget(self.waiting - sum(map(len, keep)))
        self.kept[:] = keep

    # --- handed from process to process ------------------------------------------------------------------------

    def hold(self) -> bytes:
        """Write nothing from now on, and tell what the socket has not taken; what is posted is kept behind it."""
        self._held = trio.Event()
        self._parked = self.kept is None
        if self.kept is None:
            self.kept = []
        return b"".join(self.kept)

    def release(self) -> None:
        """Write on."""
        if self._held is None:
            return
        self._held.set()
        self._held = None
        if self._parked:
            if self.kept:
                self._spawn(self._flush)
            else:
                self.kept = None
                self._tell_drained()

    def give_up(self) -> None:
        """The socket is another process's: forget what is kept, and take nothing more."""
        self.broken = True
        if self.kept is not None:
            self._forget(self.waiting)
            self.kept.clear()
        self.release()

    def forget(self) -> None:
        """Nobody knows what the peer got: let go of what is kept, and begin anew."""
        if self.kept is not None:
            self._forget(self.waiting)
            self.kept.clear()
        self.release()

    def resume(self, unsent: bytes) -> None:
        """Begin with what another process could not send any more."""
        if unsent:
            self.keep_rest(unsent)

    def _forget(self, size: int) -> None:
        self.waiting -= size
        self._backlog.bytes -= size

    async def _flush(self) -> None:
        kept = self.kept
        assert kept is not None
        try:
            while not self.broken and self._sock.fileno() >= 0:  # closed before this task's first step
                if self._held is not None:
                    await self._held.wait()
                    continue
                if not kept:
                    break
                await trio.lowlevel.wait_writable(self._sock)
                if self._held is not None:
                    continue
                try:
                    sent = self._sock.sendmsg(kept[:SEND_BUFFERS])
                except BlockingIOError:
                    continue
                self._forget(sent)
                whole = 0
                for chunk in kept:
                    if sent < len(chunk):
                        break
                    sent -= len(chunk)
                    whole += 1
                del kept[:whole]
                if sent:
                    kept[0] = kept[0][sent:]
        except (OSError, trio.ClosedResourceError):
            self.broken = True
        finally:
            self.broken = self.broken or bool(kept)  # cancelled: nothing may follow half a frame
            self._forget(sum(map(len, kept)))
            self.kept = None
            self._tell_drained()

    def _tell_drained(self) -> None:
        if self._drained is not None:
            self._drained.set()
            self._drained = None

    async def wait_drained(self) -> None:
        """Wait until nothing is kept any more: all went to the kernel, or the peer is gone."""
        await trio.lowlevel.checkpoint()
        while self.kept is not None:
            if self._drained is None:
                self._drained = trio.Event()
            await self._drained.wait()
