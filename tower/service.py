"""One tower's mind: it hears beats and rows, answers who leaves, places who comes, and passes the verbs on."""

from __future__ import annotations

import logging
import random
import secrets
import time
from typing import TYPE_CHECKING

import msgspec
import trio

from bus.events import Beat, Leaving, Order, Pace, Rollout, Target
from db.errors import StoreError
from tower import notes
from tower.budget import UNLIMITED, Budget
from tower.errors import Refused
from tower.feed import Feed
from tower.fleet import GONE, Fleet
from tower.metrics import Metrics
from tower.placement import Placement
from tower.rollouts import KEPT, Rollouts, going
from tower.verbs import decide
from tower.views import Assigned, FleetView, Note, RolloutList, Said

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bus.bus import Bus
    from bus.events import Event
    from tower.fleet import Server
    from tower.store import TowerStore
    from tower.verbs import Wish
    from tower.views import RolloutView

log = logging.getLogger("belfry.tower")

LOOK = 0.25  # seconds between two looks at what has become of whom: a death is seen 6.75 s after the last beat at most
GATHER = 0.05  # seconds in which what happens together is told together
TELL = 2.0  # seconds between two tellings when nothing happens: beats come as often
TABLE = 2.0  # seconds between two readings of the server table; servers write it as often
PATIENCE = 1.5  # seconds for the database to answer one question
LATE = 2.0  # seconds by which a look may come late before our own deafness explains everybody's silence
FORGET = 60.0  # seconds between two times of letting go of who is gone for long
OTHERS = 10  # rollouts that may have begun elsewhere since one that is to be written did
BUS_GONE = 5.0  # seconds of a quiet bus after which an order would not be heard


def steady_clock() -> Callable[[], float]:
    """Unix seconds that never jump: the wall clock at the start, and the monotonic clock from there."""
    began = time.time() - time.monotonic()
    return lambda: began + time.monotonic()


