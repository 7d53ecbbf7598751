"""The rooms that live on this server: loaded once, shared by all members, forgotten when nobody is left."""

from __future__ import annotations

import contextlib
import random
import time
from typing import TYPE_CHECKING

import trio

from bus.events import Committed, Members, Read, RoomDeleted
from bus.events import Typing as TypingEvent
from chat import wire
from chat.errors import Refused
from chat.fanout import fan_out, fan_out_after_acks, message_frames
from chat.frames import text_frame
from chat.presence import NAMED, Presence
from chat.room import WINDOW_MESSAGES, Room
from db.errors import StoreUnavailable
from db.records import Mark

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import msgspec

    from bus.bus import Bus
    from bus.events import Event
    from chat.metrics import Metrics
    from chat.outbox import Outbox
    from chat.session import Session
    from db.records import LiveRoom as StoredRoom
    from db.records import MessageRecord, RoomRecord
    from db.store import Store

MARKS = 2_000  # read marks kept a room: the newest; 100 B each
IDLE_ROOM = 30.0  # seconds a room without members stays: a wave of resumes after a crash finds it
TICK = 0.1  # seconds between presence tellings in a small room
TICK_PER_MEMBER = 0.000_5  # and longer in large ones: 5,000 members are told each 2.5 s
MARKS_FLUSH = 1.0  # seconds; a mark lost in a crash is a message shown as unread once more
HOLE_PATIENCE = 0.03  # seconds: what the bus delivers late usually comes within this
HEADS_TICK = 0.25  # seconds
HEADS_OFTEN = 0.5  # seconds between looks at the rooms' heads while the bus is down: bounds the latency without it
HEADS_RARELY = 5.0  # seconds while it works: finds the last message of a room whose event was lost
BUS_QUIET = 0.5  # seconds without a proof after which the bus counts as down
REACH_PATIENCE = 5.0  # seconds
RETRY_MS = 1_000  # how soon to try again when the store cannot answer


class LiveRoom:
    """One room in memory: its order, its members here, who is present, and read marks."""

    __slots__ = (
        "filling", "idle_since", "marks", "marks_dirty", "members", "members_json", "order", "pins", "presence",
        "presence_due",
    )  # fmt: skip

    def __init__(self, stored: StoredRoom) -> None:
        room = stored.room
        self.order = Room(room.name, room.id, room.epoch, room.last_seq, map(body_of, stored.recent))
        self.members: dict[Session, Outbox] = {}
        self.members_json: bytes | None = None  # encoded for `joined`, until somebody comes or goes
        self.presence = Presence()
        self.presence_due = 0.0
        self.marks = dict(stored.marks)
        self.marks_dirty: set[str] = set()
        self.pins = 0  # sends on their way, joins that read history: it must not be forgotten meanwhile
        self.filling = False
        self.idle_since = 0.0

    @contextlib.contextmanager
    def pinned(self) -> Iterator[None]:
        """Keep the room in memory for this long."""
        self.pins += 1
        try:
            yield
        finally:
            self.pins -= 1

    def mark(self, user_id: str, seq: int) -> bool:
        """Move a user's read mark; False if it is not ahead of the old one."""
        if seq <= self.marks.get(user_id, 0):
            return False
        self.marks.pop(user_id, None)
        self.marks[user_id] = seq
        if len(self.marks) > MARKS:
            del self.marks[next(iter(self.marks))]
        return True


class _Loading:
    """A room on its way from the store, and what the others said of it meanwhile: the rows may be older than that."""

    __slots__ = ("deleted", "done", "heads")

    def __init__(self) -> None:
        self.done = trio.Event()
        self.heads: dict[str, int] = {}  # epoch -> highest number heard of
        self.deleted: set[int] = set()  # room ids


def body_of(message: MessageRecord) -> bytes:
    """A stored message as it goes into frames."""
    user = wire.User(message.user_id, message.user_name)
    return wire.encode(wire.Message(message.seq, user, message.text, message.at))


