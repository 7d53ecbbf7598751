"""One chat server: everything it is stands in one nursery tree, and the tree is its shutdown plan.

Read `run` from the inside out: listeners stop first, sessions drain second, committer and bus empty third; whoever
opened the store closes it last. Cancelling is the abort, draining is the plan.
"""

from __future__ import annotations

import datetime as dt
import logging
import time
from typing import TYPE_CHECKING

import trio

from bus.events import Beat, Order, Pace
from chat.api.app import make_app
from chat.beats import Beats
from chat.closing import MOVED
from chat.committer import Committer
from chat.door import Door
from chat.errors import Refused
from chat.handover.give import Giver, HandoverFailed
from chat.handover.take import PredecessorDied, Taker
from chat.hub import Hub
from chat.load import Load
from chat.metrics import Metrics
from chat.moving import Mover
from chat.orders import Orders
from chat.pace import Pacing
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
    from bus.events import Event
    from chat.config import Config
    from chat.handover.channel import Channel
    from chat.handover.give import Given
    from chat.handover.lock import StoreLock
    from chat.handover.take import Report
    from chat.load import Rates
    from chat.moving import Progress
    from chat.service import State
    from chat.session import Session
    from chat.tokens import Tokens
    from db.records import RevokeAction, RoomRecord
    from db.store import Store

log = logging.getLogger("belfry.chat")

END_SECONDS = 5.0  # of the deadline, kept for late closing handshakes, requests under way and the last commit
END_SHARE = 0.3  # but never more than this part of a short deadline
GOODBYE = 0.1  # seconds for the bus to carry the last beat; lost, the others wait for the lease
LOCK_PATIENCE = 10.0  # seconds for the right to write after a predecessor's death; the kernel frees it at once
LAST_WRITES = 2.5  # seconds for read marks and the last beat, without which our name is taken until the lease is over
LAST_WORDS = 1.0  # seconds for closing handshakes at the deadline, and for requests under way


