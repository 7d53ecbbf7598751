"""One simulated server: the real Room and Presence machines, and around them what chat's shells do, without a loop.

What stands here is what chat/session.py, joining.py, hub.py, committer.py, gaps.py and roster.py do with the pure
machines, in the same order. Where they wait, a call is put for later.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from bus.events import Asked, Beat, Committed, Event, Members, Pace
from chat import wire
from chat.joining import ahead, start
from chat.live_room import LiveRoom
from chat.others import Others
from chat.peers import Peers
from chat.room import Room
from tests.simulation.storage import Draft

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.simulation.network import Frame, Wire
    from tests.simulation.storage import Outcome
    from tests.simulation.world import World

RECENT = 6  # messages read with a room
PAGE = 4  # messages a read of history
PATIENCE = 0.03  # seconds before a hole is read from the store, as in chat/gaps.py
HEADS = 1.0  # seconds between looks at the heads
TICK = 0.2  # seconds between tellings of presence
BEAT = 2.0  # seconds
REACH = 5.0  # seconds for a room to get to the position that a client names
HANDSHAKES = 20.0  # a second, that it says it takes
BATCH = 8  # messages a transaction: small, so that there are many


class Machine:
    """One start of one server. It lives until it is `killed`, has `stopped`, or has given everything away."""

    def __init__(self, world: World, id: str, boot: str) -> None:
        self.world = world
        self.clockwork = world.clockwork
        self.id = id
        self.boot = boot
        self.state = "ready"
        self.alive = True
        self.frozen = False  # nothing is read from clients
        self.upgrading = False  # one at a time
        self.rooms: dict[str, LiveRoom] = {}
        self.wires: dict[Wire, None] = {}  # sessions
        self.newcomers: dict[Wire, None] = {}  # connections that have not said hello
        self.joining = 0  # joins under way
        self.peers = Peers()
        self.others = Others(id, world.url_of(id))
        self.pace_heard: Callable[[Pace], None] = lambda pace: None
        self.started_at = world.clockwork.now + 0.001 * world.boots
        self.changed_at = world.clockwork.now  # when its state changed last
        self._loading: dict[str, list[Callable[[LiveRoom], None]]] = {}
        self._loading_heads: dict[str, int] = {}
        self._queue: deque[tuple[Draft, Wire]] = deque()
        self._committing: list[tuple[Draft, Wire]] = []

    def start(self) -> None:
        """Hear the bus, and begin with everything that happens again and again."""
        self.world.hints.attach(self)
        self._say_so()
        for period, call in ((TICK, self.tick), (BEAT, self._beat), (HEADS, self._look)):
            self.clockwork.after(self.clockwork.between(0.0, period), self._again, period, call)

    def _again(self, period: float, call: Callable[[], None]) -> None:
        if self.alive:
            call()
            self.clockwork.after(period, self._again, period, call)

    def kill(self) -> None:
        """kill -9: what is in the database's hands may still be done, and nobody hears of it."""
        self.alive = False
        self.world.hints.detach(self)
        for wire_ in (*self.wires, *self.newcomers):
            wire_.machine = None
            wire_.cut()
        self.wires.clear()
        self.newcomers.clear()

    # --- clients -----------------------------------------------------------------------------------------------

    def hear(self, wire_: Wire, frame: Frame) -> None:
        """A frame arrived."""
        if not self.alive:
            return
        match frame:
            case ("hello", user, resume):
                if self.state != "ready":
                    wire_.close(1012)
                    return
                wire_.user = user
                self.newcomers.pop(wire_, None)
                self.wires[wire_] = None
                wire_.down(("welcome",))
                for room, position in resume.items():
                    self._join(wire_, wire.Join(room, position))
            case ("join", room, after, limit):
                self._join(wire_, wire.Join(room, after, limit))
            case ("send", room, nonce, text):
                if room in wire_.rooms:
                    self._queue.append((Draft(room, wire_.user, nonce, text), wire_))
                    self._commit()
                else:
                    wire_.down(("error", nonce))

    def lost(self, wire_: Wire) -> None:
        """A client is gone."""
        self.newcomers.pop(wire_, None)
        if self.wires.pop(wire_, 0) is None:
            for room in sorted(wire_.rooms):
                self._leave(wire_, room)

    def _close(self, wire_: Wire, code: int) -> None:
        self.lost(wire_)
        wire_.close(code)

    # --- rooms -------------------------------------------------------------------------------------------------

    def with_room(self, name: str, call: Callable[[LiveRoom], None]) -> None:
        """Call with the room, now or when it has been read."""
        live = self.rooms.get(name)
        if live is not None:
            call(live)
        elif name in self._loading:
            self._loading[name].append(call)
        else:
            self._loading[name] = [call]
            self._load(name)

    def _load(self, name: str) -> None:
        self.world.storage.live(name, RECENT, lambda found: self._loaded(name, found))

    def _loaded(self, name: str, found: tuple[str, int, list[bytes]] | None) -> None:
        if not self.alive or name in self.rooms:
            return
        if found is None:
            self.clockwork.after(0.5, self._load, name)
            return
        epoch, head, recent = found
        live = self.rooms[name] = LiveRoom(Room(name, self.world.number(name), epoch, head, recent), {})
        live.order.expect(self._loading_heads.pop(name, 0))
        self._watch(live)
        self.world.hints.publish(self, Asked(name))
        for call in self._loading.pop(name, ()):
            call(live)

    def _join(self, wire_: Wire, frame: wire.Join) -> None:
        self.joining += 1
        self.with_room(frame.room, lambda live: self._join_live(wire_, frame, live, self.clockwork.now + REACH))

    def _join_live(self, wire_: Wire, frame: wire.Join, live: LiveRoom, until: float) -> None:
        if not self.alive or not wire_.open or wire_ not in self.wires or wire_.machine is not self:
            self.joining -= 1
        elif ahead(frame, live):
            if self.clockwork.now > until:
                self.joining -= 1
                wire_.down(("error", frame.room))
                return
            self._look()
            self.clockwork.after(PATIENCE, self._join_live, wire_, frame, live, until)
        else:
            if frame.room in wire_.rooms:
                self._leave(wire_, frame.room)
            position, gap = start(frame, live)
            self._catch_up(wire_, live, position, gap, True)

    def _catch_up(self, wire_: Wire, live: LiveRoom, position: int, gap: bool, first: bool) -> None:
        """From the window if it reaches; else page by page."""
        rest = live.order.since(position)
        if rest is not None:
            self.joining -= 1
            self._enter(wire_, live)
            self._post(wire_, live, rest, gap, first)
            return

        def read(page: list[bytes] | None) -> None:
            if not self.alive or wire_ not in self.wires:
                self.joining -= 1
            elif not page:
                self.joining -= 1
                wire_.down(("error", live.order.name))
            else:
                self._post(wire_, live, page, gap, first)
                self._catch_up(wire_, live, position + len(page), False, False)

        # Never beyond the head: the rest comes by fan-out.
        self.world.storage.read(live.order.name, position, min(PAGE, live.order.head - position), read)

    def _post(self, wire_: Wire, live: LiveRoom, bodies: Sequence[bytes], gap: bool, first: bool) -> None:
        order = live.order
        if first:
            members = tuple(user for user, _ in live.presence.members())
            wire_.down(("joined", order.name, order.epoch, order.head, tuple(bodies), gap, members))
        elif bodies:
            wire_.down(("messages", order.name, tuple(bodies)))

    def _enter(self, wire_: Wire, live: LiveRoom) -> None:
        wire_.rooms.add(live.order.name)
        live.members[wire_] = wire_  # a wire is session and outbox in one
        if live.presence.enter(wire_.user, wire_.user):
            live.news[wire_.user] = wire_.user

    def _leave(self, wire_: Wire, room: str) -> None:
        wire_.rooms.discard(room)
        live = self.rooms[room]
        del live.members[wire_]
        if live.presence.leave(wire_.user, self.clockwork.now):
            live.news[wire_.user] = None

    # --- messages ----------------------------------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Whether nothing that was accepted is still to be answered."""
        return not self._queue and not self._committing and not self.joining

    def _commit(self) -> None:
        if self._committing or not self._queue or not self.alive:
            return
        self._committing = [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]
        self._append()

    def _append(self) -> None:
        if self.alive:
            self.world.storage.append([draft for draft, _ in self._committing], self._appended)

    def _appended(self, outcomes: list[Outcome] | None, known: bool) -> None:
        if not self.alive:
            return
        if outcomes is None and not known:
            self.clockwork.after(0.05, self._append)  # the same nonces: the answer says what became of it
            return
        batch, self._committing = self._committing, []
        if outcomes is None:
            for draft, wire_ in batch:
                wire_.down(("error", draft.nonce))
        else:
            self._settle(batch, outcomes)
        self._commit()

    def _settle(self, batch: list[tuple[Draft, Wire]], outcomes: list[Outcome]) -> None:
        runs: dict[str, tuple[list[int], dict[Wire, list[Frame]]]] = {}
        for (draft, wire_), outcome in zip(batch, outcomes, strict=True):
            seqs, acks = runs.setdefault(draft.room, ([], {}))
            acks.setdefault(wire_, []).append(("ack", draft.room, draft.nonce, outcome.seq))
            if outcome.fresh:
                seqs.append(outcome.seq)
            else:
                self.with_room(draft.room, partial(self._expect, seq=outcome.seq))
        for room, (seqs, acks) in runs.items():
            for wire_, frames in acks.items():
                for frame in frames:
                    wire_.down(frame)
            if seqs and (live := self.rooms.get(room)) is not None:
                bodies = self.world.storage.tables[room].bodies[seqs[0] - 1 : seqs[-1]]
                self.deliver(live, seqs[0], bodies)
                event = Committed(room, live.order.id, live.order.epoch, seqs[0], bodies)
                self.world.hints.publish(self, event)

    def deliver(self, live: LiveRoom, first_seq: int, bodies: Sequence[bytes]) -> None:
        """Take messages into the room's order, and tell the members what follows."""
        ready = live.order.offer(first_seq, bodies)
        if ready:
            for wire_ in live.members:
                wire_.down(("messages", live.order.name, tuple(ready)))
        self._watch(live)

    def _expect(self, live: LiveRoom, seq: int) -> None:
        live.order.expect(seq)
        self._watch(live)

    def _watch(self, live: LiveRoom) -> None:
        if live.order.missing() is not None and not live.filling:
            live.filling = True
            self.clockwork.after(PATIENCE, self._fill, live)

    def _fill(self, live: LiveRoom) -> None:
        hole = live.order.missing()
        if hole is None or not self.alive:
            live.filling = False
            return

        def read(bodies: list[bytes] | None) -> None:
            if bodies and self.alive:
                self.deliver(live, hole[0], bodies)
            self.clockwork.after(0.0 if bodies else 0.3, self._fill, live)

        self.world.storage.read(live.order.name, hole[0] - 1, PAGE, read)

    def _look(self) -> None:
        def found(heads: dict[str, int] | None) -> None:
            if self.alive and heads is not None:
                for name, live in self.rooms.items():
                    self._expect(live, heads[name])

        self.world.storage.heads(found)

    # --- other machines ----------------------------------------------------------------------------------------

    def heard(self, origin: str, event: Event) -> None:
        """An event of another boot."""
        self.peers.heard(origin, self.clockwork.now)
        if isinstance(event, Beat):
            self.others.heard(event, self.clockwork.now, self.clockwork.now)
            if event.state == "stopped":
                self._drop(origin)
            return
        if isinstance(event, Pace):
            self.pace_heard(event)
        if not event.room:
            return
        live = self.rooms.get(event.room)
        if live is None:
            if isinstance(event, Committed) and event.room in self._loading:
                last = event.first_seq + len(event.bodies) - 1
                self._loading_heads[event.room] = max(last, self._loading_heads.get(event.room, 0))
            return
        if isinstance(event, Committed) and event.epoch == live.order.epoch:
            self.deliver(live, event.first_seq, event.bodies)
        elif isinstance(event, Asked):
            self._answer(live)
        elif isinstance(event, Members):
            if event.whole:
                live.presence.set_elsewhere(origin, event.joined, self.clockwork.now)
            for user, name in event.joined:
                live.presence.enter_elsewhere(origin, user, name)
            for user in event.left:
                live.presence.leave_elsewhere(origin, user, self.clockwork.now)

    def _answer(self, live: LiveRoom) -> None:
        if here := live.presence.here():
            self.world.hints.publish(self, Members(live.order.name, here, [], whole=True))

    def missed(self) -> None:
        """Events may have been lost."""
        if self.alive and not self.frozen:
            self._look()
            for live in self.rooms.values():
                self.world.hints.publish(self, Asked(live.order.name))
                self._answer(live)

    def _drop(self, origin: str) -> None:
        self.peers.ended(origin)
        for live in self.rooms.values():
            live.presence.drop_origin(origin, self.clockwork.now)

    def change_to(self, state: str) -> None:
        """Be in another state, and say so at once."""
        self.state, self.changed_at = state, self.clockwork.now
        self._say_so()

    def _say_so(self) -> None:
        now = self.clockwork.now
        url, sessions = self.world.url_of(self.id), len(self.wires)
        beat = Beat(
            self.id, self.boot, url, "", self.state, sessions, HANDSHAKES, made_at=now, started_at=self.started_at
        )  # fmt: skip
        self.world.hints.publish(self, beat)

    def _beat(self) -> None:
        if not self.frozen:
            self._say_so()
        self.peers.bus(self.world.hints.up, self.clockwork.now)
        for origin in self.peers.expired(self.clockwork.now):
            self._drop(origin)

    def tick(self) -> None:
        """Tell what became of presence."""
        if self.frozen:
            return
        now = self.clockwork.now
        for name, live in self.rooms.items():
            if live.news:
                joined = [(user, user) for user, here in live.news.items() if here is not None]
                left = [user for user, here in live.news.items() if here is None]
                live.news = {}
                self.world.hints.publish(self, Members(name, joined, left))
            due = live.presence.due()
            if due is None or due > now:
                continue
            came, went = live.presence.changes(now)
            if came or went:
                frame = ("presence", name, tuple(sorted(user for user, _ in came)), tuple(sorted(went)))
                for wire_ in live.members:
                    wire_.down(frame)