class Hub:
    """All live rooms of one server, and what it tells other servers about them."""

    def __init__(self, store: Store, bus: Bus, metrics: Metrics) -> None:
        self._store = store
        self._bus = bus
        self._metrics = metrics
        self._rooms: dict[str, LiveRoom] = {}
        self._loading: dict[str, _Loading] = {}
        self._presence_dirty: set[LiveRoom] = set()
        self._marks_dirty: set[LiveRoom] = set()
        self._holes: set[LiveRoom] = set()
        self._hole_seen = trio.Event()
        self._heads_wanted = trio.Event()
        self._heads_asked = trio.Event()  # set when the next query has been answered
        self._heads_known = False  # whether the last query was answered
        metrics.gauges["rooms_live"] = lambda: len(self._rooms)

    # --- finding rooms -----------------------------------------------------------------------------------------

    def peek(self, name: str) -> LiveRoom | None:
        """The room if it is live already."""
        return self._rooms.get(name)

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
                stored = await self._store.live_room(name, WINDOW_MESSAGES, MARKS)
                if stored is None or stored.room.id in loading.deleted:
                    raise Refused("room_missing", f'there is no room "{name}"')
                live = LiveRoom(stored)
                live.idle_since = trio.current_time()
                self._rooms[name] = live
                self.expect(live, loading.heads.get(live.order.epoch, 0))
            finally:
                self._loading.pop(name).done.set()

    async def history(self, live: LiveRoom, after: int, limit: int) -> list[bytes]:
        """Up to `limit` bodies after a position, from the store."""
        self._metrics.store_reads += 1
        rows = await self._store.messages_after(live.order.id, after, limit)
        return list(map(body_of, rows))

    # --- members -----------------------------------------------------------------------------------------------

    def enter(self, live: LiveRoom, session: Session) -> None:
        """Make the session a member; from here on it gets every message."""
        live.members[session] = session.outbox
        live.members_json = None
        if live.presence.enter(session.user.id, session.user.name):
            self._publish(Members(live.order.name, [(session.user.id, session.user.name)], [], time.time()))
        self._presence_dirty.add(live)

    def leave(self, live: LiveRoom, session: Session) -> None:
        """End a membership."""
        del live.members[session]
        live.members_json = None
        if live.presence.leave(session.user.id, trio.current_time()):
            self._publish(Members(live.order.name, [], [session.user.id], time.time()))
        self._presence_dirty.add(live)
        if not live.members:
            live.idle_since = trio.current_time()

    def members_json(self, live: LiveRoom) -> bytes | None:
        """The members as they go into `joined`; None where they are too many to name."""
        if live.presence.count > NAMED:
            return None
        if live.members_json is None:
            live.members_json = wire.encode([wire.User(i, n) for i, n in live.presence.members()])
        return live.members_json

    def typing(self, live: LiveRoom, user: wire.User) -> None:
        """Tell the room that somebody types."""
        self._tell(live, wire.Typing(live.order.name, user))
        self._publish(TypingEvent(live.order.name, user.id, user.name, time.time()))

    def read(self, live: LiveRoom, user_id: str, seq: int) -> None:
        """Move a read mark, tell the room, store it soon."""
        seq = min(seq, live.order.head)
        if live.mark(user_id, seq):
            live.marks_dirty.add(user_id)
            self._marks_dirty.add(live)
            self._tell(live, wire.Read(live.order.name, user_id, seq))
            self._publish(Read(live.order.name, user_id, seq, time.time()))

    def deleted(self, room: RoomRecord) -> None:
        """The room was deleted through this server: tell its members and the other servers."""
        self._delete(room.name, room.id)
        self._publish(RoomDeleted(room.name, room.id, time.time()))

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
        for dirty in (self._presence_dirty, self._marks_dirty, self._holes):
            dirty.discard(live)

    def _tell(self, live: LiveRoom, frame: msgspec.Struct) -> None:
        fan_out(live.members.values(), text_frame(wire.encode(frame)))

    # --- messages ----------------------------------------------------------------------------------------------

    def committed(self, live: LiveRoom, first_seq: int, bodies: Sequence[bytes], acks: Mapping[Session, bytes]) -> None:
        """Messages of ours are durable: deliver them here, in order, and tell the other servers."""
        self._offer(live, first_seq, bodies, acks)
        order = live.order
        self._publish(Committed(order.name, order.id, order.epoch, first_seq, list(bodies), time.time()))

    def _offer(self, live: LiveRoom, first_seq: int, bodies: Sequence[bytes], acks: Mapping[Session, bytes]) -> None:
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
        self._watch_hole(live)

    def expect(self, live: LiveRoom, seq: int) -> None:
        """This number is committed: if it does not come by itself, it is read from the store."""
        live.order.expect(seq)
        self._watch_hole(live)

    def _watch_hole(self, live: LiveRoom) -> None:
        if live.order.missing() is not None and not live.filling:
            self._holes.add(live)
            self._hole_seen.set()

    def _publish(self, event: Event) -> None:
        self._metrics.bus_published += 1
        self._bus.publish(event)

    def from_bus(self, origin: str, events: Sequence[Event]) -> None:
        """Take other servers' events; never blocks, never raises."""
        for event in events:
            self._metrics.bus_received += 1
            live = self._rooms.get(event.room)
            if live is None:
                self._heard_while_loading(event)
                continue
            match event:
                case Committed():
                    if event.epoch == live.order.epoch:
                        self._offer(live, event.first_seq, event.bodies, {})
                case Members():
                    for user_id, name in event.joined:
                        live.presence.enter_elsewhere(origin, user_id, name)
                    for user_id in event.left:
                        live.presence.leave_elsewhere(origin, user_id, trio.current_time())
                    live.members_json = None
                    self._presence_dirty.add(live)
                case TypingEvent():
                    self._tell(live, wire.Typing(event.room, wire.User(event.user_id, event.user_name)))
                case Read():
                    if live.mark(event.user_id, event.seq):
                        self._tell(live, wire.Read(event.room, event.user_id, event.seq))
                case RoomDeleted():
                    self._delete(event.room, event.room_id)

    def _heard_while_loading(self, event: Event) -> None:
        loading = self._loading.get(event.room)
        if loading is None:
            return
        if isinstance(event, Committed):
            last = event.first_seq + len(event.bodies) - 1
            loading.heads[event.epoch] = max(last, loading.heads.get(event.epoch, 0))
        elif isinstance(event, RoomDeleted):
            loading.deleted.add(event.room_id)

    # --- tasks -------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Tell presence, store read marks, fill holes and forget idle rooms, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._tick)
            nursery.start_soon(self._keep)
            nursery.start_soon(self._fill_holes, nursery)
            nursery.start_soon(self._watch_heads)

    async def _tick(self) -> None:
        while True:
            await trio.sleep(TICK)
            now = trio.current_time()
            for live in list(self._presence_dirty):
                self._tell_presence(live, now)

    async def _keep(self) -> None:
        # Not in _tick: a store that answers late must not hold up presence.
        while True:
            await trio.sleep(MARKS_FLUSH)
            self._forget_idle(trio.current_time())
            await self.flush_marks()

    def _tell_presence(self, live: LiveRoom, now: float) -> None:
        due = live.presence.due()
        if due is None:
            self._presence_dirty.discard(live)
            return
        if now < max(due, live.presence_due):
            return
        joined, left = live.presence.changes(now)
        live.members_json = None
        live.presence_due = now + TICK_PER_MEMBER * len(live.members)
        if not joined and not left:
            return
        count = live.presence.count
        if count > NAMED:
            joined, left = joined[:0], left[:0]
        users = [wire.User(user_id, name) for user_id, name in joined]
        self._tell(live, wire.Presence(live.order.name, users, left, count))

    def _forget_idle(self, now: float) -> None:
        for name, live in list(self._rooms.items()):
            if not live.members and not live.pins and now - live.idle_since > IDLE_ROOM:
                if live in self._presence_dirty or live in self._marks_dirty or live.filling:
                    continue
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
            await self._store.save_marks(marks)
        except StoreUnavailable:
            for live in dirty:
                live.marks_dirty |= {mark.user_id for mark in marks if mark.room_id == live.order.id}
                self._marks_dirty.add(live)

    def missed(self) -> None:
        """Events were lost, or may have been: ask the store where the rooms are."""
        self._heads_wanted.set()

    async def reach(self, live: LiveRoom, seq: int) -> None:
        """Wait until the room's head is at `seq`, if the store knows that number; a server ahead of us gave it out.

        Raises StoreUnavailable when the store cannot say so.
        """
        asked = self._heads_asked
        self._heads_wanted.set()
        await asked.wait()
        if not self._heads_known:
            raise StoreUnavailable("the rooms' heads could not be read")
        patience = trio.current_time() + REACH_PATIENCE
        # Looked at again and again: an Event to be set by every message would cost every room for this rare case.
        while live.order.head < seq <= live.order.known:
            if trio.current_time() > patience:
                raise StoreUnavailable(f"message {seq} of {live.order.name} was not found")
            await trio.sleep(HOLE_PATIENCE)

    async def _watch_heads(self) -> None:
        """Ask the store for the heads of all live rooms in one query: rarely while the bus works, often while not."""
        asked_at = trio.current_time()
        while True:
            with trio.move_on_after(HEADS_TICK):
                await self._heads_wanted.wait()
            quiet = self._bus.quiet()
            now = trio.current_time()
            if not self._heads_wanted.is_set():
                if quiet is None:
                    continue
                if now - asked_at < (HEADS_OFTEN if quiet > BUS_QUIET else HEADS_RARELY):
                    continue
            asked_at = now
            self._heads_wanted = trio.Event()
            asked, self._heads_asked = self._heads_asked, trio.Event()
            await self._ask_heads()
            asked.set()

    async def _ask_heads(self) -> None:
        rooms = {live.order.id: live for live in self._rooms.values() if live.members or live.pins}
        if not rooms:
            return
        self._metrics.head_checks += 1
        try:
            heads = await self._store.heads(list(rooms))
        except StoreUnavailable:
            self._heads_known = False
            return
        self._heads_known = True
        for room_id, live in rooms.items():
            if room_id in heads:
                self.expect(live, heads[room_id])
            elif self._rooms.get(live.order.name) is live:
                self.gone(live)

    async def _fill_holes(self, nursery: trio.Nursery) -> None:
        while True:
            await self._hole_seen.wait()
            self._hole_seen = trio.Event()
            holes, self._holes = self._holes, set()
            for live in holes:
                live.filling = True
                nursery.start_soon(self._fill, live)

    async def _fill(self, live: LiveRoom) -> None:
        """Read what is missing from the store, once for all members; patient first, since most holes close alone."""
        delay = HOLE_PATIENCE
        try:
            while True:
                await trio.sleep(delay)
                hole = live.order.missing()
                if hole is None or self._rooms.get(live.order.name) is not live:  # closed, or the room was deleted
                    return
                try:
                    bodies = await self.history(live, hole[0] - 1, WINDOW_MESSAGES)
                except StoreUnavailable:
                    delay = random.uniform(0.5, 1.0)  # seconds; many rooms must not ask at one moment
                    continue
                if bodies:
                    self._metrics.gap_fills += 1
                    self._metrics.gap_filled_messages += len(bodies)
                    self._offer(live, hole[0], bodies, {})
                    delay = 0.0
                else:
                    delay = min(2 * delay + HOLE_PATIENCE, 1.0)  # seconds; the store does not know it yet, or never
        finally:
            live.filling = False
