"""One simulated client: it does what the wire asks, as the audit's own does, and tells the checker all it sees."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from belfry.audit.backoff import Backoff
from belfry.audit.observation import Acked, Closed, Joined, Position, Saw, Sent, Told
from chat import wire
from tests.simulation.network import Wire

if TYPE_CHECKING:
    from tests.simulation.network import Frame
    from tests.simulation.world import World

LIMIT = 3  # messages asked for at a first join: small, so that a join starts in the middle
JOIN_TIMEOUT = 20.0  # seconds from a dial to all rooms joined
RETRY = 0.3  # seconds to wait after a temporary refusal
WINDOW = 1.0  # seconds over which the first retry is spread
UNANSWERED = 20

_read = msgspec.json.Decoder(wire.Message).decode


class Customer:
    """It keeps its rooms, positions and unanswered sends over any number of connections."""

    def __init__(self, world: World, name: str, rooms: list[str], home: str) -> None:
        self.world = world
        self.name = name
        self.user = f"u-{name}"
        self.rooms = rooms
        self.positions: dict[str, Position] = {}
        self.waiting: dict[str, tuple[str, str]] = {}  # nonce -> (room, text), in the order of sending
        self.wire: Wire | None = None  # the newest that has all its rooms
        self._trying: Wire | None = None  # a newer one, on its way
        self._home = home
        self._asked: dict[Wire, dict[str, Position | None]] = {}
        self._epochs: dict[Wire, dict[str, str]] = {}
        self._posted: dict[Wire, set[str]] = {}
        self._moving: Wire | None = None  # the one that was told to move
        self._planned: set[Wire] = set()
        self._dials = self._sends = 0
        self._backoff = Backoff(world.clockwork.rng, base=0.2, cap=2.0)

    @property
    def connected(self) -> bool:
        """Whether it is in all its rooms."""
        return self.wire is not None and self.wire.open

    def say(self) -> None:
        """Send something new."""
        if len(self.waiting) < UNANSWERED:
            self._sends += 1
            room, nonce = self.world.clockwork.rng.choice(self.rooms), f"n{self._sends}"
            text = f"{nonce} of {self.name}"
            self.world.observe(Sent(self.name, room, self.user, nonce, text))
            self.waiting[nonce] = (room, text)
            if self.wire is not None:
                self._flush(self.wire)

    # --- connections -------------------------------------------------------------------------------------------

    def dial(self, to: str) -> None:
        """Open a connection; a second one while it moves."""
        if self._trying is not None:
            return
        machine = self.world.reach(to)
        if machine is None:
            self._come_back(self.world.assigned(self.user) or self.world.other(self._home))
            return
        self._dials += 1
        opened = self._trying = Wire(self.world.clockwork, self, self._dials, machine)
        self._home = machine.id
        resume = {room: self.positions[room] for room in self.rooms if room in self.positions}
        self._asked[opened] = dict(resume)
        self._epochs[opened], self._posted[opened] = {}, set()
        opened.up(("hello", self.user, resume))
        for room in self.rooms:
            if room not in resume:
                self._asked[opened][room] = None
                opened.up(("join", room, None, LIMIT))
        self.world.clockwork.after(JOIN_TIMEOUT, self._give_up, opened)

    def _give_up(self, tried: Wire) -> None:
        if self._trying is tried and tried.open:
            tried.cut()

    def _come_back(self, to: str) -> None:
        self.world.clockwork.after(self._backoff.after_failure() + 0.01, self._dial_again, to)

    def _dial_again(self, to: str) -> None:
        if not self.connected or self._moving is self.wire:
            self.dial(to)

    def closed(self, wire_: Wire, code: int) -> None:
        """A connection is over."""
        planned = code == 1000 or wire_ in self._planned
        self.world.observe(Closed(self.name, wire_.number, code, self.world.clockwork.now, planned))
        self._asked.pop(wire_, None)
        self._epochs.pop(wire_, None)
        self._posted.pop(wire_, None)
        self._planned.discard(wire_)
        if wire_ is self._trying:
            self._trying = None
            self._come_back(self.world.other(self._home))
        elif wire_ is self.wire:
            self.wire = None
            if self._trying is None and wire_ is not self._moving:
                self.world.clockwork.after(self.world.clockwork.between(0.0, WINDOW), self._dial_again, self._home)

    def _ready(self, wire_: Wire) -> None:
        """All rooms are joined: this is the one now, and the one before is left."""
        if wire_ is not self._trying:
            return
        before, self.wire, self._trying = self.wire, wire_, None
        self._moving = None
        self._backoff.failures = 0
        self._flush(wire_)
        if before is not None:
            before.leave()

    def _flush(self, wire_: Wire) -> None:
        for nonce, (room, text) in self.waiting.items():
            if nonce not in self._posted[wire_] and room in self._epochs[wire_]:
                self._posted[wire_].add(nonce)
                wire_.up(("send", room, nonce, text))

    # --- frames ------------------------------------------------------------------------------------------------

    def hear(self, wire_: Wire, frame: Frame) -> None:
        """A frame arrived."""
        match frame:
            case ("messages", room, bodies):
                for body in bodies:
                    self._saw(wire_, room, body)
            case ("ack", room, nonce, seq):
                self.world.observe(Acked(self.name, wire_.number, room, nonce, seq))
                self.waiting.pop(nonce, None)
            case ("joined", room, epoch, head, bodies, gap, _):
                self._joined(wire_, room, epoch, head, bodies, gap)
            case ("presence", room, joined, left):
                self.world.observe(Told(self.name, wire_.number, room, joined, left, self.world.clockwork.now))
            case ("error", about):
                self.world.clockwork.after(RETRY, self._again, wire_, about)
            case ("moving", seconds, to):
                if wire_ is self.wire or wire_ is self._trying:
                    self._planned.add(wire_)
                if wire_ is self.wire:
                    self._moving = wire_
                    self.world.clockwork.after(seconds, self._move, wire_, to)
            case ("close", code):
                self.closed(wire_, code)

    def _move(self, wire_: Wire, to: str) -> None:
        if self._moving is wire_:
            self.dial(to)

    def _joined(self, wire_: Wire, room: str, epoch: str, head: int, bodies: tuple[bytes, ...], gap: bool) -> None:
        position = self.positions.get(room)
        after = self._asked[wire_].pop(room, position)
        now = self.world.clockwork.now
        self.world.observe(Joined(self.name, wire_.number, room, epoch, head, after, LIMIT, gap, self.user, now))
        self._epochs[wire_][room] = epoch
        if after is None or gap or after[0] != epoch:
            start = _read(bodies[0]).seq - 1 if bodies else max(0, head - LIMIT)
            if position is None or position[0] != epoch or position[1] < start:
                self.positions[room] = (epoch, start)
        for body in bodies:
            self._saw(wire_, room, body)
        self._flush(wire_)
        if not self._asked[wire_]:
            self._ready(wire_)

    def _saw(self, wire_: Wire, room: str, body: bytes) -> None:
        message = _read(body)
        epoch = self._epochs[wire_].get(room, "")
        self.world.observe(Saw(self.name, wire_.number, room, epoch, message.seq, message.user.id, message.text))
        position = self.positions.get(room)
        if position is not None and position[0] == epoch and message.seq > position[1]:
            self.positions[room] = (epoch, message.seq)

    def _again(self, wire_: Wire, about: str) -> None:
        if not wire_.open:
            return
        if about in self.waiting:
            self._posted[wire_].discard(about)
            self._flush(wire_)
        elif about in self.rooms:
            self._asked[wire_][about] = self.positions.get(about)
            wire_.up(("join", about, self.positions.get(about), LIMIT))
