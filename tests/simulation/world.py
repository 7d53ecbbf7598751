"""One history of a small fleet, from one seed to a verdict.

The seed decides how many servers, clients and rooms there are, what the network and the database are like, what is
done to them and when. Then everything is mended, everybody comes back, and the checker judges what the clients saw.
Besides, it must have come to rest, and everybody must know who is there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from unittest import mock

from belfry.audit.checker import Checker
from tests.simulation.changes import Drain, Redeploy
from tests.simulation.clockwork import Clockwork
from tests.simulation.controller import Controller
from tests.simulation.customer import Customer
from tests.simulation.machine import BEAT, Machine
from tests.simulation.network import Hints
from tests.simulation.storage import Storage

if TYPE_CHECKING:
    from collections.abc import Callable

    from belfry.audit.observation import Observation

TALK = 14.0  # seconds in which things happen
REST = 60.0  # seconds in which it must have come to rest, after everything was mended
HEARD = 1.0  # seconds after which everybody has heard of a server's new state, where the bus carries all
TELLING = 15.0  # seconds after which presence is true everywhere: the lease, the grace, and a telling


@dataclass
class Outcome:
    """What became of one history."""

    seed: int
    problems: list[str]
    steps: int
    delivered: int
    resumes: int
    happened: dict[str, int] = field(default_factory=dict)  # kind -> times
    story: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return "\n".join([f"BELFRY_SIM_SEED={self.seed}", *self.problems, *self.story])


class World:
    """The fleet of one history, and its clients."""

    def __init__(self, seed: int, *, keep: bool = False) -> None:
        self.seed = seed
        self.clockwork = clockwork = Clockwork(seed, keep=keep)
        rng = clockwork.rng
        self.planned = clockwork.chance(0.4)  # nothing but redeploys and drains: then nobody may flicker either
        self.names = [f"r{number}" for number in range(rng.randint(1, 2))]
        self.ids = [f"s{number}" for number in range(rng.randint(1, 3))]
        self.storage = Storage(clockwork, self.names)
        self.hints = Hints(clockwork, faithful=self.planned or clockwork.chance(0.5))
        self.machines: dict[str, Machine] = {}
        self.checker = Checker()
        self.happened: dict[str, int] = {}
        self.misled = 0  # clients told to move to where nobody takes them
        self.boots = 0
        self.lied = False
        self.controllers = [Controller(self, number) for number in range(rng.choice((0, 1, 1, 2)))]
        for controller in self.controllers:
            controller.start()
        for id in self.ids:
            self.boot(id)
        self.customers = [self._customer(number) for number in range(rng.randint(2, 5))]

    def _customer(self, number: int) -> Customer:
        rng = self.clockwork.rng
        rooms = self.names if self.clockwork.chance(0.5) else [rng.choice(self.names)]
        return Customer(self, f"c{number}", list(rooms), rng.choice(self.ids))

    def observe(self, observation: Observation) -> None:
        """What a client saw or did."""
        self.checker.observe(observation)
        self.clockwork.note(observation)

    def number(self, room: str) -> int:
        """A room's id."""
        return self.names.index(room) + 1

    def url_of(self, id: str) -> str:
        """Where clients find a server."""
        return f"http://{id}:80"

    def id_of(self, url: str) -> str:
        """Which server that is."""
        return url.removeprefix("http://").partition(":")[0]

    # --- machines ----------------------------------------------------------------------------------------------

    def boot(self, id: str) -> None:
        """Start a server under this id."""
        if id not in self.machines or not self.machines[id].alive:
            self._boot(id).start()

    def _boot(self, id: str) -> Machine:
        self.boots += 1
        machine = self.machines[id] = Machine(self, id, f"{id}-{self.boots}")
        self.clockwork.note("boot", machine.boot)
        return machine

    def successor(self, old: Machine) -> Machine:
        """The next start of the same server, which begins when everything is handed to it."""
        machine = self._boot(old.id)
        machine.frozen = machine.upgrading = True
        return machine

    def reach(self, id: str) -> Machine | None:
        """Whoever takes connections under this id."""
        machine = self.machines.get(id)
        return machine if machine is not None and machine.alive and machine.state == "ready" else None

    def other(self, id: str) -> str:
        """Where a client tries next: the next one of its list."""
        at = self.ids.index(id) if id in self.ids else 0
        return self.ids[(at + 1) % len(self.ids)]

    def assigned(self, user: str) -> str | None:
        """Where a tower sends a client that found nobody; None when there is none, or it does not know."""
        for controller in self.controllers:
            if (to := controller.assign(user)) is not None:
                self.judge_target(to, None)
                return to
        return None

    def judge_target(self, to: str, leaving: Machine | None) -> None:
        """A client is sent there: is that wrong, and could have been known?"""
        others = [id for id in self.ids if id != to and (leaving is None or id != leaving.id)]
        better = any(self.reach(id) is not None and self._known(id) for id in others)
        if not self.hints.faithful or not self.hints.up or self.lied or not better:
            return
        machine = self.machines.get(to)
        wrong = machine is None or machine is leaving or (machine.state != "ready" and self._known(to))
        self.misled += wrong and (machine is None or machine.alive)

    def _known(self, id: str) -> bool:
        """Whether everybody has heard how this server is, a tower that has just come back too."""
        back = max((controller.up_since for controller in self.controllers), default=0.0)
        return self.clockwork.now - max(self.machines[id].changed_at, self.hints.since + BEAT, back) > HEARD

    # --- what happens ------------------------------------------------------------------------------------------

    def live(self) -> Outcome:
        """The whole history."""
        for customer in self.customers:
            self.clockwork.after(self.clockwork.between(0.0, 1.0), customer.dial, customer._home)
        for _ in range(self.clockwork.rng.randint(10, 40)):
            customer = self.clockwork.rng.choice(self.customers)
            self.clockwork.after(self.clockwork.between(0.2, TALK), customer.say)
        events = self._planned_events() if self.planned else self._any_events()
        for _ in range(self.clockwork.rng.randint(1, 6)):
            event = self.clockwork.rng.choice(events)
            self.clockwork.after(self.clockwork.between(1.0, TALK), self._happen, event)
        self.clockwork.run_until(TALK)
        self._mend()
        return self._judge(self._rest())

    def _happen(self, event: Callable[[str], None]) -> None:
        name = event.__name__.strip("_")
        self.happened[name] = self.happened.get(name, 0) + 1
        event(self.clockwork.rng.choice(self.ids))

    def _planned_events(self) -> list[Callable[[str], None]]:
        return [self._redeploy, self._redeploy, self._failed_redeploy, self._drain, self._drain, self._slow_store,
                self._tower_down]  # fmt: skip

    def _any_events(self) -> list[Callable[[str], None]]:
        unfaithful = [] if self.hints.faithful else [self._part]
        return [
            self._redeploy, self._redeploy, self._failed_redeploy, self._drain, self._kill, self._cut, self._cut,
            self._tower_down, self._tower_lies, self._bus_down, self._store_down, self._unknown, self._slow_store,
            *unfaithful,
        ]  # fmt: skip

    def _redeploy(self, id: str, fails: bool = False) -> None:
        machine = self.machines[id]
        if machine.alive and machine.state == "ready" and not machine.upgrading:
            Redeploy(self, machine, fails).begin()

    def _failed_redeploy(self, id: str) -> None:
        self._redeploy(id, fails=True)

    def _drain(self, id: str) -> None:
        Drain(self, self.machines[id]).begin()

    def _kill(self, id: str) -> None:
        machine = self.machines[id]
        if machine.alive:
            self.clockwork.note("kill", machine.boot)
            machine.kill()
            self.clockwork.after(self.clockwork.between(0.3, 10.0), self.boot, id)

    def _tower_down(self, id: str) -> None:
        if self.controllers:
            controller = self.clockwork.rng.choice(self.controllers)
            stop = controller.die if self.clockwork.chance(0.5) else controller.stand
            self.clockwork.note("tower down", stop.__name__)
            stop()
            self.clockwork.after(self.clockwork.between(0.5, 8.0), controller.come_back)

    def _tower_lies(self, id: str) -> None:
        self.lied = True
        for controller in self.controllers:
            controller.lies = True

    def _cut(self, id: str) -> None:
        customer = self.clockwork.rng.choice(self.customers)
        if customer.wire is not None:
            self.clockwork.note("cut", customer.name)
            customer.wire.cut()

    def _bus_down(self, id: str) -> None:
        self.clockwork.note("bus down")
        self.hints.up = False
        self.clockwork.after(self.clockwork.between(0.5, 9.0), self.hints.heal)

    def _part(self, id: str) -> None:
        self.hints.cuts.add(frozenset((id, self.other(id))))

    def _store_down(self, id: str) -> None:
        self.clockwork.note("store down")
        self.storage.up = False
        self.clockwork.after(self.clockwork.between(0.2, 4.0), self._store_up)

    def _store_up(self) -> None:
        self.storage.up = True
        self.storage.slow, self.storage.unknown = 1.0, 0.0

    def _unknown(self, id: str) -> None:
        self.storage.unknown = self.clockwork.between(0.1, 0.8)
        self.clockwork.after(self.clockwork.between(0.5, 5.0), self._store_up)

    def _slow_store(self, id: str) -> None:
        self.storage.slow = self.clockwork.between(2.0, 60.0)
        self.clockwork.after(self.clockwork.between(0.5, 3.0), self._store_up)

    # --- the end -----------------------------------------------------------------------------------------------

    def _mend(self) -> None:
        self.clockwork.note("all is mended")
        self._store_up()
        self.hints.loss = 0.0
        self.hints.faithful = True
        self.hints.heal()
        self.clockwork.after(4.0, self.hints.heal)  # once more, when what was on its way has come
        for id in self.ids:
            self.clockwork.after(1.0, self.boot, id)

    def _rest(self) -> str:
        """Run until everybody has everything, and on until presence must be true; what was not so."""
        until = self.clockwork.now + REST
        while not self._quiet():
            if self.clockwork.now >= until:
                return self._unrest()
            self.clockwork.run_until(self.clockwork.now + 0.5)
        self.clockwork.run_until(self.clockwork.now + TELLING)
        return "" if self._quiet() else self._unrest()

    def _quiet(self) -> bool:
        heads = {name: (table.epoch, len(table.rows)) for name, table in self.storage.tables.items()}
        return all(
            customer.connected
            and not customer.waiting
            and all(customer.positions.get(room) == heads[room] for room in customer.rooms)
            for customer in self.customers
        )

    def _unrest(self) -> str:
        waiting = [customer for customer in self.customers if not customer.connected or customer.waiting]
        who = ", ".join(f"{customer.name} at {customer.positions}" for customer in waiting or self.customers)
        return f"no rest within {REST:g} s: {who}"

    def _judge(self, unrest: str) -> Outcome:
        for stored in self.storage.stored():
            self.observe(stored)
        verdict = self.checker.verdict()
        problems = [
            f"{kind} ({count}): {verdict.examples[kind][0]}"
            for kind, count in verdict.faults.items()
            if kind != "flickered" or self.planned
        ]
        if unrest:
            problems.append(unrest)
        elif not problems:
            problems += self._misplaced()
        if self.misled:
            problems.append(f"misled: {self.misled} times a client was told to move to where nobody took it")
        counts = verdict.counts
        if counts.gaps:
            problems.append(f"gap: {counts.gaps} times a client was told that messages are lost to it; none were")
        if self.planned and counts.unplanned:
            problems.append(f"broken: {counts.unplanned} connections broke off though all was planned")
        return Outcome(
            self.seed, problems, self.clockwork.steps, counts.delivered, counts.resumes, self.happened,
            self.clockwork.story,
        )  # fmt: skip

    def _misplaced(self) -> list[str]:
        """Everybody is in their rooms: every server that has a room must say so."""
        said = []
        for machine in self.machines.values():
            for name, live in machine.rooms.items():
                here = sorted(customer.user for customer in self.customers if name in customer.rooms)
                told = [user for user, _ in live.presence.members()]
                if live.members and told != here:
                    said.append(f"presence: {machine.boot} says {told} are in {name}; there are {here}")
        return said


# Windows so small that every history leaves them: a resume reads the store, and a room forgets what comes too early.
SMALL = {"WINDOW_MESSAGES": 5, "EARLY_MESSAGES": 3}


def live(seed: int, *, keep: bool = False) -> Outcome:
    """The history that this seed decides; `keep` writes its story down."""
    with mock.patch.multiple("chat.room", **SMALL):
        return World(seed, keep=keep).live()
