"""The front door of one port: accepts, reads the request's head, and shows the way: /ws to a Session, the rest to
Hypercorn. Around each connection stands the one barrier that keeps its errors from everybody else.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
from typing import TYPE_CHECKING

import trio

from chat.head import HEAD_BYTES, Refusal, answer, check_upgrade, parse_head, wants_websocket, without_upgrade
from chat.outbox import Backlog, Outbox
from chat.session import Session
from chat.websocket import Ended, Websocket

if TYPE_CHECKING:
    from chat.head import Head
    from chat.metrics import Metrics
    from chat.sessions import Sessions
    from chat.web_server import WebServer

log = logging.getLogger("belfry.chat.door")

HEAD_TIMEOUT = 5.0  # seconds for a whole head; a slow phone needs one
KEEP_ALIVE = 30.0  # seconds a connection may wait for its next request; proxies keep theirs for 60
ACCEPTS = 64  # connections taken in one turn of the loop: 64 x 20 us keeps a stall near 1 ms
NO_FILES_PAUSE = 0.1  # seconds before accepting again when file descriptors ran out
# A page of any origin may ask at /ws when it shall come back; a websocket that is refused tells it nothing.
TELLABLE = {"Access-Control-Allow-Origin": "*", "Access-Control-Expose-Headers": "Retry-After"}
END_OF_HEAD = b"\r\n\r\n"
OUT_OF = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Door:
    """Takes connections from listening sockets into a nursery."""

    def __init__(self, sessions: Sessions, web: WebServer, metrics: Metrics, nursery: trio.Nursery) -> None:
        self._sessions = sessions
        self._web = web
        self._metrics = metrics
        self._nursery = nursery
        self._limits = sessions.config.limits
        self._open = 0
        self._emptied = trio.Event()
        self._idle: set[trio.CancelScope] = set()
        self._backlog = Backlog()
        self._budget = sessions.budget
        metrics.gauges["connections"] = lambda: self._open
        metrics.gauges["outbox_bytes"] = lambda: self._backlog.bytes

    async def accept_from(
        self, listener: socket.socket, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Accept until cancelled. `listener` is non-blocking and listens already."""
        task_status.started()
        while True:
            await trio.lowlevel.wait_readable(listener)
            try:
                for _ in range(ACCEPTS):
                    sock, _address = listener.accept()
                    self._take(sock)
            except BlockingIOError:
                continue
            except OSError as error:
                if error.errno in OUT_OF:
                    log.error("cannot accept: %s; raise the open file limit or lower --connections", error.strerror)
                    await trio.sleep(NO_FILES_PAUSE)
                elif error.errno == errno.EBADF:
                    raise
                # else the connection died before it was accepted (ECONNABORTED and its like)

    async def wait_empty(self) -> None:
        """Wait until no connection is open."""
        await trio.lowlevel.checkpoint()
        while self._open:
            self._emptied = trio.Event()
            await self._emptied.wait()

    def _take(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._metrics.connections_accepted += 1
        if self._limits.connections and self._open >= self._limits.connections:
            self._metrics.connections_refused += 1
            with contextlib.suppress(OSError):
                sock.send(answer("overloaded", "too many connections", self._retry_after()))
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
            way = await self._enter(sock, b"")
            while isinstance(way, bytes):
                way = await self._enter(sock, way) if way or await self._next_request(sock) else None
            if way is not None:
                await way.run()
        except* Ended:
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

    async def _next_request(self, sock: socket.socket) -> bool:
        """Wait for another request on a kept-alive connection; False when it is over."""
        with trio.move_on_after(KEEP_ALIVE) as scope:
            self._idle.add(scope)
            try:
                if not self._sessions.draining:
                    await trio.lowlevel.wait_readable(sock)
                    return True
            except OSError:
                return False
            finally:
                self._idle.discard(scope)
        return False

    def close_idle(self) -> None:
        """End the connections that wait for another request."""
        for scope in self._idle:
            scope.cancel()

    async def _enter(self, sock: socket.socket, begun: bytes) -> Session | bytes | None:
        """Read a head and take the way it says.

        A Session comes back to be run from a shallow stack; bytes (perhaps none) if another request may come, which
        they begin; None when the connection is over.
        """
        with trio.move_on_after(HEAD_TIMEOUT) as patience:
            data = await _read_head(sock, begun)
        try:
            if patience.cancelled_caught:
                raise Refusal("timeout", "the request's head took too long")
            if data is None:
                return None
            end = data.find(END_OF_HEAD)
            if end < 0:
                raise Refusal("head_too_large", f"the request's head is larger than {HEAD_BYTES} bytes")
            raw, rest = data[:end], data[end + 4 :]
            head = parse_head(raw)
            if head.path == "/ws":
                return self._upgrade(sock, head, rest)
            if wants_websocket(head):
                raise Refusal("not_found", "websockets live at /ws")
            if b"upgrade" in head.headers:
                raw = without_upgrade(raw)
        except Refusal as refusal:
            self._metrics.connections_refused += refusal.code == "overloaded"
            await _refuse(sock, refusal.response)
            return None
        return await self._web.serve(sock, raw + END_OF_HEAD, rest, head.body_bytes())

    def _upgrade(self, sock: socket.socket, head: Head, rest: bytes) -> Session:
        now, sessions = trio.current_time(), self._sessions
        if not wants_websocket(head):
            self._tell_when(now)
            raise Refusal("upgrade_required", "this address speaks websocket", {"Upgrade": "websocket"} | TELLABLE)
        upgrade = check_upgrade(head, sessions.origins())
        if sessions.draining:
            raise Refusal("draining", "this server is stopping", self._retry_after())
        if not self._budget.take(now):
            # A browser hides this answer from its page, which then asks: it gets its turn by asking.
            turn = 1 if b"origin" in head.headers else self._budget.turn(now)
            raise Refusal("overloaded", "too many handshakes", {"Retry-After": str(turn)})
        sessions.came_to(head.one(b"host"))
        outbox = Outbox(sock, self._limits.outbox_bytes, self._nursery.start_soon, self._backlog)
        websocket = Websocket(sock, outbox, self._limits.frame_bytes, rest)
        websocket.accept(upgrade.key, upgrade.subprotocol)
        self._metrics.handshakes += 1
        return Session(websocket, self._sessions)

    def _tell_when(self, now: float) -> None:
        """What a websocket would hear now, for those who cannot hear it: by plain GET at the same address."""
        if self._sessions.draining:
            raise Refusal("draining", "this server is stopping", self._retry_after() | TELLABLE)
        if self._budget.full(now):
            turn = {"Retry-After": str(self._budget.turn(now))}
            raise Refusal("overloaded", "too many handshakes", turn | TELLABLE)

    def _retry_after(self) -> dict[str, str]:
        return {"Retry-After": str(self._budget.turn(trio.current_time()))}


async def _read_head(sock: socket.socket, data: bytes) -> bytes | None:
    """Bytes up to the end of the head at least, or more than HEAD_BYTES of none; None when the peer left before."""
    while END_OF_HEAD not in data and len(data) <= HEAD_BYTES:
        try:
            await trio.lowlevel.wait_readable(sock)
            more = sock.recv(HEAD_BYTES + 1)
        except BlockingIOError:
            continue
        except OSError:
            return None
        if not more:
            return None
        data += more
    return data if data.find(END_OF_HEAD) <= HEAD_BYTES else data[: HEAD_BYTES + 1].replace(END_OF_HEAD, b"")


async def _refuse(sock: socket.socket, response: bytes) -> None:
    """Answer and close; what the client still sends is read for a moment, so that the answer is not reset away."""
    with trio.move_on_after(1.0), contextlib.suppress(OSError):
        sock.send(response)
        sock.shutdown(socket.SHUT_WR)
        while True:
            await trio.lowlevel.wait_readable(sock)
            if not sock.recv(65_536):
                return
