"""Migrations: numbered .sql files in migrations/<twin>/, each run once, in order, in a transaction of its own."""

from __future__ import annotations

import datetime as dt
import re
import sqlite3
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Literal

from db.errors import StoreUnusable
from db.moments import moment, moment_text
from db.sqlite_connection import BUSY, connect, told_apart

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

APPLICATION_ID = 1113943142  # "Belf", set by the first migration: a file that has it is ours
ADDS = "expand_"  # begins the name of a migration that only adds: code from before it runs on its schema as well
_FILE = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")


@dataclass(frozen=True, slots=True)
class Migration:
    """One .sql file."""

    version: int  # 1, 2, 3, ...
    name: str
    sql: str


@dataclass(frozen=True, slots=True)
class Applied:
    """One row of schema_version."""

    version: int
    name: str
    at: dt.datetime


@dataclass(frozen=True, slots=True)
class Status:
    """What a database has and lacks. `newer`: applied here, but unknown to this code."""

    applied: tuple[Applied, ...]
    pending: tuple[Migration, ...]
    newer: tuple[Applied, ...]

    @property
    def too_new(self) -> bool:
        """Whether this code cannot run on it: something applied by a newer version did more than add."""
        return any(not one.name.startswith(ADDS) for one in self.newer)


def migrations(twin: Literal["sqlite", "mysql"]) -> tuple[Migration, ...]:
    """This code's migrations, in order."""
    found = []
    for file in (resources.files("db") / "migrations" / twin).iterdir():
        if match := _FILE.fullmatch(file.name):
            found.append(Migration(int(match[1]), match[2], file.read_text(encoding="utf-8")))
    found.sort(key=lambda migration: migration.version)
    # A gap or a double is a packaging mistake; it must never pick what runs.
    if [migration.version for migration in found] != list(range(1, len(found) + 1)):
        raise AssertionError(f"the {twin} migrations are not numbered 1, 2, 3, ...: {[m.version for m in found]}")
    return tuple(found)


def migrate_sqlite(path: Path, known: tuple[Migration, ...] | None = None, busy: float = BUSY) -> list[Applied]:
    """Bring the database at `path` to this code's schema, making it if it is missing; what was applied by this call.

    Blocks. Safe when several do it at once: each takes SQLite's write lock and then looks at what is left to do.
    A migration that fails leaves the schema as it was before it. Raises StoreUnusable and StoreUnavailable.
    """
    known = migrations("sqlite") if known is None else known
    connection = connect(path, "create", busy)
    try:
        done = []
        with told_apart(path):
            while (one := _apply_next(connection, path, known)) is not None:
                done.append(one)
        return done
    finally:
        connection.close()


def status_sqlite(path: Path, known: tuple[Migration, ...] | None = None) -> Status:
    """What is applied and what is pending; a missing file has everything pending and is not made. Blocks."""
    known = migrations("sqlite") if known is None else known
    if path.parent.is_dir() and not path.exists():
        return Status((), known, ())
    connection = connect(path, "read")
    try:
        with told_apart(path):
            return _status(connection, path, known)
    finally:
        connection.close()


def refuse_unfit(connection: sqlite3.Connection, path: Path) -> None:
    """Raise StoreUnusable unless the database has this code's schema, or one that newer code only added to."""
    status = _status(connection, path, migrations("sqlite"))
    if status.too_new:
        raise _made_by_newer(status, path)
    if status.pending:
        raise StoreUnusable(
            f"the database {path} lacks {len(status.pending)} of this version's migrations: run `belfry db migrate`"
        )


def _apply_next(connection: sqlite3.Connection, path: Path, known: tuple[Migration, ...]) -> Applied | None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        status = _status(connection, path, known)
        if status.too_new:
            raise _made_by_newer(status, path)
        if not status.pending:
            return None
        migration = status.pending[0]
        for statement in _statements(migration.sql):
            connection.execute(statement)
        applied = Applied(migration.version, migration.name, dt.datetime.now(dt.UTC))
        connection.execute(
            "INSERT INTO schema_version (version, name, applied_at) VALUES (?, ?, ?)",
            (applied.version, applied.name, moment_text(applied.at)),
        )
        connection.execute("COMMIT")
        return applied
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _status(connection: sqlite3.Connection, path: Path, known: tuple[Migration, ...]) -> Status:
    applied = tuple(_applied(connection, path))
    highest = max((one.version for one in applied), default=0)
    return Status(
        applied,
        tuple(migration for migration in known if migration.version > highest),
        tuple(one for one in applied if one.version > len(known)),
    )


def _applied(connection: sqlite3.Connection, path: Path) -> list[Applied]:
    ((tables,),) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
    if tables == 0:
        return []
    ((application,),) = connection.execute("PRAGMA application_id").fetchall()
    if application != APPLICATION_ID:
        raise StoreUnusable(f"{path} is a SQLite database of another program: name another file")
    rows = connection.execute("SELECT version, name, applied_at FROM schema_version ORDER BY version").fetchall()
    return [Applied(version, name, moment(at)) for version, name, at in rows]


def _made_by_newer(status: Status, path: Path) -> StoreUnusable:
    return StoreUnusable(
        f"the database {path} has schema {status.newer[-1].version}, made by a newer Belfry than this one: "
        "run that version, or restore the backup from before its migration"
    )


def _statements(sql: str) -> Iterator[str]:
    # Not executescript: it would commit first, and so end the transaction that makes a migration all or nothing.
    statement = ""
    for line in sql.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if any(line.strip() and not line.lstrip().startswith("--") for line in statement.splitlines()):
        raise AssertionError(f"a migration ends in the middle of a statement: {statement!r}")
