"""A server is drained to another under load: by a signal, by an order, half-way, without a bus, and dying meanwhile."""

from __future__ import annotations

import contextlib
import itertools
import signal
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import trio
from chat_world import until

from belfry.audit.address import read_address
from belfry.audit.observation import Closed as LinkClosed
from bus.events import Order
from bus.open import open_bus
from bus.url import parse_url
from chat.tokens import Tokens
from tests.faults.fleet import WITH_A_LOBBY, FleetServer
from tests.faults.test_stop import stubborn

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from bus.events import Event
    from tests.faults.conftest import MakeFleet
    from tests.faults.fleet import Fleet, Talk

_orders = itertools.count()


class Tower(FleetServer):
    """`belfry tower` in a process of its own."""

    def command(self) -> list[str]:
        return [sys.executable, "-m", "belfry", "tower", "--port", str(self.port), "--bus", self.bus]


class Operator:
    """Gives orders over the fleet's own bus, as a tower would."""

    def __init__(self, bus: Any) -> None:
        self._bus = bus

    def order(self, server: FleetServer, verb: str, per_second: float = 0.0) -> None:
        self._bus.publish(Order(server.id, f"test-{next(_orders)}", verb, per_second))


@contextlib.asynccontextmanager
async def operator(fleet: Fleet) -> AsyncIterator[Operator]:
    bus = open_bus(parse_url(fleet.bus), "operator/1")

    def ignore(_origin: str, _events: list[Event]) -> None:
        pass

    async with trio.open_nursery() as nursery:
        await nursery.start(partial(bus.run, ignore, lambda: None))
        yield Operator(bus)
        await trio.sleep(0.5)  # for the last order to leave
        nursery.cancel_scope.cancel()


def at(talk: Talk, server: FleetServer) -> int:
    """How many clients are on this server now."""
    address = read_address(server.url)
    links = [client.link for client in talk.run.clients]
    return sum(link is not None and not link.ended.is_set() and link.address == address for link in links)


def closes(talk: Talk) -> set[int]:
    """The codes with which connections ended so far."""
    return {seen.code for _, seen in talk.story._seen if isinstance(seen, LinkClosed)}


async def know_each_other(fleet: Fleet) -> None:
    """Wait until each has heard the others' beats."""
    await fleet.until_on_bus()
    await trio.sleep(2.5)  # a beat and a bit: it is nowhere told that another was heard


async def test_a_stop_moves_everybody_to_the_other_server(make_fleet: MakeFleet) -> None:
    fleet = await make_fleet()
    leaving, other = fleet.servers
    async with fleet.talking(clients=40) as talk:
        await know_each_other(fleet)
        before = talk.run.meter.reconnects
        moving = at(talk, leaving)
        assert moving >= 10
        talk.note(f"SIGTERM to {leaving.id}, which has {moving} clients", "draining")
        leaving.signal(signal.SIGTERM)
        assert await leaving.wait() == 0, leaving.told()
        await until(lambda: at(talk, other) == len(talk.run.clients))
        assert talk.run.meter.reconnects - before >= moving
        assert f"to {other.url}" in leaving.told()
        assert 1006 not in closes(talk)  # told, all of them
        await leaving.start()
        talk.note(f"{leaving.id} is back, empty", "after")
        await talk.until_acked(other)


async def test_an_ordered_drain_empties_a_server_that_then_waits(make_fleet: MakeFleet) -> None:
    fleet = await make_fleet(2, *WITH_A_LOBBY)
    leaving, other = fleet.servers
    async with operator(fleet) as tower, fleet.talking() as talk:
        await know_each_other(fleet)
        tower.order(leaving, "drain", per_second=20.0)
        await leaving.until_told("drained: nobody is left")
        await until(lambda: at(talk, other) == len(talk.run.clients))
        talk.note(f"{leaving.id} is drained", "drained")
        await talk.until_acked(other)
        tower.order(leaving, "uncordon")
        await until(lambda: "ordered to uncordon" in leaving.told())
        async with fleet.visit(leaving, "eve") as eve:
            await eve.tell("let in again", "n")
        leaving.signal(signal.SIGTERM)
        assert await leaving.wait() == 0, leaving.told()
        await leaving.start()


