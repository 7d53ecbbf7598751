"""Servers that share rooms: write at once, die, stand still, start again, tell another time."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from db.mysql_connection import Connection
from db.url import MysqlUrl, parse_url
from tests.faults.fleet import lasting, sql

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.faults.conftest import MakeFleet
    from tests.faults.fleet import Fleet, FleetServer

# A fleet's transactions that wait for the lock of a room and have nothing else in hand, and those that hold rows while
# their client says nothing; with the client's port.
TRANSACTIONS = """\
SELECT trx_id, SUBSTRING_INDEX(host, ':', -1) FROM information_schema.innodb_trx
JOIN information_schema.processlist ON id = trx_mysql_thread_id WHERE db = '{}' AND """
WAITING = TRANSACTIONS + "trx_state = 'LOCK WAIT' AND info LIKE 'SELECT%'"
SILENT = TRANSACTIONS + "trx_rows_locked > 0 AND command = 'Sleep'"
OFF = 300  # seconds
LOOK = 0.12  # seconds between looks; asked more often InnoDB answers from its last answer


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
    """Stop it, at a moment at which it holds rows and has said nothing of COMMIT.

    We hold the room until the server waits for it with nothing behind the lock in its packet, stop it there, and let
    go: it gets the lock, and cannot say what was to follow. At first it may wait with a packet that has everything up
    to COMMIT, as it sends while nobody else writes there; refused after 3 s, it asks for the lock alone.
    """
    with trio.fail_after(240.0):
        async with admin_of(fleet) as admin:
            while True:
                async with held_rooms(fleet):
                    while (waits := await found(admin, WAITING.format(fleet.name), server.ports())) is None:  # noqa: ASYNC110
                        await trio.sleep(LOOK)
                    server.signal(signal.SIGSTOP)
                for _ in range(10):  # by then it holds them, unless it was told just before that it had waited too long
                    await trio.sleep(LOOK)
                    if await found(admin, SILENT.format(fleet.name), server.ports()) == waits:
                        return
                server.signal(signal.SIGCONT)


@contextlib.asynccontextmanager
async def admin_of(fleet: Fleet) -> AsyncIterator[Connection]:
    """A connection of the administrator's."""
    parsed = parse_url(fleet.mysql.admin_url())
    assert isinstance(parsed, MysqlUrl)
    connection = Connection(parsed)
    await connection.open()
    try:
        yield connection
    finally:
        connection.drop()


@contextlib.asynccontextmanager
async def held_rooms(fleet: Fleet) -> AsyncIterator[None]:
    """Nobody else gets the rows of rooms while the block runs."""
    async with admin_of(fleet) as holder:
        # Longer than any server's transaction takes, of which there may be two before us.
        await holder.run(b"SET innodb_lock_wait_timeout = 60")
        await holder.run(f"BEGIN;SELECT id FROM {fleet.name}.room FOR UPDATE".encode())
        yield


async def found(admin: Connection, query: str, ports: set[int]) -> int | None:
    """The first transaction of a client at one of these ports."""
    rows = (await admin.run(query.encode()))[-1].rows
    return next((int(number) for number, port in rows if int(port) in ports), None)
