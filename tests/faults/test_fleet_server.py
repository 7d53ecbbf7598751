"""Servers that share rooms: write at once, die, stand still, start again, tell another time."""

from __future__ import annotations

import random
import signal
from typing import TYPE_CHECKING

import trio

from tests.faults.fleet import lasting, sql

if TYPE_CHECKING:
    from tests.faults.conftest import MakeFleet
    from tests.faults.fleet import Fleet, FleetServer

# Transactions that hold rows and whose owner says nothing.
SILENT = """\
SELECT trx_id FROM information_schema.innodb_trx JOIN information_schema.processlist ON id = trx_mysql_thread_id
WHERE db = '{}' AND command = 'Sleep' AND trx_rows_locked > 0"""


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


async def test_a_server_stands_still_while_it_holds_a_room(make_fleet: MakeFleet) -> None:
    """Between the lock of a room's row and its commit: the other servers go on all the same."""
    fleet = await make_fleet()
    still, other = fleet.servers
    async with fleet.talking(clients=16, rooms=1, rate=80.0) as talk:
        await pause_holding(fleet, still)
        talk.note(f"{still.id} stands still in a transaction", "paused")
        await talk.until_acked(other)
        still.signal(signal.SIGCONT)
        talk.note(f"{still.id} goes on", "after")
        await talk.until_crossed("after", 200)


async def pause_holding(fleet: Fleet, server: FleetServer) -> None:
    """Stop it, at a moment at which it holds rows."""
    query = SILENT.format(fleet.name)
    with trio.fail_after(60.0):
        while True:
            server.signal(signal.SIGSTOP)
            held = await sql(fleet.mysql.admin_url(), query)
            if held:
                await trio.sleep(0.2)  # the other server's take milliseconds
                if set(held) & set(await sql(fleet.mysql.admin_url(), query)):
                    return
            server.signal(signal.SIGCONT)
            await trio.sleep(random.uniform(0.0, 0.05))