async def test_a_drain_that_is_aborted_half_way(make_fleet: MakeFleet) -> None:
    fleet = await make_fleet()
    leaving, other = fleet.servers
    async with operator(fleet) as tower, fleet.talking() as talk:
        await know_each_other(fleet)
        here = at(talk, leaving)
        tower.order(leaving, "drain", per_second=2.0)
        await until(lambda: at(talk, leaving) <= here - 3)
        tower.order(leaving, "abort")
        await leaving.until_told("the drain is aborted")
        talk.note(f"aborted with {at(talk, leaving)} of {here} left", "aborted")
        await talk.until_acked(leaving)
        await trio.sleep(2.0)
        left = at(talk, leaving)
        assert 0 < left < here
        tower.order(leaving, "drain", per_second=50.0)  # and then it can be drained for good
        await leaving.until_told("drained: nobody is left")
        await talk.until_acked(other)


async def test_who_ignores_moving_is_closed_in_time(make_fleet: MakeFleet) -> None:
    fleet = await make_fleet(2, *WITH_A_LOBBY)
    leaving, other = fleet.servers
    tokens = Tokens(fleet.secret.encode())
    async with fleet.talking() as talk:
        await know_each_other(fleet)
        async with trio.open_nursery() as nursery:
            for number in range(3):
                token = tokens.issue(f"stubborn-{number}", "Stubborn", 3_600.0)
                await nursery.start(partial(stubborn, leaving.port, token))
            async with fleet.visit(leaving, "ada") as ada:
                leaving.signal(signal.SIGTERM)
                moving = await ada.hear("moving")
                assert moving["url"] == other.url
                assert await ada.tell("I stay", "n1") > 0  # between `moving` and the close it is served as ever
                assert str(await ada.hear_close()) == "1012 server is moving"
            assert await leaving.wait() == 0, leaving.told()
            nursery.cancel_scope.cancel()
        await talk.until_acked(other)
        await leaving.start()  # the history is read from the first one


async def test_a_stop_while_the_bus_is_away(make_fleet: MakeFleet) -> None:
    """The others were heard of before it went: clients still move at a pace and to them."""
    fleet = await make_fleet()
    leaving, other = fleet.servers
    async with fleet.talking() as talk:
        await know_each_other(fleet)
        await trio.to_thread.run_sync(fleet.kafka.kill)
        talk.note("kill -9 of the broker", "without Kafka")
        await trio.sleep(1.0)
        leaving.signal(signal.SIGTERM)
        assert await leaving.wait() == 0, leaving.told()
        assert "our own pace" in leaving.told()
        await until(lambda: at(talk, other) == len(talk.run.clients))
        await talk.until_acked(other)
        await trio.to_thread.run_sync(fleet.kafka.start)
        await leaving.start()  # the history is read from the first one
        await other.until_told("is back")


async def test_a_server_that_is_killed_while_it_drains(make_fleet: MakeFleet) -> None:
    fleet = await make_fleet()
    leaving, other = fleet.servers
    async with operator(fleet) as tower, fleet.talking() as talk:
        await know_each_other(fleet)
        here = at(talk, leaving)
        tower.order(leaving, "drain", per_second=2.0)
        await until(lambda: at(talk, leaving) <= here - 3)
        talk.note(f"kill -9 of {leaving.id} with {at(talk, leaving)} of {here} left", "killed")
        await leaving.kill()
        await until(lambda: at(talk, other) == len(talk.run.clients))
        talk.note("everybody is on the other", "after")
        await talk.until_acked(other)
        await leaving.start()


async def test_with_a_tower_its_pace_is_taken_and_it_tells_where_to_go(make_fleet: MakeFleet) -> None:
    fleet = await make_fleet(start=False)
    tower = Tower(fleet.servers[0].data.with_name("tower"), fleet.db, fleet.bus, fleet.secret)
    try:
        for server in fleet.servers:
            server.more(f"--tower={tower.url}")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tower.start)
            nursery.start_soon(fleet.start)
        leaving, other = fleet.servers
        async with fleet.talking() as talk:
            await know_each_other(fleet)
            leaving.signal(signal.SIGTERM)
            assert await leaving.wait() == 0, leaving.told()
            assert f"the tower's pace, to {other.url}" in leaving.told()
            await until(lambda: at(talk, other) == len(talk.run.clients))
            await leaving.start()
            talk.note(f"{leaving.id} is back; kill -9 of {other.id}", "killed")
            await trio.sleep(2.5)
            await other.kill()
            await until(lambda: at(talk, leaving) == len(talk.run.clients))
            await talk.until_acked(leaving)
            await other.start()
    finally:
        await tower.end()