class Tower:
    """The service behind the tower's HTTP API. Without a bus it knows what the database says, and can order nothing."""

    def __init__(
        self,
        store: TowerStore | None,
        bus: Bus | None,
        *,
        clock: Callable[[], float] | None = None,
        seed: int | None = None,
    ) -> None:
        self.clock = clock or steady_clock()
        self.feed = Feed()
        self.metrics = Metrics()
        self.fleet = Fleet()
        self.budget = Budget()
        self.placement = Placement(random.Random(seed))
        self.rollouts = Rollouts()
        self.servers: dict[str, Server] = {}  # as of the last look
        self._store = store
        self._bus = bus
        self._store_works: bool | None = None if store is None else False
        self._drains: dict[str, str] = {}  # server id -> the ask its drain was granted for
        self._rollout: RolloutView | None = None
        self._wrong: list[str] = []
        self._wake = trio.Event()
        self._write = trio.Event()
        self._told_at = float("-inf")
        gauges = self.metrics.gauges
        gauges["tower_watching"] = lambda: float(len(self.feed))
        gauges["tower_sessions"] = lambda: float(sum(s.sessions for s in self.servers.values() if s.state not in GONE))
        gauges["tower_wrong"] = lambda: float(len(self._wrong))
        self.metrics.states = lambda: [server.state for server in self.servers.values()]

    # --- what is asked of it -----------------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether anybody can be placed."""
        return bool(self.placement.preferred)

    def view(self) -> FleetView:
        """The fleet in one glance."""
        now = self.clock()
        paces = {id: self.budget.pace(ask) for id, ask in self._drains.items()}
        views = self.fleet.views(self.servers.values(), now, paces)
        return FleetView(round(now, 3), views, self._rollout, self._wrong)

    async def stories(self, limit: int) -> RolloutList:
        """The last rollouts, newest first: the database's, or what is in memory while that is away."""
        store = self._store
        if store is not None:
            with trio.move_on_after(PATIENCE):
                try:
                    self.rollouts.remember(await store.rollouts(limit))
                except StoreError as error:
                    log.debug("the rollouts were not read: %s", error)
        await trio.lowlevel.checkpoint()
        return RolloutList(self.rollouts.newest(limit))

    def assign(self, user: str, room: str) -> Assigned:
        """Where a client goes. Raises Refused when nobody takes it now."""
        server, wait = self.placement.assign(user, self.budget, self.clock())
        if server is None:
            self.metrics.tower_unplaced += 1
            ready = self.ready
            why = "every server has as many newcomers as it can take" if ready else "no server takes newcomers now"
            raise Refused("nobody_ready", why, retry=wait)
        self.metrics.tower_assigned += 1
        return Assigned(server.url, server.id)

    def order(self, id: str, wish: Wish, by: str, *, dry: bool = False) -> Said:
        """Pass a verb on to its server, or with `dry` only say what it would do. Raises Refused."""
        now = self._look_now()
        says = decide(id, wish, self.servers, self.placement.preferred, self.budget, now)
        if dry:
            return Said("", says)
        bus = self._bus
        if bus is None:
            raise Refused("bus_unavailable", "this tower has no bus: start it with --bus, as the servers have it")
        quiet = bus.quiet()
        if quiet is not None and quiet > BUS_GONE:
            raise Refused(
                "bus_unavailable", f"the bus has been away for {quiet:.0f} s: {id} would not hear it", retry=5
            )
        order = secrets.token_hex(8)
        bus.publish(Order(id, order, wish.verb, wish.per_second, wish.deadline, made_at=now))
        self.metrics.tower_orders += 1
        log.info("%s %s, ordered by %s: %s", wish.verb, id, by, says)
        self._note(Note(now, "info", f"{wish.verb} {id}, ordered by {by}: {says}"))
        return Said(order, says)

    # --- what it hears -----------------------------------------------------------------------------------------

    def from_bus(self, origin: str, events: Sequence[Event]) -> None:
        """Take events; never blocks, never raises."""
        now = self.clock()
        for event in events:
            match event:
                case Beat():
                    known = self.servers.get(event.id)
                    if self.fleet.beat(event, now) and (
                        known is None or known.state != event.state or known.boot != event.boot
                    ):
                        self._wake.set()
                case Leaving():
                    self._leaving(event)
                case Pace():
                    self._other_pace(event, now)
                case Rollout():
                    self._step(event, now)
                case Order() if event.made_at > now - BUS_GONE:
                    self._note(Note(now, "info", f"{event.verb} {event.id}, ordered through another tower"))

    def _missed(self) -> None:
        self._wake.set()

    def _leaving(self, event: Leaving) -> None:
        """Answer who leaves, at once: it waits a second, then goes at its own pace."""
        now = self._look_now()
        targets = [server for server in self.placement.preferred if server.id != event.id]
        loads = {server.id: server.sessions for server in targets}
        if targets:
            grant = self.budget.drain(event.ask, event.sessions, event.deadline, event.per_second, loads, now)
            pace = grant.per_second
            shares = [Target(one.url, grant.rates[one.id] / pace) for one in targets if grant.rates.get(one.id)]
        else:  # they come back to where they were: to the server that follows this one
            leaving = self.servers.get(event.id)
            pace = event.per_second or (leaving.beat.handshakes_per_second if leaving else 0.0) or UNLIMITED
            shares = []
        self._drains[event.id] = event.ask
        self.metrics.tower_paces += 1
        assert self._bus is not None  # it came from there
        self._bus.publish(Pace(event.id, event.ask, pace, shares, made_at=now))
        log.info("%s leaves with %d sessions: %.0f a second to %d servers", event.id, event.sessions, pace, len(shares))

    def _other_pace(self, event: Pace, now: float) -> None:
        """Another tower's grant holds for our budget too."""
        by_url = {server.url: id for id, server in self.servers.items()}
        rates = {by_url[one.url]: one.share * event.per_second for one in event.targets if one.url in by_url}
        leaving = self.servers.get(event.id)
        sessions = leaving.sessions if leaving else 0
        if rates and event.per_second > 0:
            self.budget.adopt(event.ask, rates, now + sessions / event.per_second + 2.0)
            self._drains.setdefault(event.id, event.ask)

    def _step(self, event: Rollout, now: float) -> None:
        step = self.rollouts.heard(event, now)
        if step is None:
            return
        self._write.set()
        self._wake.set()
        story = next((one for one in self.rollouts.newest(KEPT) if one.id == event.id), None)
        if story is not None:
            self._note(notes.of_step(step, story, now))

    # --- looking -----------------------------------------------------------------------------------------------

    def _look_now(self) -> float:
        """Take in what has become of everybody; returns the moment of it."""
        now = self.clock()
        before, self.servers = self.servers, self.fleet.servers(now)
        self._rollout = self.rollouts.running()
        takers = {id: one.beat.handshakes_per_second for id, one in self.servers.items() if one.state == "ready"}
        self.budget.limits(takers)
        self.placement.offer(list(self.servers.values()), going(self.servers, self._rollout))
        for note in notes.changes(before, self.servers, now):
            self._note(note)
        for id, server in self.servers.items():
            was = before[id].state if id in before else server.state
            if was == "draining" != server.state and (ask := self._drains.pop(id, None)):
                self.budget.release(ask)
            if server.state == "down" and was not in GONE and server.sessions:
                loads = {one.id: one.sessions for one in self.placement.preferred}
                self.budget.crash(f"crash/{server.boot}", server.sessions, loads, now)
        for gone in self._drains.keys() - self.servers.keys():
            del self._drains[gone]
        quiet = self._bus.quiet() if self._bus is not None else None
        self._wrong = notes.wrong(self.servers, self._rollout, now, quiet, self._store_works)
        return now

    def _note(self, note: Note) -> None:
        # What is as it should be is for the dashboard; each server's and supervisor's own log has it besides.
        level = {"info": logging.DEBUG, "warning": logging.WARNING, "error": logging.ERROR}[note.level]
        log.log(level, "%s", note.text)
        self.feed.note(note)

    def _tell(self, now: float) -> None:
        self._told_at = now
        if len(self.feed):
            self.feed.look(msgspec.json.encode(self.view()))

    # --- tasks -------------------------------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Hear, look and write down, until cancelled; started when the database was asked once, or did not answer."""
        async with trio.open_nursery() as nursery:
            if self._bus is not None:
                await nursery.start(self._bus.run, self.from_bus, self._missed)
            if self._store is not None:
                await nursery.start(self._read_table, self._store)
                nursery.start_soon(self._write_stories, self._store)
            self._look_now()
            nursery.start_soon(self._look)
            task_status.started()

    async def _look(self) -> None:
        forgot_at = looked_at = self.clock()
        shown: object = None
        while True:
            with trio.move_on_after(LOOK):
                await self._wake.wait()
                await trio.sleep(GATHER)
            self._wake = trio.Event()
            now = self.clock()
            self.fleet.hears(self._hears() and now - looked_at < LATE, now)
            looked_at = now
            for story in self.rollouts.silence(now):
                self._write.set()
                self._note(notes.verdict(story, now))
            if now - forgot_at > FORGET:
                forgot_at = now
                self.fleet.forget(now)
            self._look_now()
            look = [(one.boot, one.state, one.refused) for one in self.servers.values()], self._rollout, self._wrong
            if look != shown or now - self._told_at >= TELL:
                shown = look
                self._tell(now)

    def _hears(self) -> bool:
        """Whether a living server would be heard of now, one way or the other."""
        quiet = self._bus.quiet() if self._bus is not None else None
        bus_works = quiet is not None and quiet < notes.BUS_AWAY
        return bus_works or bool(self._store_works)

    async def _read_table(
        self, store: TowerStore, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        begun = False
        while True:
            works = False
            with trio.move_on_after(PATIENCE):
                try:
                    if not begun:
                        self.rollouts.remember(await store.rollouts(KEPT))
                        begun = True
                    rows = await store.servers()
                    now = self.clock()
                    for row in rows:
                        self.fleet.row(row, now)
                    works = True
                except StoreError as error:
                    log.debug("the servers were not read: %s", error)
            if works != self._store_works:
                self._store_works = works
                self._wake.set()
            task_status.started()
            task_status = trio.TASK_STATUS_IGNORED
            await trio.sleep(TABLE)

    async def _write_stories(self, store: TowerStore) -> None:
        while True:
            await self._write.wait()
            self._write = trio.Event()
            ids = self.rollouts.changed()
            with trio.move_on_after(PATIENCE * (1 + len(ids))):
                try:
                    # What another tower heard of the same story, such as the one in the process before this.
                    self.rollouts.remember(await store.rollouts(len(ids) + OTHERS))
                    for id in list(ids):
                        if (record := self.rollouts.record(id)) is not None:
                            await store.put_rollout(record)
                        ids.discard(id)
                except StoreError as error:
                    log.debug("a rollout was not written: %s", error)
            if ids:
                self.rollouts.unwritten(ids)
                await trio.sleep(TABLE)
                self._write.set()
