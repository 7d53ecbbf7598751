"""One simulated tower: the real fold, budget and placement, and around them what tower/service.py does."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from bus.events import Beat, Leaving, Pace, Target
from tower.budget import UNLIMITED, Budget
from tower.fleet import Fleet
from tower.placement import Placement
from tower.service import LATE

if TYPE_CHECKING:
    from bus.events import Event
    from tests.simulation.world import World
    from tower.fleet import Server

LOOK = 0.5  # seconds between looks at who has fallen silent
NOWHERE = "http://nowhere:1"


class Controller:
    """It hears beats, answers who leaves, and says where clients go. Not `up`, it does nothing of that.

    It comes back either as a new process, which is told each server's last words, or as one that stood still, which
    hears then what was said meanwhile.
    """

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.clockwork = world.clockwork
        self.id = self.boot = f"tower-{number}"
        self.up = True
        self.up_since = -math.inf  # since when, if it was not before
        self.lies = False
        self._unheard: list[tuple[str, Event]] = []  # what came while it stood still
        self._looked_at = -math.inf
        self._begin()

    def _begin(self) -> None:
        self.fleet = Fleet()
        self.budget = Budget()
        self.placement = Placement(self.clockwork.rng)
        self._servers: dict[str, Server] = {}

    def start(self) -> None:
        """Hear the bus, and look at the fleet again and again."""
        self.world.hints.attach(self)
        self.clockwork.after(LOOK, self._again)

    def _again(self) -> None:
        if self.up:
            self._look()
        self.clockwork.after(LOOK, self._again)

    def die(self) -> None:
        """The process ends, and with it all that it knew."""
        self.up = False
        self.world.hints.detach(self)

    def stand(self) -> None:
        """The process stands still; the bus keeps for it what is said."""
        self.up = False

    def come_back(self) -> None:
        """Be there again; nothing when it is."""
        if self.up:
            return
        self.up, self.up_since = True, self.clockwork.now
        if not self.world.hints.hears(self):
            self._begin()
            self._unheard.clear()
            self.world.hints.attach(self)
        unheard, self._unheard = self._unheard, []
        for origin, event in unheard:
            self.heard(origin, event)

    def missed(self) -> None:
        """Events were lost: the next beats say how everybody is."""

    def heard(self, origin: str, event: Event) -> None:
        """An event of a server, or of another tower."""
        if not self.up:
            self._unheard.append((origin, event))
            return
        now = self.clockwork.now
        if isinstance(event, Beat):
            self.fleet.beat(event, now)
            self._look()
        elif isinstance(event, Leaving):
            self._leaving(event)
        elif isinstance(event, Pace) and event.per_second > 0:
            rates = {self.world.id_of(one.url): one.share * event.per_second for one in event.targets}
            self.budget.adopt(event.ask, {id: rate for id, rate in rates.items() if math.isfinite(rate)}, now + 5.0)

    def _look(self) -> None:
        now = self.clockwork.now
        # One that stood still itself cannot know who was silent meanwhile.
        self.fleet.hears(self.world.hints.up and now - self._looked_at < LATE, now)
        self._looked_at = now
        self._servers = self.fleet.servers(now)
        takers = {one.id: one.beat.handshakes_per_second for one in self._servers.values() if one.state == "ready"}
        self.budget.limits(takers)
        self.placement.offer(list(self._servers.values()), set())

    def _leaving(self, event: Leaving) -> None:
        self._look()
        now = self.clockwork.now
        targets = [server for server in self.placement.preferred if server.id != event.id]
        shares, pace = [], UNLIMITED
        if targets:
            loads = {server.id: server.sessions for server in targets}
            grant = self.budget.drain(event.ask, event.sessions, event.deadline, event.per_second, loads, now)
            pace = grant.per_second
            shares = [Target(one.url, grant.rates[one.id] / pace) for one in targets if grant.rates.get(one.id)]
        if self.lies:
            pace, shares = self._lie(event, pace, shares)
        self.world.hints.publish(self, Pace(event.id, event.ask, pace, shares, made_at=now))

    def _lie(self, event: Leaving, pace: float, shares: list[Target]) -> tuple[float, list[Target]]:
        """An answer that makes no sense, one way or another."""
        own = self.world.url_of(event.id)
        lies = (
            (pace, [Target(own, 1.0)]),
            (pace, [Target(NOWHERE, 1.0)]),
            (pace, [Target(one.url, math.nan) for one in shares]),
            (math.nan, shares),
            (-1.0, [*shares, *shares]),
            (1e-300, shares),
        )
        return self.clockwork.rng.choice(lies)

    def assign(self, user: str) -> str | None:
        """Where a client goes; None when nobody can take it now, or there is no answer."""
        if not self.up:
            return None
        server, _ = self.placement.assign(user, self.budget, self.clockwork.now)
        return server.id if server is not None else None
