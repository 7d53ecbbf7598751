"""What is done to simulated machines on purpose: a redeploy with its handover, and a drain."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from bus.events import Leaving
from chat.drain import evenly, plan_drain, sound
from chat.handover import record
from chat.live_room import LiveRoom
from chat.room import Room
from tests.simulation.machine import HANDSHAKES

if TYPE_CHECKING:
    from bus.events import Pace
    from tests.simulation.machine import Machine
    from tests.simulation.network import Wire
    from tests.simulation.world import World

DEADLINE = 6.0  # seconds of a drain
PATIENCE = 1.0  # seconds for a tower's answer, as in chat/pace.py
LEAD = 0.25  # seconds before its moment that a client is told, as in chat/moving.py
FREEZE = 3.0  # seconds until everything that was accepted must be answered, as in chat/handover/give.py
TOLD = (0.05, 0.6)  # seconds in which the successor is told while the old one still serves
PAUSE = (0.002, 0.1)  # seconds in which nobody serves


class Redeploy:
    """Give everything of one machine to its successor: told while it serves, the difference while it is frozen."""

    def __init__(self, world: World, old: Machine, fails: bool) -> None:
        self._world = world
        self._clockwork = world.clockwork
        self._old = old
        self._fails = fails
        self._told: dict[str, record.RoomState] = {}
        self._frozen_at = 0.0
        self._unread: dict[Wire, list[tuple[object, ...]]] = {}

    def begin(self) -> None:
        """Tell the rooms as they are now."""
        self._old.upgrading = True
        self._clockwork.note("redeploy", self._old.id)
        for live in self._old.rooms.values():
            self._told[live.order.name] = self._state(live)
        self._clockwork.after(self._clockwork.between(*TOLD), self._freeze)

    def _state(self, live: LiveRoom) -> record.RoomState:
        order, presence = live.order, live.presence.state(self._clockwork.now)
        window = order.since(order.window_start) or []
        state = record.RoomState(
            order.name, order.id, order.epoch, order.head, order.known, window, {}, [], presence
        )  # fmt: skip
        # As it comes out at the other end: nothing may be shared by two processes.
        told = record.decode_from_giver(record.encode(record.Told(rooms=[state])))
        assert isinstance(told, record.Told)
        return told.rooms[0]

    def _freeze(self) -> None:
        if not self._old.alive or self._old.state != "ready":
            self._old.upgrading = False
            return
        self._old.frozen = True
        self._frozen_at = self._clockwork.now
        for wire_ in (*self._old.wires, *self._old.newcomers):
            wire_.held = []
        self._wait()

    def _wait(self) -> None:
        """Until everything that was read is answered."""
        if not self._old.alive:
            return
        if not self._old.idle:
            if self._clockwork.now - self._frozen_at > FREEZE:
                self._take_back("it was not idle in time")
            else:
                self._clockwork.after(0.002, self._wait)
            return
        if self._fails:
            self._clockwork.after(self._clockwork.between(*PAUSE), self._take_back, "the successor died")
            return
        self._hand()

    def _take_back(self, why: str) -> None:
        if self._old.alive:
            self._clockwork.note("taken back", self._old.id, why)
            self._old.frozen = self._old.upgrading = False
            self._release(self._old)
            self._old.missed()

    def _release(self, machine: Machine) -> None:
        for wire_ in (*machine.wires, *machine.newcomers):
            held, wire_.held = wire_.held or [], None
            for frame in held:
                machine.hear(wire_, frame)

    def _hand(self) -> None:
        """The old one does nothing more; after a pause the new one has it all."""
        old = self._old
        changes = [self._change(live) for live in old.rooms.values() if live.order.name in self._told]
        new = [self._state(live) for live in old.rooms.values() if live.order.name not in self._told]
        self.goodbye(old)
        old.alive = False
        self._world.hints.detach(old)
        successor = self._world.successor(old)
        for wire_ in (*old.wires, *old.newcomers):
            wire_.machine = successor
            successor.newcomers[wire_] = None  # its descriptors are there already: if it dies they are closed
        self._clockwork.after(self._clockwork.between(*PAUSE), self._begin, successor, changes, new)

    def goodbye(self, old: Machine) -> None:
        """Nothing: whoever has given everything away has not stopped."""

    def _change(self, live: LiveRoom) -> record.RoomChange:
        order, told = live.order, self._told[live.order.name]
        bodies = order.since(told.head)
        presence = live.presence.state(self._clockwork.now)
        return record.RoomChange(order.name, order.head, order.known, bodies, None, [], presence)

    def _begin(self, successor: Machine, changes: list[record.RoomChange], new: list[record.RoomState]) -> None:
        if not successor.alive:
            return
        now = self._clockwork.now
        for state in (*self._told.values(), *new):
            room = Room(state.name, state.id, state.epoch, state.head, state.window)
            room.expect(state.known)
            live = successor.rooms[state.name] = LiveRoom(room, {})
            live.presence.restore(state.presence, now)
        for change in changes:
            live = successor.rooms[change.name]
            if change.bodies is None:
                live.order.jump(change.head)
            else:
                live.order.offer(change.head - len(change.bodies) + 1, change.bodies)
            live.order.expect(change.known)
            assert change.presence is not None
            live.presence.restore(change.presence, now)
        for wire_ in [one for one in self._old.wires if one in successor.newcomers]:
            successor.wires[wire_] = successor.newcomers.pop(wire_)
            for name in wire_.rooms:
                live = successor.rooms[name]
                live.members[wire_] = wire_  # a wire is session and outbox in one
                live.presence.adopt(wire_.user)
        for live in successor.rooms.values():
            live.presence.doubt(now)
            for origin in live.presence.origins():
                successor.peers.heard(origin, now)
        self._clockwork.note("handed over to", successor.boot, len(successor.wires), "sockets")
        successor.frozen = successor.upgrading = False
        successor.start()
        self._release(successor)
        successor.missed()


class Drain:
    """Move everybody from one machine to others, each at its moment; then it is gone, and later there is a new one.

    A tower is asked how fast and where to, as chat/pace.py does; without its answer it is found by what others say.
    """

    def __init__(self, world: World, machine: Machine) -> None:
        self._world = world
        self._clockwork = world.clockwork
        self._machine = machine
        self._ask = f"ask of {machine.boot}"
        self._planned = False

    def begin(self) -> None:
        """Say so, and ask."""
        machine, now = self._machine, self._clockwork.now
        if machine.state != "ready" or not machine.alive or machine.upgrading:
            return
        self._clockwork.note("drain", machine.id)
        machine.change_to("draining")
        self._clockwork.after(DEADLINE, self._stop)
        if machine.others.ready(now) and self._world.hints.up:
            machine.pace_heard = self._answered
            leaving = Leaving(machine.id, machine.boot, self._ask, len(machine.wires), DEADLINE, made_at=now)
            self._world.hints.publish(machine, leaving)
            self._clockwork.after(PATIENCE, self._plan, None)
        else:
            self._plan(None)

    def _answered(self, pace: Pace) -> None:
        if pace.ask == self._ask and pace.id == self._machine.id:
            self._plan(pace)

    def _plan(self, answer: Pace | None) -> None:
        machine, now = self._machine, self._clockwork.now
        if self._planned or not machine.alive:
            return
        self._planned = True
        others = machine.others.ready(now)
        pace, targets = machine.others.pace(now) or HANDSHAKES, evenly(machine.others.urls(now))
        if answer is not None:
            if math.isfinite(answer.per_second) and answer.per_second > 0.0:
                pace = answer.per_second
            targets = sound(answer.targets, self._world.url_of(machine.id)) or (targets if answer.targets else ())
        wires = list(machine.wires)
        plan = plan_drain(len(wires), DEADLINE - PATIENCE, pace, taken_over=bool(others), targets=targets)
        for index, (wire_, url) in enumerate(zip(wires, plan.urls(), strict=False)):
            moment = plan.moment(index)
            self._clockwork.after(max(0.0, moment - LEAD), self.tell, wire_, min(moment, LEAD), url)
            self._clockwork.after(moment + plan.grace + (0.0 if plan.grace else 0.1), self._end, wire_)

    def tell(self, wire_: Wire, wait: float, url: str | None) -> None:
        """Tell one client when, and where to."""
        if self._machine.alive and wire_ in self._machine.wires:
            to = self._machine.id if url is None else self._world.id_of(url)
            self._world.judge_target(to, self._machine)
            wire_.down(("moving", wait, to))

    def _end(self, wire_: Wire) -> None:
        if self._machine.alive and wire_ in self._machine.wires:
            self._machine.lost(wire_)
            wire_.close(1012)

    def _stop(self) -> None:
        machine = self._machine
        if not machine.alive:
            return
        for wire_ in list(machine.wires):
            self._end(wire_)
        for wire_ in list(machine.newcomers):
            machine.lost(wire_)
            wire_.close(1012)
        if not machine.idle:
            self._clockwork.after(0.01, self._stop)
            return
        machine.tick()
        machine.change_to("stopped")
        machine.alive = False
        self._world.hints.detach(machine)
        self._clockwork.after(self._clockwork.between(0.3, 2.0), self._world.boot, machine.id)
