"""One chat server: everything it is stands in one nursery tree, and the tree is its shutdown plan.

Read `run` from the inside out: listeners stop first, sessions drain second, committer and bus empty third; whoever
opened the store closes it last. Cancelling is the abort, draining is the plan.
"""

from __future__ import annotations

import datetime as dt
import logging
from typing import TYPE_CHECKING

import trio

from chat.api.app import make_app
from chat.beats import Beats
from chat.closing import MOVED
from chat.committer import Committer
from chat.door import Door
from chat.errors import Refused
from chat.hub import Hub
from chat.metrics import Metrics
from chat.presence import NAMED
from chat.readers import Readers
from chat.sessions import Sessions
from chat.text import check_nonce, check_text
from chat.web_server import WebServer
from chat.wire import User, encode
from db.errors import StoreUnavailable
from db.records import Appended, Draft
from db.store import RoomTaken

if TYPE_CHECKING:
    import socket

    from bus.bus import Bus
    from chat.config import Config
    from chat.service import State
    from chat.session import Session
    from chat.tokens import Tokens
    from db.records import RevokeAction, RoomRecord
    from db.store import Store

log = logging.getLogger("belfry.chat")

END_SECONDS = 5.0  # of the deadline, kept for late closing handshakes, requests under way and the last commit
END_SHARE = 0.3  # but never more than this part of a short deadline
GOODBYE = 0.1  # seconds for the bus to carry the last beat; lost, the others wait for the lease
LAST_WORDS = 1.0  # seconds for closing handshakes at the deadline, and for requests under way
OWN_PACE = 500.0  # clients a second in a drain when handshakes_per_second is without limit


