"""A tower's front door: accepts, answers where a client goes by itself, and shows every other request to Hypercorn.

After a crash every client asks /v1/assign at once. Through Hypercorn and Quart an answer took ten times as long as this
way, which needs 140 us of a core. Around each connection stands a barrier that keeps its errors to itself.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
from typing import TYPE_CHECKING

import trio

from tower.api.errors import problem
from tower.errors import Refused
from tower.head import ANYBODY, HEAD_BYTES, TLS, Assign, answer, assigned, parse

if TYPE_CHECKING:
    from tower.service import Tower
    from tower.web_server import WebServer

log = logging.getLogger("belfry.tower.door")

CONNECTIONS = 4_000  # at once: a wave asks once and goes; 20 KB each, 80 MB
HEAD_TIMEOUT = 5.0  # seconds for a whole head
KEEP_ALIVE = 60.0  # seconds a connection may wait for its next question; balancers keep theirs
SEND_TIMEOUT = 10.0  # seconds to take an answer of 300 bytes
TURN = 50  # questions of one connection before the others have a turn: 50 x 40 us
NO_FILES_PAUSE = 0.1  # seconds before accepting again when file descriptors ran out
END_OF_HEAD = b"\r\n\r\n"
EVENTS = "/v1/events"
OUT_OF = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Door:
    """Takes connections from listening sockets into a nursery."""

    def __init__(self, tower: Tower, web: WebServer, nursery: trio.Nursery) -> None:
        self._tower = tower
        self._metrics = tower.metrics
        self._web = web
        self._nursery = nursery
        self._open = 0
        self._closing = False
        self._emptied = trio.Event()
        self._idle: set[trio.CancelScope] = set()
        self._metrics.gauges["tower_connections"] = lambda: float(self._open)

    async def accept_from(
        self, listener: socket.socket, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Accept until cancelled. `listener` is non-blocking and listens already."""
        task_status.started()
        while True:
            await trio.lowlevel.wait_readable(listener)
            try:
                for _ in range(TURN):
                    sock, _address = listener.accept()
                    self._take(sock)
            except BlockingIOError:
                continue
            except OSError as error:
                if error.errno in OUT_OF:
                    log.error("cannot accept: %s; raise the open file limit", error.strerror)
                    await trio.sleep(NO_FILES_PAUSE)
                elif error.errno == errno.EBADF:
                    raise
                # else the connection died before it was accepted (ECONNABORTED and its like)

    def close_idle(self) -> None:
        """End the connections that wait for another question, and each other one after its answer."""
        self._closing = True
        for scope in self._idle:
            scope.cancel()

    async def wait_empty(self) -> None:
        """Wait until no connection is open."""
        await trio.lowlevel.checkpoint()
        while self._open:
            self._emptied = trio.Event()
            await self._emptied.wait()

    def _take(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._metrics.tower_connections_accepted += 1
        if self._open >= CONNECTIONS:
            self._metrics.tower_connections_refused += 1
            with contextlib.suppress(OSError):
                sock.send(_refusal(Refused("too_many", "too many connections", retry=2.0), close=True))
                sock.shutdown(socket.SHUT_WR)
            sock.close()
            return
        with contextlib.suppress(OSError):  # not TCP, or gone already
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._open += 1
        self._nursery.start_soon(self._connection, sock)

    async def _connection(self, sock: socket.socket) -> None:
        """The barrier: whatever goes wrong in here costs this connection only, and is logged."""
        try:
            await self._questions(sock)
        except* (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError, ConnectionError):
            pass
        except* Exception:
            log.exception("a connection ended by an error of ours")
        finally:
            self._open -= 1
            if not self._open:
                self._emptied.set()
            if sock.fileno() >= 0:
                trio.lowlevel.notify_closing(sock)
                sock.close()

    async def _questions(self, sock: socket.socket) -> None:
        data, turn = b"", 0
        while True:
            if data or await self._another(sock, KEEP_ALIVE if turn else HEAD_TIMEOUT):
                with trio.move_on_after(HEAD_TIMEOUT) as patience:
                    data = await _read_head(sock, data)
            else:
                return
            end = data.find(END_OF_HEAD)
            try:
                if data.startswith(TLS):
                    raise Refused("bad_request", "this port speaks http, not https")
                if patience.cancelled_caught:
                    raise Refused("timeout", "the request's head took too long")
                if not data:
                    return
                if end < 0 or end > HEAD_BYTES:
                    raise Refused("head_too_large", f"the request's head is larger than {HEAD_BYTES} bytes")
                request = parse(data[:end])
            except Refused as refused:
                await _send(sock, _refusal(refused, close=True))
                await _let_go(sock)
                return
            data = data[end + 4 :]
            if not isinstance(request, Assign):
                begun = request.head + (data if request.body else b"")
                await self._web.serve(sock, begun, body=request.body, endless=request.path == EVENTS)
                return
            close = request.close or self._closing
            await _send(sock, self._assign(request, close=close))
            if close:
                return
            turn += 1
            if turn % TURN == 0:
                await trio.lowlevel.checkpoint()

    def _assign(self, request: Assign, *, close: bool) -> bytes:
        try:
            found = self._tower.assign(request.user, request.room)
        except Refused as refused:
            return _refusal(refused, close=close)
        return assigned(found.url, found.server, close=close)

    async def _another(self, sock: socket.socket, patience: float) -> bool:
        """Wait for another question; False when there will be none."""
        with trio.move_on_after(patience) as scope:
            self._idle.add(scope)
            try:
                if not self._closing:
                    await trio.lowlevel.wait_readable(sock)
                    return True
            finally:
                self._idle.discard(scope)
        return False


def _refusal(refused: Refused, *, close: bool) -> bytes:
    status, headers, body = problem(refused)
    return answer(status, body, headers | ANYBODY, close=close)


async def _read_head(sock: socket.socket, data: bytes) -> bytes:
    """Bytes up to the end of the head at least, or more than HEAD_BYTES of none; b"" when the peer left before.

    Of a TLS client it is what has come: it waits for us as we for it, until a timeout that says nothing.
    """
    while END_OF_HEAD not in data and len(data) <= HEAD_BYTES and not data.startswith(TLS):
        try:
            more = sock.recv(HEAD_BYTES + 1)
        except BlockingIOError:
            await trio.lowlevel.wait_readable(sock)
            continue
        if not more:
            return b""
        data += more
    return data


async def _let_go(sock: socket.socket) -> None:
    """Read for a moment what the client still sends, so that the answer is not reset away."""
    with trio.move_on_after(1.0), contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_WR)
        while True:
            await trio.lowlevel.wait_readable(sock)
            if not sock.recv(65_536):
                return


async def _send(sock: socket.socket, data: bytes) -> None:
    """Send a small answer; who does not take it is let go."""
    with trio.fail_after(SEND_TIMEOUT):
        while data:
            try:
                data = data[sock.send(data) :]
            except BlockingIOError:
                await trio.lowlevel.wait_writable(sock)
