"""Servers that share rooms: write at once, die, stand still, start again, tell another time."""

from __future__ import annotations

import random
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from tests.faults.fleet import lasting, sql

if TYPE_CHECKING:
    from tests.faults.conftest import MakeFleet

OFF = 300  # seconds
LOOK = 0.12  # seconds between looks


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


async def test_the_clocks_of_two_servers_are_five_minutes_off(make_fleet: MakeFleet, tmp_path: Path) -> None:
    """One ahead, one behind, one right: numbers decide and no clock, while they talk and when they are replaced."""
    fleet = await make_fleet(3, start=False)
    ahead, behind, _ = fleet.servers
    ahead.environ |= clock_off(OFF, tmp_path / "ahead.so")
    behind.environ |= clock_off(-OFF, tmp_path / "behind.so")
    await fleet.start()
    beats = f"SELECT id, TIMESTAMPDIFF(SECOND, UTC_TIMESTAMP(), seen_at) FROM {fleet.name}.server"
    seen: dict[str, int] = {}
    with trio.fail_after(60.0):
        while len(seen) < len(fleet.servers):
            seen = {str(server): int(seconds) for server, seconds in await sql(fleet.mysql.admin_url(), beats)}
            await trio.sleep(LOOK)
    assert seen[ahead.id] > OFF / 2
    assert seen[behind.id] < -OFF / 2
    async with fleet.talking() as talk:
        await fleet.until_on_bus()
        talk.note("all talk", "clocks off")
        await talk.until_crossed("clocks off", 500)
        for server in (ahead, behind):  # clients take its tickets elsewhere, and others' to it
            server.signal(signal.SIGTERM)
            assert await server.wait() == 0
            talk.note(f"{server.id} was stopped", "stopped")
            await server.start()
            talk.note(f"{server.id} is ready again", "after")
        await talk.until_crossed("after", 300)
    assert talk.verdict is not None
    assert talk.verdict.counts.resumes > 5


def clock_off(seconds: int, library: Path) -> dict[str, str]:
    """The environment in which a process takes another time for now; how time goes by stays as it is."""
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, Path(__file__).with_name("clock_off.c")], check=True)
    return {"LD_PRELOAD": str(library), "CLOCK_OFF": str(seconds)}


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
