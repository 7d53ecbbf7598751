"""MySQL dies, hangs, cuts and refuses: sends are refused for now, sockets stay, nothing acknowledged is gone."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest
import trio
from chat_world import PATIENCE, until

from compose.services import Mariadb
from db.mysql_connection import Connection
from db.url import MysqlUrl, parse_url
from tests.db.mysql_proxy import Proxy
from tests.faults.disk import fill, small_disk
from tests.faults.fleet import lasting

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.faults.conftest import MakeFleet
    from tests.faults.fleet import Fleet, Talk

CUTS = 12  # connections cut in the middle of a COMMIT


async def test_the_database_is_killed_and_started_again(make_fleet: MakeFleet) -> None:
    fleet = await make_fleet()
    async with fleet.talking() as talk:
        links = [client.link for client in talk.run.clients]
        await trio.to_thread.run_sync(fleet.mysql.kill)
        talk.note("kill -9 of the database", "killed")
        await until(lambda: talk.run.meter.errors["store_unavailable"] > 0)
        await trio.sleep(lasting(2.0))
        acked = talk.run.meter.acked
        await trio.to_thread.run_sync(fleet.mysql.start)
        talk.note("the database is back", "after")
        await until(lambda: talk.run.meter.acked > acked)
        talk.note("the first ack")
        await talk.until_crossed("after", 300)
        assert [client.link for client in talk.run.clients] == links  # the sockets stayed
    assert talk.verdict is not None
    assert talk.verdict.counts.resumes == 0


async def test_the_database_hangs(make_fleet: MakeFleet) -> None:
    """Longer than a statement's answer is waited for: what became of a commit is not known, and asked for later."""
    fleet = await make_fleet()
    async with fleet.talking() as talk:
        links = [client.link for client in talk.run.clients]
        fleet.mysql.pause()
        talk.note("SIGSTOP of the database", "paused")
        await trio.sleep(lasting(12.0))
        fleet.mysql.resume()
        talk.note("the database goes on", "after")
        await talk.until_crossed("after", 300)
        assert [client.link for client in talk.run.clients] == links
    assert talk.verdict is not None
    assert talk.verdict.counts.resumes == 0


async def test_connections_are_cut_in_the_middle_of_commits(make_fleet: MakeFleet) -> None:
    """Before COMMIT arrives and after, by turns: what became of it is asked by its nonces, and nothing is doubled."""
    fleet = await make_fleet(start=False)
    proxy = Proxy(fleet.mysql.port)
    async with trio.open_nursery() as nursery:
        await nursery.start(proxy.run)
        for server in fleet.servers:
            server.environ["BELFRY_DB"] = fleet.db_at(proxy.port)
        await fleet.start()
        async with fleet.talking() as talk:
            links = [client.link for client in talk.run.clients]
            for number in range(CUTS):
                where = "after" if number % 2 else "before"
                proxy.cut_next_commit(where)
                await until(lambda number=number: proxy.cuts > number)  # type: ignore[misc]  # mypy knows no such default
                talk.note(f"a connection is cut {where} a COMMIT", "cut")
                await trio.sleep(0.2)
            await talk.until_crossed("cut", 300)
            assert [client.link for client in talk.run.clients] == links
        nursery.cancel_scope.cancel()
    for server in fleet.servers:
        assert "the outcome of a commit is unknown, asking again" in server.told()
    assert talk.verdict is not None
    assert talk.verdict.counts.resumes == 0