class ChatServer:
    """The service behind HTTP and websocket, and its life."""

    def __init__(self, config: Config, store: Store, bus: Bus, tokens: Tokens) -> None:
        self.config = config
        self.store = store
        self._state: State = "starting"
        self.metrics = Metrics()
        self.hub = Hub(store, bus, self.metrics)
        self.committer = Committer(store, self.hub, self.metrics)
        self.sessions = Sessions(config, tokens, self.hub, self.committer, self.metrics)
        self.hub.revoked = self.sessions.revocations.heard
        self._load = Load(trio.current_time())
        self._pacing = Pacing(config, self.sessions.others, self.hub.publish, self.hub.gaps.bus_works)
        self.mover = Mover(self.sessions, self._pacing)
        self.orders = Orders(config.server_id, self, self.mover, self._drain_seconds)
        self.hub.fleet = self._heard
        self.beats = Beats(
            config, store, self.hub.publish, bus.quiet, lambda: self.state, lambda: len(self.sessions), self._vitals,
            self._fence,
        )  # fmt: skip
        self.readers = Readers()
        self.addresses: list[tuple[str, int]] = []
        self._bus = bus
        self.app = make_app(self, config, tokens, self.metrics.registry, self.sessions.origins)
        self._web = WebServer(self.app)
        self._called = trio.Event()  # set when there is something to do: stop, or hand over
        self._stopping = False
        self._handing: _Handing | None = None
        self.taken: Report | None = None  # how the living sockets of the process before came to us
        self.given: Given | None = None  # how they went to the process after us
        self.metrics.gauges["draining"] = lambda: float(self.state == "draining")

    # --- the service -------------------------------------------------------------------------------------------

    async def send(self, room: str, user: User, nonce: str, text: str) -> Appended:
        """Commit a message and fan it out; returns when it is durable. Raises Refused."""
        check_nonce(nonce)
        check_text(text, self.config.limits.text_chars)
        if self._stopping or self.sessions.frozen or self.state == "starting":
            raise Refused("draining", "this server is stopping", temporary=True, retry_ms=1_000)
        try:
            live = await self.hub.live(room)
        except StoreUnavailable:
            raise Refused(
                "store_unavailable", "the database cannot answer now", temporary=True, retry_ms=1_000
            ) from None
        if self.sessions.frozen:  # since a moment ago: this process may not write any more
            raise Refused("draining", "this server is stopping", temporary=True, retry_ms=1_000)
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

    @property
    def state(self) -> State:
        return self._state

    @state.setter
    def state(self, state: State) -> None:
        if state != self._state:
            self._state = state
            self.beats.changed()

    # --- the fleet ---------------------------------------------------------------------------------------------

    def _heard(self, event: Event) -> None:
        """What is said of servers, by other servers and by towers."""
        if isinstance(event, Beat):
            self.sessions.others.heard(event, trio.current_time(), time.time())
        elif isinstance(event, Pace):
            self._pacing.heard(event)
        elif isinstance(event, Order):
            self.orders.heard(event)

    def _vitals(self) -> tuple[Rates, Progress]:
        metrics = self.metrics
        rates = self._load.read(
            trio.current_time(), metrics.acks, metrics.deliveries, metrics.recent_commits, self.sessions.budget.peak
        )
        return rates, self.mover.progress

    def _fence(self) -> None:
        self.hub.missed()
        self.sessions.send_away(MOVED)

    # --- life --------------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Begin the planned stop; returns at once, `run` returns when it is done."""
        if self.state in ("ready", "cordoned", "draining"):
            self.state = "draining"
            log.info("draining: %d sessions", len(self.sessions))
        self._stopping = True
        self._called.set()

    async def hand_over(self, channel: Channel, lock: StoreLock) -> Given:
        """Give everything to the process at the channel's other end; `run` returns then.

        Raises HandoverFailed when nothing was given and everybody is served on.
        """
        if self._stopping or self._handing is not None or self.state == "draining":
            channel.close()
            raise HandoverFailed("this server is draining" if self.state == "draining" else "this server is stopping")
        self._handing = handing = _Handing(channel, lock)
        self._called.set()
        return await handing.outcome()

    async def run(
        self,
        listeners: list[socket.socket],
        *,
        predecessor: tuple[Channel, StoreLock] | None = None,
        task_status: trio.TaskStatus[ChatServer] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve on these listening sockets until drained or handed over (returns), or cancelled.

        With a `predecessor` its living sockets are taken over first. Raises HandoverFailed when they cannot be.
        """
        await self._make_first_rooms()
        await self.sessions.revocations.load()
        async with trio.open_nursery() as beneath:
            await beneath.start(self._run_bus)
            async with trio.open_nursery() as committing:
                committing.start_soon(self.committer.run)
                try:
                    async with trio.open_nursery() as connections:
                        await connections.start(self._web.run)
                        await connections.start(self.readers.run)
                        door = Door(self.sessions, self._web, self.readers, self.metrics, connections)
                        if predecessor is not None:
                            await self._take_over(door, *predecessor, connections)
                        beneath.start_soon(self.hub.run)
                        connections.start_soon(self.sessions.pulse)
                        connections.start_soon(self.sessions.revocations.watch)
                        connections.start_soon(self.beats.run)
                        connections.start_soon(self.orders.run)
                        async with trio.open_nursery() as listening:
                            for listener in listeners:
                                listener.setblocking(False)
                                await listening.start(door.accept_from, listener)
                            self.addresses = [listener.getsockname()[:2] for listener in listeners]
                            self.state = "cordoned" if self.taken is not None and self.taken.cordoned else "ready"
                            task_status.started(self)
                            await self._until_done(door)
                            self.orders.end()
                            listening.cancel_scope.cancel()
                        if self.given is None:
                            await self._drain(listeners, door)
                        else:
                            await self._end_requests(door)
                        connections.cancel_scope.cancel()
                finally:
                    self.committer.close()
            if self.given is None:
                with trio.move_on_after(LAST_WRITES):
                    await self.hub.flush_marks()
                    await self._say_goodbye()
            else:
                await trio.sleep(GOODBYE)
            beneath.cancel_scope.cancel()

    async def _take_over(self, door: Door, channel: Channel, lock: StoreLock, connections: trio.Nursery) -> None:
        taker = Taker(self, door, channel, lock)
        try:
            self.taken = await taker.take()
        except PredecessorDied as died:
            log.warning("%s; this process begins without its connections", died)
            with trio.fail_after(LOCK_PATIENCE):
                await lock.take()
            return
        self.beats.follows = self.taken.boot
        log.info("took %d living sockets over from boot %s: nobody was served for %.0f ms, %d were told to reconnect",
                 self.taken.moved, self.taken.boot, self.taken.stall_ms, self.taken.left_behind)  # fmt: skip
        connections.start_soon(taker.settled, self.taken)

    async def _until_done(self, door: Door) -> None:
        """Wait for the stop, or for a handover that succeeds."""
        while not self._stopping:
            await self._called.wait()
            self._called = trio.Event()
            handing = self._handing
            if handing is None:
                continue
            try:
                self.given = await Giver(self, door, handing.channel, handing.lock).give()
            except HandoverFailed as failed:
                log.error("the handover failed, everybody is served on: %s", failed)
                handing.settle(failed)
                self._handing = None
                continue
            handing.settle(self.given)
            return

    async def _say_goodbye(self) -> None:
        self.state = "stopped"
        if self.hub.quiet() is not None:
            await self.beats.beat(LAST_WRITES)
            await trio.sleep(GOODBYE)

    async def _run_bus(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        await self._bus.run(self.hub.from_bus, self.hub.missed, task_status=task_status)

    @property
    def _drain_seconds(self) -> float:
        return self.config.drain_deadline - min(END_SECONDS, self.config.drain_deadline * END_SHARE)

    async def _drain(self, listeners: list[socket.socket], door: Door) -> None:
        for listener in listeners:
            listener.close()
        deadline = self._drain_seconds
        with trio.move_on_after(deadline) as patience:
            await self.mover.move(deadline)
        if patience.cancelled_caught:
            log.warning("the drain's deadline came with %d sessions left", len(self.sessions))
            with trio.move_on_after(LAST_WORDS):
                await self.sessions.close_all(MOVED)
        await self._end_requests(door)

    async def _end_requests(self, door: Door) -> None:
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


class _Handing:
    """A handover that was asked for."""

    def __init__(self, channel: Channel, lock: StoreLock) -> None:
        self.channel = channel
        self.lock = lock
        self._done = trio.Event()
        self._outcome: Given | HandoverFailed | None = None

    def settle(self, outcome: Given | HandoverFailed) -> None:
        self.channel.close()
        self._outcome = outcome
        self._done.set()

    async def outcome(self) -> Given:
        await self._done.wait()
        if isinstance(self._outcome, HandoverFailed):
            raise self._outcome
        assert self._outcome is not None
        return self._outcome


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
    predecessor: tuple[Channel, StoreLock] | None = None,
    task_status: trio.TaskStatus[ChatServer] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run one chat server until it is drained, handed over or cancelled."""
    await ChatServer(config, store, bus, tokens).run(listeners, predecessor=predecessor, task_status=task_status)
