"""The migration runner: order, all or nothing, several at once, newer and foreign schemas."""

from __future__ import annotations

import datetime as dt
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from db.errors import StoreUnusable
from db.migrations import Migration, migrate_sqlite, migrations, status_sqlite
from db.sqlite import SqliteStore

if TYPE_CHECKING:
    from pathlib import Path

OURS = migrations("sqlite")
NEXT = len(OURS) + 1
MORE = (
    Migration(NEXT, "colours", "CREATE TABLE colour (name TEXT);\nINSERT INTO colour VALUES ('red; or -- not');\n"),
    Migration(
        NEXT + 1,
        "trigger",
        "CREATE TRIGGER twice AFTER INSERT ON colour WHEN NEW.name = 'blue' BEGIN\n"
        "  INSERT INTO colour VALUES ('dark blue');\n"
        "  INSERT INTO colour VALUES ('light blue');\n"
        "END;\n-- and a last word\n",
    ),
)


def query(path: Path, sql: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def test_a_new_database_gets_everything_once(tmp_path: Path) -> None:
    path = tmp_path / "belfry.db"
    before = dt.datetime.now(dt.UTC)
    applied = migrate_sqlite(path)
    assert [(one.version, one.name) for one in applied] == [(m.version, m.name) for m in OURS]
    assert all(before <= one.at <= dt.datetime.now(dt.UTC) for one in applied)
    assert migrate_sqlite(path) == []
    status = status_sqlite(path)
    assert (list(status.applied), status.pending, status.newer) == (applied, (), ())


def test_status_of_what_is_not_there_makes_nothing(tmp_path: Path) -> None:
    status = status_sqlite(tmp_path / "belfry.db")
    assert (status.applied, status.pending, status.newer) == ((), OURS, ())
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(StoreUnusable, match=r"missing cannot be used"):
        status_sqlite(tmp_path / "missing" / "belfry.db")


def test_only_what_is_pending_runs_and_in_order(tmp_path: Path) -> None:
    path = tmp_path / "belfry.db"
    migrate_sqlite(path)
    assert status_sqlite(path, (*OURS, *MORE)).pending == MORE
    assert [one.version for one in migrate_sqlite(path, (*OURS, *MORE))] == [NEXT, NEXT + 1]
    assert query(path, "SELECT name FROM colour") == [("red; or -- not",)]
    assert query(path, "SELECT count(*) FROM sqlite_schema WHERE type = 'trigger'") == [(1,)]


def test_a_failing_migration_leaves_no_trace_and_those_before_it_stay(tmp_path: Path) -> None:
    path = tmp_path / "belfry.db"
    broken = Migration(NEXT + 1, "broken", "CREATE TABLE half (a);\nINSERT INTO colour VALUES (1, 2, 3);\n")
    with pytest.raises(sqlite3.OperationalError, match="colour"):
        migrate_sqlite(path, (*OURS, MORE[0], broken))
    assert [one.version for one in status_sqlite(path, (*OURS, *MORE)).applied] == list(range(1, NEXT + 1))
    assert query(path, "SELECT name FROM sqlite_schema WHERE name = 'half'") == []
    assert [one.version for one in migrate_sqlite(path, (*OURS, *MORE))] == [NEXT + 1]


async def test_a_newer_schema_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "belfry.db"
    migrate_sqlite(path, (*OURS, *MORE))
    says = f"has schema {NEXT + 1}, made by a newer Belfry than this one: run that version, or restore the backup"
    for migrate in (True, False):
        with pytest.raises(StoreUnusable, match=says) as caught:
            await SqliteStore.open(path, migrate=migrate)
        assert "\n" not in str(caught.value)
    with pytest.raises(StoreUnusable, match=says):
        migrate_sqlite(path)
    status = status_sqlite(path)
    assert [one.version for one in status.newer] == [NEXT, NEXT + 1]
    assert status.pending == ()


async def test_older_code_runs_on_what_newer_code_only_added_to(tmp_path: Path) -> None:
    path = tmp_path / "belfry.db"
    added = Migration(NEXT, "expand_colours", MORE[0].sql)
    migrate_sqlite(path, (*OURS, added))
    assert migrate_sqlite(path) == []
    store = await SqliteStore.open(path)
    assert await store.room("lobby") is None
    await store.aclose()
    status = status_sqlite(path)
    assert ([one.name for one in status.newer], status.too_new) == (["expand_colours"], False)
    migrate_sqlite(path, (*OURS, added, MORE[1]))
    with pytest.raises(StoreUnusable, match="made by a newer Belfry"):
        await SqliteStore.open(path)


def test_several_at_once_apply_each_migration_once(tmp_path: Path) -> None:
    path = tmp_path / "belfry.db"
    program = "import sys, pathlib, db.migrations as m; print(len(m.migrate_sqlite(pathlib.Path(sys.argv[1]))))"
    running = [
        subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True)
        for _ in range(6)
    ]
    try:
        printed = [process.communicate(timeout=60)[0] for process in running]
    finally:
        for process in running:
            process.kill()
            process.wait()
    assert [process.returncode for process in running] == [0] * 6
    assert sum(int(line) for line in printed) == len(OURS)  # two may take turns, a migration each
    assert len(status_sqlite(path).applied) == len(OURS)
