"""The rooms that live on this server: loaded once, shared by all members, forgotten when nobody is left."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import trio

from bus.events import (
    Asked,
    Beat,
    Committed,
    Leaving,
    Members,
    Order,
    Pace,
    Read,
    Revoked,
    Rollout,
    RoomDeleted,
    joined,
)
from bus.events import Typing as TypingEvent
from chat import wire
from chat.errors import Refused
from chat.fanout import fan_out, fan_out_after_acks, message_frames
from chat.frames import text_frame
from chat.gaps import Gaps
from chat.history import History
from chat.live_room import MARKS, LiveRoom
from chat.presence import GRACE
from chat.room import WINDOW_MESSAGES
from chat.roster import Roster
from db.errors import StoreUnavailable
from db.records import Mark

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import msgspec

    from bus.bus import Bus
    from bus.events import Event
    from chat.metrics import Metrics
    from chat.session import Session
    from db.records import RoomRecord
    from db.store import Store

IDLE_ROOM = 30.0  # seconds a room without members stays: a wave of resumes after a crash finds it
KEEP = 1.0  # seconds between storing read marks: one lost in a crash is a message shown as unread once more
FLEET = (Leaving, Pace, Order, Rollout)
HELD_EVENTS = 10_000  # of other servers, kept while living sockets are taken over: seconds of a busy fleet, 2 MB


class _Loading:
    """A room on its way from the store, and what the others said of it meanwhile: the rows may be older than that."""

    __slots__ = ("deleted", "done", "heads")

    def __init__(self) -> None:
        self.done = trio.Event()
        self.heads: dict[str, int] = {}  # epoch -> highest number heard of
        self.deleted: set[int] = set()  # room ids


class Hub:
    """All live rooms of one server, and what it tells other servers about them."""

    def __init__(self, store: Store, bus: Bus, metrics: Metrics) -> None:
        self.store = store
        self.quiet = bus.quiet
        self.revoked: Callable[[], None] = lambda: None  # called when another server revoked somebody
        self.fleet: Callable[[Event], None] = lambda event: None  # hears what is said of servers, not of rooms
        self._bus = bus
        self._metrics = metrics
        self._rooms: dict[str, LiveRoom] = {}
        self._loading: dict[str, _Loading] = {}
        self._marks_dirty: set[LiveRoom] = set()
        self._held: list[tuple[str, Sequence[Event]]] | None = None  # events that wait; None: they are taken at once
        self._silent = False
        self.others_spoke = float("-inf")  # when another server's messages came for one of our rooms, by Trio's clock
        self.gaps = Gaps(self, store, metrics, bus.quiet)
        self.history = History(store, metrics)
        self.roster = Roster(self.publish, bus.quiet)
        metrics.gauges["bus_lost"] = lambda: bus.counts.lost
        metrics.gauges["bus_skipped"] = lambda: bus.counts.skipped
        metrics.gauges["bus_reconnects"] = lambda: bus.counts.reconnects
        metrics.gauges["bus_quiet_seconds"] = lambda: bus.quiet() or 0.0
        metrics.gauges["rooms_live"] = lambda: len(self._rooms)

    # --- finding rooms -----------------------------------------------------------------------------------------

    def peek(self, name: str) -> LiveRoom | None:
        """The room if it is live already."""
        return self._rooms.get(name)

    def __len__(self) -> int:
        return len(self._rooms)

    def lives(self) -> Iterable[LiveRoom]:
        """All live rooms."""
        return self._rooms.values()

    async def live(self, name: str) -> LiveRoom:
        """The room, read from the store if need be: once, however many ask. Raises Refused, StoreUnavailable."""
        await trio.lowlevel.checkpoint()
        while True:
            live = self._rooms.get(name)
            if live is not None:
                return live
            loading = self._loading.get(name)
            if loading is not None:
                await loading.done.wait()
                continue
            loading = self._loading[name] = _Loading()
            try:
                self._metrics.store_reads += 1
                stored = await self.store.live_room(name, WINDOW_MESSAGES, MARKS)
                if stored is None or stored.room.id in loading.deleted:
                    raise Refused("room_missing", f'there is no room "{name}"')
                live = LiveRoom.of(stored)
                live.idle_since = trio.current_time()
                self._rooms[name] = live
                self.gaps.expect(live, loading.heads.get(live.order.epoch, 0))
                self.roster.ask(live)
            finally:
                self._loading.pop(name).done.set()

    # --- members -----------------------------------------------------------------------------------------------

    def enter(self, live: LiveRoom, session: Session) -> None:
        """Make the session a member; from here on it gets every message."""
        live.members[session] = session.outbox
        self.roster.enter(live, session)

    def leave(self, live: LiveRoom, session: Session) -> None:
        """End a membership."""
        del live.members[session]
        self.roster.leave(live, session)
        if not live.members:
            live.idle_since = trio.current_time()

    def typing(self, live: LiveRoom, user: wire.User) -> None:
        """Tell the room that somebody types."""
        self._tell(live, wire.Typing(live.order.name, user))
        self.publish(TypingEvent(live.order.name, user.id, user.name, time.time()))

    def read(self, live: LiveRoom, user_id: str, seq: int) -> None:
        """Move a read mark, tell the room, store it soon."""
        seq = min(seq, live.order.head)
        if live.mark(user_id, seq):
            live.marks_dirty.add(user_id)
            self._marks_dirty.add(live)
            self._tell(live, wire.Read(live.order.name, user_id, seq))
            self.publish(Read(live.order.name, user_id, seq, time.time()))

    def deleted(self, room: RoomRecord) -> None:
        """The room was deleted through this server: tell its members and the other servers."""
        self._delete(room.name, room.id)
        self.publish(RoomDeleted(room.name, room.id, time.time()))

    def gone(self, live: LiveRoom) -> None:
        """The store says that the room is no more: whoever deleted it, we had not heard."""
        self._delete(live.order.name, live.order.id)

    def _delete(self, name: str, room_id: int) -> None:
        if (loading := self._loading.get(name)) is not None:
            loading.deleted.add(room_id)
        live = self._rooms.get(name)
        if live is None or live.order.id != room_id:
            return
        del self._rooms[name]
        self._tell(live, wire.Error("room_deleted", f'the room "{name}" was deleted', False, ref=name))
        for session in live.members:
            session.rooms.pop(name, None)
        live.members.clear()
        self._marks_dirty.discard(live)
        self.roster.forget(live)
        self.gaps.forget(live)

    def _tell(self, live: LiveRoom, frame: msgspec.Struct) -> None:
        fan_out(live.members.values(), text_frame(wire.encode(frame)))

    # --- messages ----------------------------------------------------------------------------------------------

    def committed(
        self,
        live: LiveRoom,
        first_seq: int,
        bodies: Sequence[bytes],
        acks: Mapping[Session, bytes],
        *,
        apart: float = 0.0,
    ) -> None:
        """Messages of ours are durable: deliver them here, in order, and tell the other servers (`apart`: see Bus)."""
        self._deliver(live, first_seq, bodies, acks)
        order = live.order
        self.publish(Committed(order.name, order.id, order.epoch, first_seq, list(bodies), time.time()), apart)

    def offer(self, live: LiveRoom, first_seq: int, bodies: Sequence[bytes]) -> None:
        """Messages that others committed."""
        self._deliver(live, first_seq, bodies, {})

    def _deliver(self, live: LiveRoom, first_seq: int, bodies: Sequence[bytes], acks: Mapping[Session, bytes]) -> None:
        ready = live.order.offer(first_seq, bodies)
        members = live.members
        if ready:
            frames = message_frames(live.order.name, ready)
            self._metrics.deliveries += len(ready) * len(members)
            if acks:
                fan_out_after_acks(members, frames, acks)  # type: ignore[arg-type]  # Mapping is invariant in its key
            else:
                fan_out(members.values(), frames)
        for session, ack in acks.items():
            if not ready or session not in members:
                session.outbox.post(ack)
        self.gaps.watch(live)

    # --- other servers -----------------------------------------------------------------------------------------

    def publish(self, event: Event, apart: float = 0.0) -> None:
        """Tell the other servers; never blocks, never raises."""
        if self._silent:
            return
        self._metrics.bus_published += 1
        self._bus.publish(event, apart)

    def missed(self) -> None:
        """Events were lost, or may have been: ask the store for messages, and the others for members."""
        if self._silent or self._held is not None:  # whoever has the rooms looks; we shall, when we have them
            return
        self.gaps.look()
        for live in self._rooms.values():
            self.roster.ask(live)
            self.roster.asked(live)

    def from_bus(self, origin: str, events: Sequence[Event]) -> None:
        """Take other servers' events; never blocks, never raises."""
        if self._silent:
            return
        if self._held is not None:
            self._held.append((origin, events))
            del self._held[:-HELD_EVENTS]  # what falls out is found by numbers and by the look at all heads
            return
        self.roster.peers.heard(origin, trio.current_time())
        self._metrics.bus_received += len(events)
        for event in joined(events):
            if isinstance(event, Revoked):
                self.revoked()
                continue
            if isinstance(event, Beat):
                if event.state == "stopped":
                    self.roster.drop(origin, self._rooms.values(), GRACE)
                self.fleet(event)
                continue
            if isinstance(event, FLEET):
                self.fleet(event)
                continue
            live = self._rooms.get(event.room)
            if live is None:
                self._heard_while_loading(event)
                continue
            match event:
                case Committed():
                    if event.epoch == live.order.epoch:
                        self.others_spoke = trio.current_time()
                        self.gaps.told(live, event.first_seq)
                        self.offer(live, event.first_seq, event.bodies)
                case Members():
                    self.roster.heard(origin, live, event)
                case Asked():
                    self.roster.asked(live, doubt=event.doubt)
                case TypingEvent():
                    self._tell(live, wire.Typing(event.room, wire.User(event.user_id, event.user_name)))
                case Read():
                    if live.mark(event.user_id, event.seq):
                        self._tell(live, wire.Read(event.room, event.user_id, event.seq))
                case RoomDeleted():
                    self._delete(event.room, event.room_id)

    def _heard_while_loading(self, event: Event) -> None:
        loading = self._loading.get(event.room)
        if isinstance(event, Asked):
            if event.doubt:
                self.roster.asked_of_none(event.room)
            return
        if loading is None:
            return
        if isinstance(event, Committed):
            last = event.first_seq + len(event.bodies) - 1
            loading.heads[event.epoch] = max(last, loading.heads.get(event.epoch, 0))
        elif isinstance(event, RoomDeleted):
            loading.deleted.add(event.room_id)

    # --- handed from process to process ------------------------------------------------------------------------

    def hold(self) -> None:
        """Say nothing to members and keep the other servers' events: the sockets are between two processes."""
        self._held = []
        self.roster.held = True

    def adopt(self, live: LiveRoom) -> None:
        """Take a room over, instead of any that we had under its name."""
        live.idle_since = trio.current_time()
        self._rooms[live.order.name] = live

    def disown(self, name: str) -> None:
        """Forget a room that its former process has forgotten meanwhile."""
        self._rooms.pop(name, None)

    def mark_dirty(self, live: LiveRoom, users: Iterable[str]) -> None:
        """These read marks moved and are not in the store yet."""
        live.marks_dirty.update(users)
        if live.marks_dirty:
            self._marks_dirty.add(live)

    def release(self) -> None:
        """The sockets are ours, or are ours still: take what was kept."""
        held, self._held = self._held or [], None
        self.roster.held = False
        for origin, events in held:
            self.from_bus(origin, events)

    def taken_over(self) -> None:
        """The rooms came from another process: tell the other servers who is here now under our name."""
        for live in self._rooms.values():
            self.roster.taken_over(live)
            self.gaps.watch(live)
        self.missed()

    def silence(self) -> None:
        """The sockets and rooms are another process's: say nothing of them any more, hear nothing."""
        self._silent = True
        self._marks_dirty.clear()

    # --- tasks -------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Tell presence, store read marks, fill holes and forget idle rooms, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.roster.tick)
            nursery.start_soon(self.gaps.run)
            nursery.start_soon(self._keep)

    async def _keep(self) -> None:
        while True:
            await trio.sleep(KEEP)
            now = trio.current_time()
            peers = self.roster.peers
            peers.bus(self.gaps.bus_works(), now)
            for origin in peers.expired(now):
                self.roster.drop(origin, self._rooms.values())
            self._forget_idle(now)
            self.history.forget_old(now)
            await self.flush_marks()

    def _forget_idle(self, now: float) -> None:
        for name, live in list(self._rooms.items()):
            if live.members or live.pins or live.filling or live in self._marks_dirty or not self.roster.settled(live):
                continue
            if now - live.idle_since > IDLE_ROOM:
                del self._rooms[name]

    async def flush_marks(self) -> None:
        """Store the read marks that moved; what the store cannot take now is tried again later."""
        dirty, self._marks_dirty = self._marks_dirty, set()
        marks = []
        for live in dirty:
            marks += [Mark(live.order.id, user, live.marks[user]) for user in live.marks_dirty if user in live.marks]
            live.marks_dirty = set()
        if not marks:
            return
        try:
            await self.store.save_marks(marks)
        except StoreUnavailable:
            for live in dirty:
                live.marks_dirty |= {mark.user_id for mark in marks if mark.room_id == live.order.id}
                self._marks_dirty.add(live)
