"""Servers that share rooms: write at once, die, stand still, start again, tell another time."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import trio

from tests.faults.fleet import lasting

if TYPE_CHECKING:
    from tests.faults.conftest import MakeFleet


async def test_two_servers_write_one_hot_room(make_fleet: MakeFleet) -> None:
    fleet = await make_fleet()
    async with fleet.talking(clients=16, rooms=1, rate=80.0) as talk:
        await talk.until_crossed("calm", 1_000)


async def test_each_server_is_killed_and_started_again(make_fleet: MakeFleet) -> None:
    fleet = await make_fleet()
    async with fleet.talking() as talk:
        for server in fleet.servers:
            talk.note(f"kill -9 of {server.id}", "killed")
            await server.kill()
            await trio.sleep(1.0)
            await server.start()
            talk.note(f"{server.id} is ready again", "after")
            await trio.sleep(1.0)
    assert talk.verdict is not None
    assert talk.verdict.counts.resumes > 10


async def test_a_server_stands_still_and_goes_on(make_fleet: MakeFleet) -> None:
    """Longer than its lease: the others let its members go, its clients leave it, and what it writes then fits."""
    fleet = await make_fleet(2, "--heartbeat", "2")
    async with fleet.talking() as talk:
        still = fleet.servers[0]
        talk.note(f"{still.id} stands still", "paused")
        with still.paused():
            await trio.sleep(lasting(10.0))
        talk.note(f"{still.id} goes on", "after")
        await trio.sleep(3.0)
    assert "stood still" in still.told()
    assert talk.verdict is not None
    assert talk.verdict.counts.resumes > 5


async def test_a_server_stands_still_again_and_again_in_a_hot_room(make_fleet: MakeFleet) -> None:
    """It may be in the middle of a commit: the database ends that by itself, and the other server goes on.

    A batch of many rooms, or with known nonces, holds them for a round trip: how long a silent one may is tested with
    the store (tests/db/test_mysql.py), where the moment can be met.
    """
    fleet = await make_fleet()
    still, other = fleet.servers
    async with fleet.talking(clients=16, rooms=1, rate=80.0) as talk:
        for _ in range(6):
            with still.paused():
                talk.note(f"{still.id} stands still", "paused")
                await talk.until_acked(other)
            talk.note(f"{still.id} goes on", "after")
            await talk.until_acked(still)
            await trio.sleep(random.uniform(0.0, 0.2))
        await talk.until_crossed("after", 200)
