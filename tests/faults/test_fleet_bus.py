"""Kafka dies, hangs, and is not there at the start: rooms on several servers go on through the database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from tests.faults.fleet import lasting

if TYPE_CHECKING:
    from tests.faults.conftest import MakeFleet


async def test_the_broker_is_killed_and_started_again(make_fleet: MakeFleet) -> None:
    fleet = await make_fleet()
    async with fleet.talking() as talk:
        await fleet.until_on_bus()
        await trio.to_thread.run_sync(fleet.kafka.kill)
        talk.note("kill -9 of the broker", "without Kafka")
        await trio.sleep(lasting(2.0))
        await talk.until_crossed("without Kafka", 500)
        await trio.to_thread.run_sync(fleet.kafka.start)
        for server in fleet.servers:
            await server.until_told("is back")
        talk.note("the broker is back", "with Kafka again")
        await talk.until_crossed("with Kafka again", 500)


async def test_the_broker_hangs_under_load(make_fleet: MakeFleet) -> None:
    """Its sockets stay open and nobody answers: no error tells."""
    fleet = await make_fleet()
    async with fleet.talking() as talk:
        await fleet.until_on_bus()
        fleet.kafka.pause()
        talk.note("SIGSTOP of the broker", "without Kafka")
        await trio.sleep(lasting(10.0))
        await talk.until_crossed("without Kafka", 500)
        fleet.kafka.resume()
        for server in fleet.servers:
            await server.until_told("is back")
        talk.note("the broker is back", "with Kafka again")
        await talk.until_crossed("with Kafka again", 500)


async def test_the_broker_is_away_at_the_start_and_comes_later(make_fleet: MakeFleet) -> None:
    fleet = await make_fleet(start=False)
    await trio.to_thread.run_sync(fleet.kafka.kill)
    await fleet.start()
    async with fleet.talking() as talk:
        await talk.until_crossed("calm", 300)
        await trio.to_thread.run_sync(fleet.kafka.start)
        await fleet.until_on_bus()
        talk.note("the broker has come", "with Kafka")
        await talk.until_crossed("with Kafka", 300)
