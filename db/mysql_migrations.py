"""The schema of a MySQL database: brought to this code's version by one at a time, or refused.

MySQL commits at every CREATE and ALTER, so a migration that fails in its middle stays there: its statements are
written so that they can be run again, and its row in schema_version comes last. A named lock on the server lets two
that start at once take turns; it ends with its connection, however that ends.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

from db.errors import StoreUnavailable, StoreUnusable
from db.migrations import Applied, Migration, Status, migrations
from db.mysql_connection import Connection, moment_literal, quoted
from db.mysql_errors import told_apart

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from db.url import MysqlUrl

CONNECT = 5.0  # seconds, as in the pool
ASK = 10.0  # seconds for a small question
LOCK = 60  # seconds to wait for another one's migrations; the first schema takes 1
STATEMENT = 3_600.0  # seconds for one: an ALTER of a large table copies it


async def migrate_mysql(url: MysqlUrl, known: tuple[Migration, ...] | None = None) -> list[Applied]:
    """Bring the database to this code's schema; what was applied by this call. Safe when several do it at once.

    Raises StoreUnusable and StoreUnavailable.
    """
    known = migrations("mysql") if known is None else known
    async with _connected(url) as connection:
        await _take_turn(connection, url)
        status = await _status(connection, url, known)
        if status.too_new:
            raise _made_by_newer(status, url)
        return [await _apply(connection, migration) for migration in status.pending]


async def make_mysql(url: MysqlUrl) -> list[Applied]:
    """Fill an empty database; one that another fills at this moment is waited for, one that is behind stays so.

    What was applied by this call. Raises StoreUnusable and StoreUnavailable.
    """
    known = migrations("mysql")
    async with _connected(url) as connection:
        if not (await _status(connection, url, known)).pending:
            return []
        await _take_turn(connection, url)
        status = await _status(connection, url, known)
        if status.applied:
            return []
        return [await _apply(connection, migration) for migration in status.pending]


async def _take_turn(connection: Connection, url: MysqlUrl) -> None:
    """Wait until nobody else migrates this database, and keep others from it for as long as the connection is open."""
    name = f"belfry.migrate.{hashlib.sha256(url.name.encode()).hexdigest()[:16]}"  # 64 characters are allowed
    with trio.fail_after(LOCK + ASK):
        ((taken,),) = (await connection.run(f"SELECT GET_LOCK('{name}', {LOCK})".encode()))[0].rows
    if taken != 1:
        raise StoreUnavailable(f"another one has been migrating {url} for over {LOCK} s: wait for it, then try again")


async def status_mysql(url: MysqlUrl, known: tuple[Migration, ...] | None = None) -> Status:
    """What is applied and what is pending; nothing is changed. Raises StoreUnusable and StoreUnavailable."""
    async with _connected(url) as connection:
        return await _status(connection, url, migrations("mysql") if known is None else known)


async def refuse_unfit(connection: Connection, url: MysqlUrl) -> None:
    """Raise StoreUnusable unless the database has this code's schema, or one that newer code only added to."""
    status = await _status(connection, url, migrations("mysql"))
    if status.too_new:
        raise _made_by_newer(status, url)
    if status.pending:
        what = "is empty" if not status.applied else f"lacks {len(status.pending)} of this version's migrations"
        raise StoreUnusable(f"the database {url} {what}: run `belfry db migrate`")


@asynccontextmanager
async def _connected(url: MysqlUrl) -> AsyncIterator[Connection]:
    with told_apart(url, opening=True):
        connection = Connection(url)
        with trio.fail_after(CONNECT):
            await connection.open()
        try:
            yield connection
            await connection.goodbye()
        finally:
            connection.drop()


async def _apply(connection: Connection, migration: Migration) -> Applied:
    for statement in statements(migration.sql):
        with trio.fail_after(STATEMENT):
            await connection.run(statement.encode())
    applied = Applied(migration.version, migration.name, dt.datetime.now(dt.UTC))
    record = (
        "INSERT INTO schema_version (version, name, applied_at) "
        f"VALUES ({applied.version}, {quoted(applied.name)}, {moment_literal(applied.at)})"
    )
    with trio.fail_after(ASK):
        await connection.run(record.encode())
    return applied


async def _status(connection: Connection, url: MysqlUrl, known: tuple[Migration, ...]) -> Status:
    with trio.fail_after(ASK):
        (tables,) = await connection.run(b"SHOW TABLES")
        names = [name for (name,) in tables.rows]
        if "schema_version" in names:
            rows = (await connection.run(b"SELECT version, name, applied_at FROM schema_version ORDER BY version"))[
                0
            ].rows
        elif names:
            raise StoreUnusable(
                f"the database {url} holds tables of another program ({', '.join(sorted(names)[:3])}): "
                "give Belfry a database of its own"
            )
        else:
            rows = ()
    applied = tuple(Applied(*row) for row in rows)
    highest = max((one.version for one in applied), default=0)
    return Status(
        applied,
        tuple(migration for migration in known if migration.version > highest),
        tuple(one for one in applied if one.version > len(known)),
    )


def _made_by_newer(status: Status, url: MysqlUrl) -> StoreUnusable:
    return StoreUnusable(
        f"the database {url} has schema {status.newer[-1].version}, made by a newer Belfry than this one: "
        "run that version, or restore the backup from before its migration"
    )


def statements(sql: str) -> list[str]:
    """The statements of a migration: each ends with a semicolon at the end of its line, comments aside."""
    found, lines = [], []
    for line in sql.splitlines():
        code = line.partition("-- ")[0].rstrip()
        if not code or code == "--":
            continue
        lines.append(code)
        if code.endswith(";"):
            found.append("\n".join(lines)[:-1])
            lines = []
    if lines:
        raise AssertionError(f"a migration ends in the middle of a statement: {lines!r}")
    return found
