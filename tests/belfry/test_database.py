"""The database a command works on: named, opened alone, migrated, told."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from belfry.database import make_directory, opened, place_of, run_migrate, run_status
from belfry.errors import FAILED, OK, Wrong
from belfry.sources import Settings, read_settings
from db.errors import StoreUnusable
from db.lock import DirectoryLock


def settings(command: str, **flags: str) -> Settings:
    return read_settings(command, flags, {})


@pytest.mark.parametrize(
    ("url", "path"),
    [("sqlite:///a/b.db", "a/b.db"), ("sqlite:////a/b.db", "/a/b.db"), ("sqlite:///a%20b.db", "a b.db")],
)
def test_where_a_url_leads(url: str, path: str) -> None:
    assert place_of(settings("serve", db=url)).path == Path(path)


def test_where_a_data_directory_leads() -> None:
    assert place_of(settings("up")).path == Path("belfry-data/belfry.db")
    assert place_of(settings("doctor", data="/x")).path == Path("/x/belfry.db")


@pytest.mark.parametrize("url", ["sqlite://x", "sqlite:///", "sqlite:///:memory:", "sqlite:///x?mode=ro"])
def test_where_no_url_leads(url: str) -> None:
    with pytest.raises(Wrong, match=r"^--db \(flag\): "):
        place_of(settings("serve", db=url))


def test_a_data_directory_is_made_for_its_owner_only(tmp_path: Path) -> None:
    make_directory(settings("up", data=str(tmp_path / "a" / "b")))
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
    make_directory(settings("up", data=str(tmp_path / "a" / "b")))
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_a_data_directory_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Wrong, match=r"^--data \(flag\): .*file is a file; give a directory"):
        make_directory(settings("up", data=str(tmp_path / "file")))
    with pytest.raises(Wrong, match=r"cannot write to .*below \(Not a directory\)"):
        make_directory(settings("up", data=str(tmp_path / "file" / "below")))
    with pytest.raises(Wrong, match=r"^BELFRY_DATA \(variable\): cannot write to /proc/belfry "):
        make_directory(read_settings("up", {}, {"BELFRY_DATA": "/proc/belfry"}))  # where root cannot write either


async def test_it_is_opened_alone_migrated_and_let_go(tmp_path: Path) -> None:
    place = place_of(settings("up", data=str(tmp_path)))
    async with opened(place) as (store, migrated, _):
        assert migrated == "made now, with schema 2"
        assert await store.room("lobby") is None
        with pytest.raises(StoreUnusable, match="is in use by process"):
            async with opened(place):
                pytest.fail("two at once")
    async with opened(place) as (_, migrated, _):
        assert migrated == ""


def test_migrate_and_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = str(tmp_path / "data")
    assert run_status(settings("db", data=data), as_json=False) == FAILED
    assert "no database yet" in capsys.readouterr().out
    assert run_migrate(settings("db", data=data)) == OK
    assert "made now" in capsys.readouterr().err
    assert run_migrate(settings("db", data=data)) == OK
    assert "nothing to do" in capsys.readouterr().err
    assert run_status(settings("db", data=data), as_json=True) == OK
    told = json.loads(capsys.readouterr().out)
    assert told["pending"] == []
    assert [one["version"] for one in told["applied"]] == list(range(1, len(told["applied"]) + 1))


def test_a_database_from_a_newer_version(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = str(tmp_path)
    run_migrate(settings("db", data=data))
    with closing(sqlite3.connect(tmp_path / "belfry.db")) as connection, connection:
        connection.execute("INSERT INTO schema_version VALUES (9999, 'far', '2036-01-01T00:00:00.000000Z')")
    with pytest.raises(Wrong, match=r"schema 9999.*newer Belfry"):
        run_migrate(settings("db", data=data))
    assert run_status(settings("db", data=data), as_json=False) == FAILED
    assert "from a newer Belfry" in capsys.readouterr().out


async def test_a_database_that_a_newer_version_only_added_to_serves_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with opened(place_of(settings("up", data=str(tmp_path)))):
        pass
    with closing(sqlite3.connect(tmp_path / "belfry.db")) as connection, connection:
        connection.execute("CREATE TABLE far (away TEXT)")
        connection.execute("INSERT INTO schema_version VALUES (3, 'expand_far', '2036-01-01T00:00:00.000000Z')")
    async with opened(place_of(settings("up", data=str(tmp_path)))) as (store, migrated, _):
        assert (migrated, await store.room("lobby")) == ("", None)
    assert run_status(settings("db", data=str(tmp_path)), as_json=False) == OK
    assert "schema 3, from a newer Belfry that only added to it" in capsys.readouterr().out


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "belfry.db").write_text("Dear diary, " * 1000)
    for run in (lambda one: run_status(one, as_json=False), run_migrate):
        with pytest.raises(Wrong, match="is not a SQLite database"):
            run(settings("db", data=str(tmp_path)))


def test_a_running_servers_database_is_not_migrated_under_its_feet(tmp_path: Path) -> None:
    with DirectoryLock.take(tmp_path), pytest.raises(Wrong, match="is in use by process"):
        run_migrate(settings("db", data=str(tmp_path)))