async def test_what_its_operator_has_to_mend_is_one_line_and_refused_for_now(make_fleet: MakeFleet) -> None:
    fleet = await make_fleet()
    async with fleet.talking() as talk, operator(fleet) as admin:
        links = [client.link for client in talk.run.clients]
        ((most,),) = (await admin.run(b"SELECT @@max_connections"))[-1].rows
        for what, wrong, right, line in (
            (
                "read-only",
                "SET GLOBAL super_read_only = ON",
                "SET GLOBAL read_only = OFF",
                "SET GLOBAL read_only = OFF",
            ),
            (
                "without a free connection",
                "SET GLOBAL max_connections = 1",  # and that is the operator's
                f"SET GLOBAL max_connections = {most}",
                "takes no more connections (error 1040): raise max_connections there",
            ),
            (
                "under another password",
                f"ALTER USER {fleet.name} IDENTIFIED BY 'another'",
                f"ALTER USER {fleet.name} IDENTIFIED BY '{fleet.name}'",
                "refuses the user or the password",
            ),
        ):
            try:
                await admin.run(wrong.encode())
                await end_connections(admin, fleet.name)
                talk.note(f"the database is {what}", what)
                await until_refused(talk)
                for server in fleet.servers:
                    await server.until_told(line)
            finally:
                await admin.run(right.encode())
            acked = talk.run.meter.acked
            talk.note("it is mended", "after")
            await until(lambda acked=acked: talk.run.meter.acked > acked + 20)  # type: ignore[misc]
        assert [client.link for client in talk.run.clients] == links
    assert talk.verdict is not None
    assert talk.verdict.counts.resumes == 0


@contextlib.asynccontextmanager
async def operator(fleet: Fleet) -> AsyncIterator[Connection]:
    """The administrator's connection, which stays when nobody else gets one."""
    parsed = parse_url(fleet.mysql.admin_url())
    assert isinstance(parsed, MysqlUrl)
    connection = Connection(parsed)
    await connection.open()
    try:
        yield connection
    finally:
        connection.drop()


async def end_connections(admin: Connection, user: str) -> None:
    """End what is open: it would go on as it was let in."""
    found = await admin.run(f"SELECT id FROM information_schema.processlist WHERE user = '{user}'".encode())
    for (number,) in found[-1].rows:
        with contextlib.suppress(Exception):  # gone by itself meanwhile
            await admin.run(f"KILL {number}".encode())


async def until_refused(talk: Talk) -> None:
    refused = talk.run.meter.errors["store_unavailable"]
    await until(lambda: talk.run.meter.errors["store_unavailable"] > refused + 5)


@pytest.fixture
async def small_mariadb(tmp_path: Path) -> AsyncIterator[Mariadb]:
    """A MariaDB whose tables are on a small disk of their own; its logs are on ours, where they always find space.

    Without space for its binary log a server waits, and looks again once a minute; MySQL 8.0.15 dies of a full disk, in
    the middle of taking a statement back.
    """
    with small_disk(tmp_path / "disk", "400m") as disk:
        mariadb = Mariadb(disk)
        mariadb.extra = [f"--log-bin={tmp_path / 'binlog'}"]
        mariadb.log = tmp_path / "mariadb.log"
        await trio.to_thread.run_sync(mariadb.start)
        try:
            yield mariadb
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(mariadb.stop)


async def test_the_databases_disk_is_full(make_fleet: MakeFleet, small_mariadb: Mariadb) -> None:
    """It may die of that: InnoDB gives up when it finds no space to take a statement back (one run in ten).

    Then it has to be started again, as its operator would, and one server may not have heard why it refused.
    """
    fleet = await make_fleet(database=small_mariadb)
    full = "is full or broken (1114: The table 'message' is full): look at it there"
    async with fleet.talking() as talk:
        links = [client.link for client in talk.run.clients]
        ballast = await trio.to_thread.run_sync(fill, small_mariadb.directory)
        talk.note("the disk is full", "full")
        await until_refused(talk)
        await until(lambda: any(full in server.log.read_text(errors="replace") for server in fleet.servers))
        acked = talk.run.meter.acked
        ballast.unlink()
        talk.note("there is space again", "after")
        with trio.fail_after(PATIENCE):
            while talk.run.meter.acked <= acked + 20:
                if not small_mariadb.is_running:
                    talk.note("and the database, which died of it, is started")
                    await trio.to_thread.run_sync(small_mariadb.start)
                await trio.sleep(0.1)
        await talk.until_crossed("after", 100)
        assert [client.link for client in talk.run.clients] == links
    assert small_mariadb.is_running