class ChatServer:
    """The service behind HTTP and websocket, and its life."""

    def __init__(self, config: Config, store: Store, bus: Bus, tokens: Tokens) -> None:
        self.config = config
        self.store = store
        self.state: State = "starting"
        self.metrics = Metrics()
        self.hub = Hub(store, bus, self.metrics)
        self.committer = Committer(store, self.hub, self.metrics)
        self.sessions = Sessions(config, tokens, self.hub, self.committer, self.metrics)
        self.hub.revoked = self.sessions.revocations.heard
        self.beats = Beats(
            config, store, self.hub.publish, bus.quiet, lambda: self.state, lambda: len(self.sessions), self._fence
        )
        self.readers = Readers()
        self.addresses: list[tuple[str, int]] = []
        self._bus = bus
        self.app = make_app(self, config, tokens, self.metrics.registry)
        self._web = WebServer(self.app)
        self._stop = trio.Event()
        self.metrics.gauges["draining"] = lambda: float(self.state == "draining")

    # --- the service -------------------------------------------------------------------------------------------

    async def send(self, room: str, user: User, nonce: str, text: str) -> Appended:
        """Commit a message and fan it out; returns when it is durable. Raises Refused."""
        check_nonce(nonce)
        check_text(text, self.config.limits.text_chars)
        if self.state != "ready":
            raise Refused("draining", "this server is stopping", temporary=True, retry_ms=1_000)
        try:
            live = await self.hub.live(room)
        except StoreUnavailable:
            raise Refused(
                "store_unavailable", "the database cannot answer now", temporary=True, retry_ms=1_000
            ) from None
        waiter = _Waiter(user)
        self.committer.submit(Draft(live.order.id, user.id, user.name, nonce, text), live, waiter)
        return await waiter.outcome()

    def members(self, room: str) -> tuple[list[User], int]:
        """Who is in a room on this fleet, by name, and how many; the list is cut at NAMED."""
        live = self.hub.peek(room)
        if live is None:
            return [], 0
        return [User(i, n) for i, n in live.presence.members(NAMED)], live.presence.count

    def room_deleted(self, room: RoomRecord) -> None:
        """Tell the room's members that it is gone."""
        self.hub.deleted(room)

    async def revoke(self, user_id: str, action: RevokeAction, by: str) -> int:
        """Kick, ban or let a user in again, everywhere; how many sockets were closed here. Raises StoreUnavailable."""
        return await self.sessions.revocations.revoke(user_id, action, by)

    def _fence(self) -> None:
        self.hub.missed()
        self.sessions.send_away(MOVED)

    # --- life --------------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Begin the planned stop; returns at once, `run` returns when it is done."""
        if self.state == "ready":
            self.state = "draining"
            log.info("draining: %d sessions", len(self.sessions))
        self._stop.set()

    async def run(
        self,
        listeners: list[socket.socket],
        *,
        task_status: trio.TaskStatus[ChatServer] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve on these listening sockets until drained (returns) or cancelled."""
        await self._make_first_rooms()
        await self.sessions.revocations.load()
        async with trio.open_nursery() as beneath:
            await beneath.start(self._run_bus)
            beneath.start_soon(self.hub.run)
            async with trio.open_nursery() as committing:
                committing.start_soon(self.committer.run)
                try:
                    async with trio.open_nursery() as connections:
                        await connections.start(self._web.run)
                        await connections.start(self.readers.run)
                        connections.start_soon(self.sessions.pulse)
                        connections.start_soon(self.sessions.revocations.watch)
                        connections.start_soon(self.beats.run)
                        door = Door(self.sessions, self._web, self.readers, self.metrics, connections)
                        async with trio.open_nursery() as listening:
                            for listener in listeners:
                                listener.setblocking(False)
                                await listening.start(door.accept_from, listener)
                            self.addresses = [listener.getsockname()[:2] for listener in listeners]
                            self.state = "ready"
                            task_status.started(self)
                            await self._stop.wait()
                            listening.cancel_scope.cancel()
                        await self._drain(listeners, door)
                        connections.cancel_scope.cancel()
                finally:
                    self.committer.close()
            with trio.move_on_after(1.0):
                await self.hub.flush_marks()
                await self._say_goodbye()
            beneath.cancel_scope.cancel()

    async def _say_goodbye(self) -> None:
        self.state = "stopped"
        if self.hub.quiet() is not None:
            await self.beats.beat()
            await trio.sleep(GOODBYE)

    async def _run_bus(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        await self._bus.run(self.hub.from_bus, self.hub.missed, task_status=task_status)

    async def _drain(self, listeners: list[socket.socket], door: Door) -> None:
        for listener in listeners:
            listener.close()
        deadline = self.config.drain_deadline - min(END_SECONDS, self.config.drain_deadline * END_SHARE)
        pace = self.config.limits.handshakes_per_second or OWN_PACE
        with trio.move_on_after(deadline) as patience:
            await self.sessions.drain(deadline, pace)
        if patience.cancelled_caught:
            log.warning("the drain's deadline came with %d sessions left", len(self.sessions))
            with trio.move_on_after(LAST_WORDS):
                await self.sessions.close_all(MOVED)
        await self._web.stop()
        door.close_idle()
        with trio.move_on_after(LAST_WORDS):
            await door.wait_empty()

    async def _make_first_rooms(self) -> None:
        for name in self.config.first_rooms:
            if await self.store.room(name) is None:
                try:
                    await self.store.create_room(name, name, "belfry", dt.datetime.now(dt.UTC))
                except RoomTaken:
                    continue  # another server was quicker
                log.info("made the room %s", name)


class _Waiter:
    """An HTTP request that waits for its message to be durable."""

    def __init__(self, user: User) -> None:
        self.from_json = encode(user)
        self._done = trio.Event()
        self._outcome: Appended | Refused | None = None

    def settled(self, draft: Draft, outcome: Appended | Refused) -> Session | None:
        self._outcome = outcome
        self._done.set()
        return None

    async def outcome(self) -> Appended:
        await self._done.wait()
        if isinstance(self._outcome, Refused):
            raise self._outcome
        assert self._outcome is not None
        return self._outcome


async def serve(
    config: Config,
    store: Store,
    bus: Bus,
    tokens: Tokens,
    *,
    listeners: list[socket.socket],
    task_status: trio.TaskStatus[ChatServer] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run one chat server until it is drained or cancelled."""
    await ChatServer(config, store, bus, tokens).run(listeners, task_status=task_status)
