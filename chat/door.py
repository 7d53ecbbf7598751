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

from chat.head import HEAD_BYTES, TLS, Refusal, answer, check_upgrade, parse_head, wants_websocket, without_upgrade
from chat.outbox import Backlog, Outbox
from chat.session import Session
from chat.websocket import Ended, Websocket

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from chat.head import Head
    from chat.metrics import Metrics
    from chat.readers import Readers
    from chat.sessions import Sessions
    from chat.tokens import Identity
    from chat.web_server import WebServer

log = logging.getLogger("belfry.chat.door")

HEAD_TIMEOUT = 5.0  # seconds for a whole head; a slow phone needs one
KEEP_ALIVE = 30.0  # seconds a connection may wait for its next request; proxies keep theirs for 60
ACCEPTS = 8  # connections taken in one step of those who come in (chat/turns.py)
NO_FILES_PAUSE = 0.1  # seconds before accepting again when file descriptors ran out
# A page of any origin may ask at /ws when it shall come back; a websocket that is refused tells it nothing.
TELLABLE = {"Access-Control-Allow-Origin": "*", "Access-Control-Expose-Headers": "Retry-After"}
END_OF_HEAD = b"\r\n\r\n"
OUT_OF = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Connection:
    """One accepted socket: waiting for a request's head, in a request, or a websocket."""

    __slots__ = ("_fate", "_scope", "_since", "begun", "given", "idle", "session", "sock", "used")

    def __init__(self, sock: socket.socket, begun: bytes = b"") -> None:
        self.sock = sock
        self.begun = begun  # what was read of the head that is on its way
        self.used = False  # whether it had a request before
        self.session: Session | None = None  # once it is a websocket
        self.given = False  # whether another process has the socket now
        self._since = trio.current_time()
        self._scope: trio.CancelScope | None = None  # there while it waits for a head
        self._fate: trio.Event | None = None  # there while it is held for another process
        self.idle = False  # whether it is held where it waits for a head, so that another process can go on

    def waited(self) -> float:
        """Seconds since it became what it is."""
        return trio.current_time() - self._since

    def become(self, session: Session, waited: float = 0.0) -> None:
        """It is a websocket from here on, which has waited for its hello already for some seconds."""
        self.session, self.begun, self._since = session, b"", trio.current_time() - waited

    def hold(self) -> None:
        """Wait for no head, now or when it is done with what it does."""
        if self._fate is None:
            self._fate = trio.Event()
        if self._scope is not None:
            self._scope.cancel()

    def release(self) -> None:
        """Go on."""
        if self._fate is not None:
            self._fate.set()
            self._fate = None

    def give(self) -> None:
        """Another process has the socket: end without a word to it."""
        self.given = True
        if self.session is not None:
            self.session.give()
        self.release()

    def close_idle(self) -> None:
        """End a connection that waits for another request."""
        if self._scope is not None and self.used and not self.begun:
            self._scope.cancel()

    async def wait_for_head(self) -> bool:
        """Read on until `begun` is a whole head, or too long for one; False when the connection is over.

        A first head has HEAD_TIMEOUT, and so has each other from its first byte, which may take KEEP_ALIVE. Raises
        Refusal.
        """
        if self._is_here():
            return True
        while True:
            if self._fate is not None:
                self.idle = True
                await self._fate.wait()
                self.idle = False
                if self.given:
                    return False
                continue
            whole = False
            with trio.CancelScope() as self._scope:
                try:
                    whole = await self._read_head()
                finally:
                    self._scope = None
            if self._fate is None:
                return whole

    def _is_here(self) -> bool:
        """Whether a connection's first head is here already, as in a storm, when who is let in has waited for it."""
        if self.used or self.begun or self._fate is not None:
            return False
        with contextlib.suppress(OSError):  # nothing yet, or gone: whoever waits for it finds out
            self.begun = self.sock.recv(HEAD_BYTES + 1)
        return END_OF_HEAD in self.begun

    async def _read_head(self) -> bool:
        if self.used and not self.begun:
            with trio.move_on_after(KEEP_ALIVE) as idle:
                if not await self._read_more():
                    return False
            if idle.cancelled_caught:
                return False
        with trio.move_on_after(HEAD_TIMEOUT) as patience:
            while END_OF_HEAD not in self.begun and len(self.begun) <= HEAD_BYTES:
                if self.begun.startswith(TLS):  # it waits for us as we for it, until a timeout that says nothing
                    raise Refusal("bad_request", "this port speaks http, not https")
                if not await self._read_more():
                    return False
        if patience.cancelled_caught:
            raise Refusal("timeout", "the request's head took too long")
        return True

    async def _read_more(self) -> bool:
        while True:
            try:
                await trio.lowlevel.wait_readable(self.sock)
                more = self.sock.recv(HEAD_BYTES + 1)
            except BlockingIOError:
                continue
            except OSError:
                return False
            self.begun += more
            return bool(more)


