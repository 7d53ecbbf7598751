"""The simulated network: connections that keep their order until they are cut, and a bus that may keep nothing."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from bus.events import Beat

if TYPE_CHECKING:
    from bus.events import Event
    from tests.simulation.clockwork import Clockwork
    from tests.simulation.controller import Controller
    from tests.simulation.customer import Customer
    from tests.simulation.machine import Machine

Frame = tuple[Any, ...]

LATE = 0.05  # of the records on the bus: seconds late, not milliseconds


class Wire:
    """One connection of one client to one machine: both directions in order, each at its own pace."""

    __slots__ = (
        "_clockwork",
        "_free_down",
        "_free_up",
        "customer",
        "held",
        "machine",
        "number",
        "open",
        "rooms",
        "user",
    )  # fmt: skip

    def __init__(self, clockwork: Clockwork, customer: Customer, number: int, machine: Machine) -> None:
        self._clockwork = clockwork
        self._free_up = self._free_down = 0.0  # when the last frame on its way arrives
        self.customer = customer
        self.number = number
        self.machine: Machine | None = machine  # who holds the server's end; another one after a handover
        self.open = True
        # Frames that arrived while the server's end is between two processes.
        self.held: list[Frame] | None = [] if machine.frozen else None
        self.user = ""  # since hello
        self.rooms: set[str] = set()  # what the server's end is a member of
        machine.newcomers[self] = None

    def up(self, frame: Frame) -> None:
        """Client to server."""
        if self.open:
            self._free_up = max(self._free_up, self._clockwork.now + self._clockwork.between(0.000_2, 0.03))
            self._clockwork.after(self._free_up - self._clockwork.now, self._arrive_up, frame)

    def _arrive_up(self, frame: Frame) -> None:
        if self.open and self.machine is not None:
            if self.held is not None:
                self.held.append(frame)
            else:
                self.machine.hear(self, frame)

    def down(self, frame: Frame) -> None:
        """Server to client."""
        if self.open:
            self._free_down = max(self._free_down, self._clockwork.now + self._clockwork.between(0.000_2, 0.03))
            self._clockwork.after(self._free_down - self._clockwork.now, self._arrive_down, frame)

    def _arrive_down(self, frame: Frame) -> None:
        if self.open:
            if frame[0] == "close":
                self.open = False
            self.customer.hear(self, frame)

    def close(self, code: int) -> None:
        """The server ends it: what it said before still arrives."""
        self.machine = None
        self.down(("close", code))

    def leave(self) -> None:
        """The client ends it."""
        if self.open:
            self.open = False
            self.customer.closed(self, 1000)
            if self.machine is not None:
                self._clockwork.after(0.01, self._tell_machine)

    def cut(self) -> None:
        """It breaks: what is on its way is gone, and each side finds out by itself."""
        if self.open:
            self.open = False
            self._clockwork.after(self._clockwork.between(0.0, 0.5), self.customer.closed, self, 1006)
            self._clockwork.after(self._clockwork.between(0.0, 1.5), self._tell_machine)

    def _tell_machine(self) -> None:
        if self.machine is not None:
            self.machine.lost(self)


class Hints:
    """The bus. In a `faithful` history nothing is lost but while it is down, and the machines are told of that."""

    def __init__(self, clockwork: Clockwork, *, faithful: bool) -> None:
        self._clockwork = clockwork
        self._machines: dict[str, Machine | Controller] = {}  # by boot
        self.up = True
        self.since = -math.inf  # since when, if it was down before
        self.loss = 0.0 if faithful else clockwork.between(0.0, 0.3)
        self.doubling = clockwork.between(0.0, 0.2)
        self.faithful = faithful
        self.cuts: set[frozenset[str]] = set()  # pairs of machines, by id, that do not hear each other
        self._beats: dict[str, tuple[Machine | Controller, Beat]] = {}  # by the server's id
        self._free: dict[tuple[str, str], float] = {}  # when the last record from one boot to another arrives

    def attach(self, machine: Machine | Controller) -> None:
        """From now on it hears; and what each server said last of itself, for that topic is read from its beginning."""
        self._machines[machine.boot] = machine
        for sender, beat in self._beats.values():
            self._clockwork.after(self._delay(sender, machine), self._arrive, machine, sender, beat)

    def detach(self, machine: Machine | Controller) -> None:
        """It hears no more."""
        self._machines.pop(machine.boot, None)

    def hears(self, machine: Machine | Controller) -> bool:
        """Whether it is told anything."""
        return machine.boot in self._machines

    def publish(self, sender: Machine | Controller, event: Event) -> None:
        """Tell all others, some time."""
        if isinstance(event, Beat) and self.up:
            self._beats[event.id] = sender, event
        for machine in self._machines.values():
            if machine is sender or not self.up or frozenset((machine.id, sender.id)) in self.cuts:
                continue
            for _ in range(1 + self._clockwork.chance(self.doubling)):
                if not self._clockwork.chance(self.loss):
                    self._clockwork.after(self._delay(sender, machine), self._arrive, machine, sender, event)

    def _delay(self, sender: Machine | Controller, machine: Machine | Controller) -> float:
        seconds = self._clockwork.rng.expovariate(1 / 0.005)
        if not self.faithful:
            return self._clockwork.between(0.1, 3.0) if self._clockwork.chance(LATE) else seconds
        way = (sender.boot, machine.boot)  # as on one partition of a topic: in order
        arrives = self._free[way] = max(self._free.get(way, 0.0), self._clockwork.now + seconds)
        return arrives - self._clockwork.now

    def _arrive(self, machine: Machine | Controller, sender: Machine | Controller, event: Event) -> None:
        if machine.boot in self._machines:
            machine.heard(sender.boot, event)

    def heal(self) -> None:
        """The bus is back: everybody knows that it may have missed something."""
        self.up, self.since = True, self._clockwork.now
        self.cuts.clear()
        for machine in list(self._machines.values()):
            machine.missed()
