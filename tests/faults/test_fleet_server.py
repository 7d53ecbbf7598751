"""Servers that share rooms: write at once, die, stand still, start again, tell another time."""

from __future__ import annotations

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
