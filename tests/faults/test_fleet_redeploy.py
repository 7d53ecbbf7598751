"""`belfry fleet` on two ports over MySQL and Kafka: rolling redeploys under load, and what dies meanwhile."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

import pytest
import trio
from chat_world import until

from tests.faults.redeploying import Supervised

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.faults.conftest import MakeFleet
    from tests.faults.fleet import Fleet, Talk

    Supervise = Callable[..., Awaitable["FleetProcess"]]

ALWAYS = ("--guests", "--reconnect-window", "0.5", "--drain-deadline", "10", "--send-rate", "0")


class FleetProcess(Supervised):
    """`belfry fleet` for the ports of a fleet whose servers nobody started."""

    def __init__(self, fleet: Fleet, *flags: str) -> None:
        first = fleet.servers[0]
        super().__init__(first.data.with_name(f"{fleet.name}-supervisor"), *ALWAYS, *flags)
        self.fleet = fleet
        self.environ = first.environ
        self.port = first.port

    def command(self) -> list[str]:
        ports = ",".join(str(server.port) for server in self.fleet.servers)
        return [sys.executable, "-m", "belfry", "fleet", "--ports", ports, "--bus", self.fleet.bus, *self._flags]

    async def start(self) -> None:
        await super().start()
        await until(lambda: self.log.read_text(errors="replace").count('"event":"open"') == len(self.fleet.servers))


@pytest.fixture
async def supervise() -> AsyncIterator[Supervise]:
    """`await supervise(fleet, "--flag", ...)` gives a running supervisor with a server on each of the fleet's ports."""
    made: list[FleetProcess] = []

    async def one(fleet: Fleet, *flags: str) -> FleetProcess:
        process = FleetProcess(fleet, *flags)
        made.append(process)
        await process.start()
        return process

    yield one
    for process in made:
        await process.end()


def reconnects(talk: Talk) -> int:
    return max(client.reconnects for client in talk.run.clients)


async def hear_each_other(fleet: Fleet, what: str) -> None:
    """What is said on each server arrives on the other."""
    one, two = fleet.servers
    async with fleet.visit(one, f"one-{what}") as ada, fleet.visit(two, f"two-{what}") as ben:
        for speaker, listener in ((ada, ben), (ben, ada)):
            seq = await speaker.tell(what, "n")
            assert (await listener.hear("message", seq=seq))["text"] == what


async def test_three_rolling_redeploys_are_noticed_by_nobody(make_fleet: MakeFleet, supervise: Supervise) -> None:
    fleet = await make_fleet(2, start=False)
    process = await supervise(fleet)
    async with fleet.talking() as talk:
        await talk.until_crossed("calm")
        for number in range(3):
            told = await process.redeploy()
            talk.note(told, f"after redeploy {number + 1}")
            assert told.startswith("redeployed 2 servers: "), process.told()
            assert "told to reconnect" not in told
            await talk.until_crossed(f"after redeploy {number + 1}")
        assert reconnects(talk) == 0, process.told()
    assert talk.verdict is not None
    assert talk.verdict.counts.flaps == talk.verdict.counts.departures == 0, talk.verdict.lines()
    process.signal(signal.SIGTERM)
    assert await process.wait() == 0, process.told()


async def test_a_server_dies_and_is_started_again_and_redeployed(make_fleet: MakeFleet, supervise: Supervise) -> None:
    """The clients of who died may all have gone to the other by then, and nobody comes back from there."""
    fleet = await make_fleet(2, start=False)
    process = await supervise(fleet, "--first-rooms", "lobby")
    async with fleet.talking() as talk:
        talk.note("kill -9 of one server", "killed")
        os.kill(process.servers()[0], signal.SIGKILL)
        await process.until_told("serves again")
        await hear_each_other(fleet, "again")
        told = await process.redeploy()
        talk.note(told, "after")
        assert told.startswith("redeployed 2 servers: "), process.told()
        await hear_each_other(fleet, "after")
        enough = talk.acks.total() + 50
        await until(lambda: talk.acks.total() >= enough)


async def test_the_broker_dies_during_a_redeploy(make_fleet: MakeFleet, supervise: Supervise) -> None:
    fleet = await make_fleet(2, start=False)
    process = await supervise(fleet)
    async with fleet.talking() as talk:
        process.signal(signal.SIGHUP)
        await trio.sleep(0.5)
        talk.note("kill -9 of Kafka", "without Kafka")
        fleet.kafka.kill()
        await process.until_told("redeployed 2 servers: ")
        await talk.until_crossed("without Kafka", 20)
        await trio.to_thread.run_sync(fleet.kafka.start)
        told = await process.redeploy()
        talk.note(told, "after")
        assert told.startswith("redeployed 2 servers: "), process.told()
        assert reconnects(talk) == 0, process.told()
        await talk.until_crossed("after", 20)


async def test_the_database_dies_during_a_redeploy(make_fleet: MakeFleet, supervise: Supervise) -> None:
    """The handover succeeds or fails; either way nobody loses a message, and the next one succeeds."""
    fleet = await make_fleet(2, start=False)
    process = await supervise(fleet)
    async with fleet.talking() as talk:
        process.signal(signal.SIGHUP)
        await trio.sleep(1.0)
        talk.note("kill -9 of MySQL", "without MySQL")
        fleet.mysql.kill()
        await trio.sleep(1.0)
        await trio.to_thread.run_sync(fleet.mysql.start)
        talk.note("MySQL is back", "after")
        await until(lambda: bool(process.ends()))
        talk.note(process.ends()[-1])
        told = await process.redeploy()
        talk.note(told)
        assert told.startswith("redeployed 2 servers: "), process.told()
        await talk.until_crossed("after", 20)