class Door:
    """Takes connections from listening sockets into a nursery."""

    def __init__(
        self, sessions: Sessions, web: WebServer, readers: Readers, metrics: Metrics, nursery: trio.Nursery
    ) -> None:
        self._sessions = sessions
        self._web = web
        self._readers = readers
        self._metrics = metrics
        self._nursery = nursery
        self._limits = sessions.config.limits
        self._open: dict[Connection, None] = {}  # in the order they came
        self._emptied = trio.Event()
        self._frozen: trio.Event | None = None  # there while nobody is let in, for the handover
        self._backlog = Backlog()
        self._budget = sessions.budget
        metrics.gauges["connections"] = lambda: len(self._open)
        metrics.gauges["outbox_bytes"] = lambda: self._backlog.bytes

    async def accept_from(
        self, listener: socket.socket, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Accept until cancelled. `listener` is non-blocking and listens already."""
        task_status.started()
        while True:
            await trio.lowlevel.wait_readable(listener)
            if self._frozen is not None:
                await self._frozen.wait()
                continue
            try:
                async with self._sessions.coming:
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
        if self._limits.connections and len(self._open) >= self._limits.connections:
            self._metrics.connections_refused += 1
            with contextlib.suppress(OSError):
                sock.send(answer("overloaded", "too many connections", self._retry_after()))
                sock.shutdown(socket.SHUT_WR)
            sock.close()
            return
        with contextlib.suppress(OSError):  # not TCP, or gone already
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._enter(Connection(sock))

    def _enter(self, connection: Connection) -> None:
        self._open[connection] = None
        if self._frozen is not None:
            connection.hold()
        self._nursery.start_soon(self._connection, connection)

    def spawn(self, task: Callable[[], Awaitable[None]]) -> None:
        """Run something beside the connections, and as long as they."""
        self._nursery.start_soon(task)

    async def _connection(self, connection: Connection) -> None:
        """The barrier: whatever goes wrong in here costs this connection only, and is logged."""
        sock = connection.sock
        try:
            if connection.session is None:
                await self._requests(connection)
            if connection.session is not None:  # run from a shallow stack
                await connection.session.run()
        except* Ended:
            pass
        except* Exception:
            log.exception("a connection ended by an error of ours")
        finally:
            del self._open[connection]
            if not self._open:
                self._emptied.set()
            if sock.fileno() >= 0:
                self._readers.remove(sock)
                trio.lowlevel.notify_closing(sock)
                sock.close()

    async def _requests(self, connection: Connection) -> None:
        """Serve requests until the connection is over, or a websocket."""
        more = True
        while more and connection.session is None:
            try:
                if connection.used and not connection.begun and self._sessions.draining:
                    return
                if not await connection.wait_for_head():
                    return
                more = await self._request(connection)
            except Refusal as refusal:
                self._metrics.connections_refused += refusal.code == "overloaded"
                await _refuse(connection.sock, refusal.response)
                return

    async def _request(self, connection: Connection) -> bool:
        """Take the way that the head says; whether the connection goes on. Raises Refusal."""
        data = connection.begun
        end = data.find(END_OF_HEAD)
        if not 0 <= end <= HEAD_BYTES:
            raise Refusal("head_too_large", f"the request's head is larger than {HEAD_BYTES} bytes")
        raw, rest = data[:end], data[end + 4 :]
        async with self._sessions.coming:
            head = parse_head(raw)
            if head.path == "/ws":
                connection.become(self._upgrade(connection.sock, head, rest))
                return True
        if wants_websocket(head):
            raise Refusal("not_found", "websockets live at /ws")
        if b"upgrade" in head.headers:
            raw = without_upgrade(raw)
        connection.begun = b""
        left = await self._web.serve(connection.sock, raw + END_OF_HEAD, rest, head.body_bytes())
        connection.begun, connection.used = left or b"", True
        return left is not None

    def close_idle(self) -> None:
        """End the connections that wait for another request."""
        for connection in self._open:
            connection.close_idle()

    # --- handed from process to process ------------------------------------------------------------------------

    def connections(self) -> list[Connection]:
        """All that are open, in the order they came."""
        return list(self._open)

    def sessions(self) -> list[Session]:
        """All websockets, with and without a hello."""
        return [one.session for one in self._open if one.session is not None]

    def freeze(self) -> None:
        """Let nobody in, and hold who waits for a head."""
        self._frozen = trio.Event()
        for connection in self._open:
            connection.hold()

    def thaw(self) -> None:
        """Go on."""
        if self._frozen is not None:
            self._frozen.set()
            self._frozen = None
        for connection in self._open:
            connection.release()

    def adopt_session(self, sock: socket.socket, identity: Identity) -> Session:
        """Take over a client that said hello; it stays another process's until `Session.own`."""
        session = self._session(sock, b"")
        session.be(identity)
        session.given = True
        connection = Connection(sock)
        connection.become(session)
        self._enter(connection)
        return session

    def adopt_newcomer(self, sock: socket.socket, unread: bytes, waited: float) -> Session:
        """Take over a websocket that has not said hello for `waited` seconds."""
        session = self._session(sock, unread)
        session.waited = waited
        connection = Connection(sock)
        connection.become(session, waited)
        self._enter(connection)
        return session

    def adopt_request(self, sock: socket.socket, begun: bytes) -> None:
        """Take over a connection that waits for a head, of which this much was read."""
        connection = Connection(sock, begun)
        connection.used = not begun
        self._enter(connection)

    # -----------------------------------------------------------------------------------------------------------

    def _upgrade(self, sock: socket.socket, head: Head, rest: bytes) -> Session:
        now, sessions = trio.current_time(), self._sessions
        if not wants_websocket(head):
            self._tell_when(now)
            raise Refusal("upgrade_required", "this address speaks websocket", {"Upgrade": "websocket"} | TELLABLE)
        upgrade = check_upgrade(head, sessions.origins())
        if sessions.draining or sessions.frozen:
            raise Refusal("draining", "this server is stopping", self._retry_after())
        if not self._budget.take(now):
            # A browser hides this answer from its page, which then asks: it gets its turn by asking.
            turn = 1 if b"origin" in head.headers else self._budget.turn(now)
            raise Refusal("overloaded", "too many handshakes", {"Retry-After": str(turn)})
        sessions.came_to(head.one(b"host"))
        session = self._session(sock, rest)
        session.websocket.accept(upgrade.key, upgrade.subprotocol)
        self._metrics.handshakes += 1
        return session

    def _session(self, sock: socket.socket, rest: bytes) -> Session:
        outbox = Outbox(sock, self._limits.outbox_bytes, self._nursery.start_soon, self._backlog)
        return Session(Websocket(sock, outbox, self._readers, self._limits.frame_bytes, rest), self._sessions)

    def _tell_when(self, now: float) -> None:
        """What a websocket would hear now, for those who cannot hear it: by plain GET at the same address."""
        if self._sessions.draining:
            raise Refusal("draining", "this server is stopping", self._retry_after() | TELLABLE)
        if self._budget.full(now):
            turn = {"Retry-After": str(self._budget.turn(now))}
            raise Refusal("overloaded", "too many handshakes", turn | TELLABLE)

    def _retry_after(self) -> dict[str, str]:
        return {"Retry-After": str(self._budget.turn(trio.current_time()))}


async def _refuse(sock: socket.socket, response: bytes) -> None:
    """Answer and close; what the client still sends is read for a moment, so that the answer is not reset away."""
    with trio.move_on_after(1.0), contextlib.suppress(OSError):
        sock.send(response)
        sock.shutdown(socket.SHUT_WR)
        while True:
            await trio.lowlevel.wait_readable(sock)
            if not sock.recv(65_536):
                return
