"""A tower's mind on a clock that jumps: deaths, blindness, two towers, paces, crashes, stories."""

from __future__ import annotations

import contextlib
import datetime as dt
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import trio
import trio.testing
from tower_world import START, beat

from bus.events import Leaving, Order, Pace, Rollout, Target
from bus.memory import Exchange
from db.errors import StoreUnavailable
from db.records import RolloutRecord, ServerRecord
from tower.errors import Refused
from tower.fleet import LEASE
from tower.service import Tower
from tower.verbs import Wish

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from bus.events import Event
    from bus.memory import MemoryBus

BEAT = 2.0


def clock() -> float:
    return START + trio.current_time()


class FakeStore:
    """A database that may be away, or hang."""

    def __init__(self) -> None:
        self.rows: dict[str, ServerRecord] = {}
        self.stories: dict[str, RolloutRecord] = {}
        self.away = self.hangs = False

    async def _ask(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.hangs:
            await trio.sleep_forever()
        if self.away:
            raise StoreUnavailable("away")

    async def servers(self) -> list[ServerRecord]:
        await self._ask()
        return list(self.rows.values())

    async def put_rollout(self, rollout: RolloutRecord) -> None:
        await self._ask()
        self.stories[rollout.id] = rollout

    async def rollouts(self, limit: int) -> list[RolloutRecord]:
        await self._ask()
        return list(self.stories.values())[:limit]


class QuietBus:
    """A bus that says how quiet it is."""

    def __init__(self, bus: MemoryBus) -> None:
        self._bus = bus
        self.silence = 0.0
        self.counts = bus.counts
        self.publish = bus.publish
        self.run = bus.run

    def quiet(self) -> float:
        return self.silence


class World:
    """A tower or two over servers that beat by the bus, the table, or neither."""

    def __init__(self) -> None:
        self.exchange = Exchange()
        self.server = self.exchange.bus("servers")
        self.store = FakeStore()
        self.heard: list[Event] = []
        self.buses: list[QuietBus] = []
        self.silent: set[str] = set()
        self.unwritten = False
        self.fields: dict[str, dict[str, Any]] = {}

    async def tower(self, nursery: trio.Nursery, *, store: bool = True, bus: bool = True) -> Tower:
        end = QuietBus(self.exchange.listener(f"tower{len(self.buses)}")) if bus else None
        if end is not None:
            self.buses.append(end)
        made = Tower(self.store if store else None, end, clock=clock, seed=1)  # type: ignore[arg-type]
        await nursery.start(made.run)
        return made

    async def beating(self, id: str, *, by_bus: bool = True, **fields: Any) -> None:
        self.fields[id] = {"started_at": clock()} | fields
        while True:
            if id not in self.silent:
                one = beat(id, clock(), **self.fields[id])
                if by_bus:
                    self.server.publish(one)
                if not self.unwritten:
                    moments = (dt.datetime.fromtimestamp(at, dt.UTC) for at in (one.started_at, one.made_at))
                    self.store.rows[id] = ServerRecord(
                        id, one.boot, one.url, one.version, one.state, one.sessions, *moments  # type: ignore[arg-type]
                    )  # fmt: skip
            await trio.sleep(BEAT)

    def deliver(self, origin: str, events: Sequence[Event]) -> None:
        self.heard += events

    def last(self, kind: type[Any]) -> Any:
        return next(event for event in reversed(self.heard) if isinstance(event, kind))


@contextlib.asynccontextmanager
async def world() -> AsyncIterator[tuple[World, trio.Nursery]]:
    made = World()
    async with trio.open_nursery() as nursery:
        await nursery.start(made.server.run, made.deliver, lambda: None)
        yield made, nursery
        nursery.cancel_scope.cancel()


def states(tower: Tower) -> dict[str, str]:
    return {id: server.state for id, server in tower.servers.items()}


async def test_a_death_is_seen_within_seven_seconds_of_it(autojump_clock: trio.testing.MockClock) -> None:
    async with world() as (fleet, nursery):
        tower = await fleet.tower(nursery)
        nursery.start_soon(fleet.beating, "s1")
        nursery.start_soon(fleet.beating, "s2")
        await trio.sleep(11)
        assert states(tower) == {"s1": "ready", "s2": "ready"}
        fleet.silent.add("s1")
        died = trio.current_time()
        await trio.sleep(7.0 - (trio.current_time() - died))
        assert states(tower) == {"s1": "down", "s2": "ready"}
        assert any("s1 at http://s1 has been silent" in line for line in tower.view().wrong)
        fleet.silent.clear()
        await trio.sleep(3)
        assert states(tower) == {"s1": "ready", "s2": "ready"}
        assert tower.view().wrong == []


async def test_with_the_database_away_or_hanging_the_bus_tells(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with world() as (fleet, nursery):
        tower = await fleet.tower(nursery)
        nursery.start_soon(fleet.beating, "s1")
        await trio.sleep(5)
        fleet.store.away = True
        await trio.sleep(20)
        assert states(tower) == {"s1": "ready"}
        assert tower.view().wrong == ["the database cannot be reached: redeploys are not written down"]
        fleet.store.away, fleet.store.hangs = False, True
        await trio.sleep(20)
        assert states(tower) == {"s1": "ready"}
        fleet.store.hangs = False
        await trio.sleep(5)
        assert tower.view().wrong == []


async def test_a_server_that_only_the_table_tells_of_lives(autojump_clock: trio.testing.MockClock) -> None:
    async with world() as (fleet, nursery):
        tower = await fleet.tower(nursery)
        fleet.server.publish(beat("s1", clock(), started_at=START))
        nursery.start_soon(lambda: fleet.beating("s1", by_bus=False, started_at=START))
        fleet.buses[0].silence = 30.0
        await trio.sleep(60)
        assert states(tower) == {"s1": "ready"}
        assert "the fleet is read from the database" in tower.view().wrong[0]
        with pytest.raises(Refused, match="the bus has been away for 30 s") as caught:
            tower.order("s1", Wish("cordon", force=True), "u")
        assert caught.value.code == "bus_unavailable"


async def test_with_both_away_nobody_is_called_dead(autojump_clock: trio.testing.MockClock) -> None:
    async with world() as (fleet, nursery):
        tower = await fleet.tower(nursery)
        nursery.start_soon(fleet.beating, "s1")
        await trio.sleep(5)
        fleet.silent.add("s1")
        fleet.store.away, fleet.buses[0].silence = True, 30.0
        await trio.sleep(120)
        assert states(tower) == {"s1": "ready"}
        assert "what is shown here is old" in tower.view().wrong[0]
        assert tower.assign("u", "").server == "s1"
        fleet.store.away, fleet.buses[0].silence = False, 0.0
        await trio.sleep(LEASE + 3)
        assert states(tower) == {"s1": "down"}


async def test_a_tower_without_a_bus_or_without_a_database(autojump_clock: trio.testing.MockClock) -> None:
    async with world() as (fleet, nursery):
        by_table = await fleet.tower(nursery, bus=False)
        by_bus = await fleet.tower(nursery, store=False)
        nursery.start_soon(fleet.beating, "s1")
        await trio.sleep(30)
        assert states(by_table) == states(by_bus) == {"s1": "ready"}
        assert by_table.view().wrong == by_bus.view().wrong == []
        fleet.buses[0].silence = 9.0
        await trio.sleep(1)
        assert by_bus.view().wrong == ["the bus has been away for 9 s: what is shown here is old"]


async def test_two_towers_agree_and_count_each_others_grants(autojump_clock: trio.testing.MockClock) -> None:
    async with world() as (fleet, nursery):
        one, two = await fleet.tower(nursery), await fleet.tower(nursery)
        for id in ("s1", "s2", "s3"):
            nursery.start_soon(fleet.beating, id)
        await trio.sleep(5)
        fleet.server.publish(Leaving("s1", "s1-a", "ask", 1_000, 25.0))
        await trio.sleep(0.1)
        paces = [event for event in fleet.heard if isinstance(event, Pace)]
        assert len(paces) == 2
        assert msgspec.structs.replace(paces[0], made_at=0) == msgspec.structs.replace(paces[1], made_at=0)
        late = await fleet.tower(nursery)
        fleet.server.publish(Pace("s1", "other-ask", 100.0, [Target("http://s2", 1.0)], made_at=clock()))
        await trio.sleep(0.5)
        # The servers share one end here, so the other towers' answers reach each of them.
        for tower in (one, two):
            assert tower.budget.free("s2", clock()) == pytest.approx(500 - 270 - 100)
        assert late.budget.free("s2", clock()) == pytest.approx(400)
        assert one.view().servers == two.view().servers


async def test_a_drains_grant_ends_with_it_and_its_progress_is_told(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with world() as (fleet, nursery):
        tower = await fleet.tower(nursery)
        for id in ("s1", "s2"):
            nursery.start_soon(fleet.beating, id)
        await trio.sleep(3)
        fleet.server.publish(Leaving("s1", "s1-a", "ask", 10_000, 25.0, per_second=50.0))
        fleet.fields["s1"] |= {"state": "draining", "to_move": 10_000, "moved": 100, "eta": 198.0, "sessions": 9_900}
        await trio.sleep(4)
        view = tower.view()
        assert view.servers[0].drain is not None
        assert (view.servers[0].drain.per_second, view.servers[0].drain.moved) == (50.0, 100)
        assert view.wrong == ["s1 needs another 198 s to drain"]
        assert tower.budget.free("s2", clock()) == 450
        fleet.fields["s1"] = {"started_at": fleet.fields["s1"]["started_at"]}  # aborted
        await trio.sleep(4)
        assert tower.budget.free("s2", clock()) == 500


async def test_nobody_to_take_them_is_an_answer_too(autojump_clock: trio.testing.MockClock) -> None:
    async with world() as (fleet, nursery):
        await fleet.tower(nursery)
        nursery.start_soon(lambda: fleet.beating("s1", handshakes_per_second=80.0))
        await trio.sleep(3)
        fleet.server.publish(Leaving("s1", "s1-a", "ask", 1_000, 25.0))
        await trio.sleep(0.1)
        pace = fleet.last(Pace)
        assert (pace.per_second, pace.targets) == (80.0, [])


async def test_a_crash_is_charged_to_the_survivors(autojump_clock: trio.testing.MockClock) -> None:
    async with world() as (fleet, nursery):
        tower = await fleet.tower(nursery)
        for id in ("s1", "s2", "s3"):
            nursery.start_soon(lambda id=id: fleet.beating(id, sessions=3_000))
        await trio.sleep(5)
        fleet.silent.add("s1")
        await trio.sleep(7.0)
        free = [tower.budget.free(id, clock()) for id in ("s2", "s3")]
        assert free == [pytest.approx(350), pytest.approx(350)]
        fleet.server.publish(Leaving("s2", "s2-a", "ask", 3_000, 25.0))
        await trio.sleep(0.1)
        assert fleet.last(Pace).per_second <= 500 * 0.9 - 150 + 0.01
        assert [target.url for target in fleet.last(Pace).targets] == ["http://s3"]


async def test_while_a_redeploy_runs_clients_go_where_they_can_stay(autojump_clock: trio.testing.MockClock) -> None:
    async with world() as (fleet, nursery):
        tower = await fleet.tower(nursery)
        for id in ("s1", "s2", "s3"):
            nursery.start_soon(fleet.beating, id)
        await trio.sleep(3)
        told = {"version_from": "1.0", "version_to": "1.1", "servers": 3}
        fleet.server.publish(Rollout("r", "f", "began", made_at=clock(), **told))
        await trio.sleep(0.5)
        assert tower.assign("", "").server in ("s1", "s2", "s3"), "all are about to go, but somebody has to take them"
        fleet.fields["s2"] |= {"version": "1.1", "boot": "s2-b", "started_at": clock(), "follows": "s2-a"}
        await trio.sleep(3)
        fleet.server.publish(Rollout("r", "f", "handed", "s2", 1, made_at=clock(), **told))
        await trio.sleep(0.5)
        assert {tower.assign("", "").server for _ in range(30)} == {"s2"}
        fleet.server.publish(Leaving("s1", "s1-a", "ask", 100, 25.0))
        await trio.sleep(0.1)
        assert [target.url for target in fleet.last(Pace).targets] == ["http://s2"]
        fleet.server.publish(Rollout("r", "f", "done", made_at=clock(), **told))
        await trio.sleep(0.5)
        assert {tower.assign("", "").server for _ in range(10)} == {"s1", "s3"}, "the emptier ones"


async def test_a_story_that_could_not_be_written_is_written_later(autojump_clock: trio.testing.MockClock) -> None:
    async with world() as (fleet, nursery):
        tower = await fleet.tower(nursery)
        fleet.store.away = True
        fleet.server.publish(Rollout("r", "f", "began", made_at=clock()))
        await trio.sleep(10)
        assert fleet.store.stories == {}
        assert [story.id for story in (await tower.stories(5)).rollouts] == ["r"]
        fleet.store.away = False
        await trio.sleep(5)
        assert fleet.store.stories["r"].steps == 1
        await trio.sleep(400)
        assert (fleet.store.stories["r"].state, tower.view().rollout) == ("failed", None)


async def test_orders_are_refused_or_reach_the_servers(autojump_clock: trio.testing.MockClock) -> None:
    async with world() as (fleet, nursery):
        tower, other = await fleet.tower(nursery), await fleet.tower(nursery)
        for id in ("s1", "s2"):
            nursery.start_soon(lambda id=id: fleet.beating(id, sessions=10))
        await trio.sleep(3)
        said = tower.order("s1", Wish("drain", per_second=5.0), "u_admin")
        assert said.says.startswith("10 people will be moved over about 2 s to s2")
        await trio.sleep(0.5)
        order = fleet.last(Order)
        assert (order.id, order.verb, order.per_second, order.order) == ("s1", "drain", 5.0, said.order)
        with other.feed.subscribe() as watching:
            other._tell(clock())
            assert b"drain s1, ordered through another tower" in await watching.next()
        with pytest.raises(Refused):
            tower.order("s9", Wish("drain"), "u_admin")


async def test_after_its_own_standstill_a_tower_calls_nobody_dead(autojump_clock: trio.testing.MockClock) -> None:
    async with world() as (fleet, nursery):
        jump = 0.0
        tower = await fleet.tower(nursery)
        tower.clock = lambda: clock() + jump
        nursery.start_soon(fleet.beating, "s1")
        await trio.sleep(5)
        jump = 60.0  # the process was stopped for a minute: its clock went on, nothing was heard
        await trio.sleep(0.5)
        assert states(tower) == {"s1": "ready"}
