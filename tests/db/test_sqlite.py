"""What is SQLite's own: durability, kill -9, locks, damaged and foreign files, a full disk, query plans."""

from __future__ import annotations

import datetime as dt
import os
import re
import sqlite3
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import pytest
import trio

from db import sqlite
from db import sqlite_statements as sql
from db.errors import StoreUnavailable, StoreUnusable
from db.records import Appended, Draft, Mark, Order, RoomMissing, RoomSort
from db.sqlite import SqliteStore
from db.sqlite_connection import connect
from tests.faults.disk import fill, small_disk

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = dt.datetime(2026, 11, 23, 10, 0, tzinfo=dt.UTC)
WAIT = 120.0  # seconds no step of a test comes near to


def drafts(room_id: int, count: int, tag: str = "n", text: str = "hi") -> list[Draft]:
    return [Draft(room_id, "u_1", "Ada", f"{tag}{i}", text) for i in range(count)]


def check_whole(path: Path) -> dict[int, list[int]]:
    """Assert that the file is sound and no room has a hole; the numbers of each room."""
    connection = sqlite3.connect(path)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        found: dict[int, list[int]] = {}
        for room_id, last_seq in connection.execute("SELECT id, last_seq FROM room").fetchall():
            rows = connection.execute("SELECT seq FROM message WHERE room_id = ? ORDER BY seq", (room_id,)).fetchall()
            found[room_id] = [seq for (seq,) in rows]
            assert found[room_id] == list(range(1, last_seq + 1))
        return found
    finally:
        connection.close()


# --- durability ------------------------------------------------------------------------------------------------


async def test_the_writer_is_durable_and_the_readers_cannot_write(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "belfry.db", busy=1.5)

    def pragma(connection: sqlite3.Connection, name: str) -> object:
        return connection.execute(f"PRAGMA {name}").fetchone()[0]

    assert {name: pragma(store._writer, name) for name in ("journal_mode", "synchronous", "foreign_keys")} == {
        "journal_mode": "wal",
        "synchronous": 2,  # FULL
        "foreign_keys": 1,
    }
    assert len(store._readers) == sqlite.READERS
    for reader in store._readers:
        assert pragma(reader, "query_only") == 1
    for connection in [store._writer, *store._readers]:
        assert pragma(connection, "busy_timeout") == 1500
    await store.aclose()


async def test_kill_9_loses_nothing_that_was_acked(tmp_path: Path) -> None:
    path = tmp_path / "belfry.db"
    store = await SqliteStore.open(path)
    for name in ("a", "b"):
        await store.create_room(name, "", "u", NOW)
    await store.aclose()
    acked: dict[tuple[int, str], int] = {}
    for lines in (1, 300, 900, 2000):
        script = Path(__file__).with_name("appending_process.py")
        with trio.fail_after(WAIT):
            process = await trio.lowlevel.open_process([sys.executable, str(script), str(path)], stdout=subprocess.PIPE)
            try:
                assert process.stdout is not None
                output = b""
                while output.count(b"\n") < lines:
                    received = await process.stdout.receive_some()
                    assert received, "the process ended by itself"
                    output += received
            finally:
                process.kill()
            output += b"".join([received async for received in process.stdout])
            assert await process.wait() == -9
            await process.stdout.aclose()
        for line in output.split(b"\n")[:-1]:  # what follows the last line break is cut
            room_id, seq, nonce = line.decode().split()
            assert acked.setdefault((int(room_id), nonce), int(seq)) == int(seq)
        check_whole(path)
        store = await SqliteStore.open(path)
        again = [Draft(room_id, "u_1", "Ada", nonce, "") for room_id, nonce in acked]
        outcomes = await store.append(again, NOW)
        await store.aclose()
        assert [(o.seq, o.fresh) for o in outcomes if isinstance(o, Appended)] == [(s, False) for s in acked.values()]


# --- one statement a commit ------------------------------------------------------------------------------------


async def test_messages_never_seen_before_are_one_statement(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "belfry.db")
    rooms = [await store.create_room(name, "", "u", NOW) for name in "abc"]
    statements: list[str] = []
    await store.append([one for room in rooms for one in drafts(room.id, 5, "first")], NOW)
    store._writer.set_trace_callback(statements.append)
    await store.append([one for room in rooms for one in drafts(room.id, 50, "second")], NOW)
    # Python reports the statement again for each part of its trigger.
    assert len(set(statements)) == 1
    assert statements[0].startswith("INSERT INTO batch")
    await store.aclose()


@pytest.mark.parametrize("wrong", [0, 3, 9])
async def test_a_wrong_guess_of_the_head_makes_no_hole(tmp_path: Path, wrong: int) -> None:
    store = await SqliteStore.open(tmp_path / "belfry.db")
    room = await store.create_room("lobby", "", "u", NOW)
    await store.append(drafts(room.id, 5), NOW)
    store._heads[room.id] = wrong
    assert await store.append(drafts(room.id, 2, "more"), NOW) == [Appended(6, NOW, True), Appended(7, NOW, True)]
    await store.aclose()
    check_whole(tmp_path / "belfry.db")


# --- locks -----------------------------------------------------------------------------------------------------


@contextmanager
def write_locked(path: Path) -> Iterator[None]:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.rollback()
        connection.close()


async def test_a_locked_database_is_unavailable_for_writes_and_then_works(tmp_path: Path) -> None:
    path = tmp_path / "belfry.db"
    store = await SqliteStore.open(path, busy=0.02)
    room = await store.create_room("lobby", "", "u", NOW)
    with write_locked(path):
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match="locked by another process"):
                await store.append(drafts(room.id, 3), NOW)
        with pytest.raises(StoreUnavailable):
            await store.create_room("other", "", "u", NOW)
        with pytest.raises(StoreUnavailable):
            await store.save_marks([Mark(room.id, "u", 1)])
        with pytest.raises(StoreUnavailable):
            await store.delete_room("lobby")
        assert await store.room("lobby") == room
    assert await store.append(drafts(room.id, 3), NOW) == [Appended(seq, NOW, True) for seq in (1, 2, 3)]
    await store.aclose()


def test_several_can_make_one_database_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        for i in range(100):
            path = tmp_path / f"{i}.db"
            together = threading.Barrier(4, timeout=WAIT)

            def make(path: Path = path, together: threading.Barrier = together) -> None:
                together.wait()
                connect(path, "create").close()

            for made in [pool.submit(make) for _ in range(4)]:
                made.result(timeout=WAIT)


async def test_a_database_that_stays_locked_cannot_be_opened(tmp_path: Path) -> None:
    path = tmp_path / "belfry.db"
    with write_locked(path), pytest.raises(StoreUnavailable, match="locked by another process"):
        await SqliteStore.open(path, busy=0.02)
    await (await SqliteStore.open(path, busy=0.02)).aclose()


async def test_readers_do_not_wait_for_a_commit(tmp_path: Path) -> None:
    path = tmp_path / "belfry.db"
    store = await SqliteStore.open(path, busy=WAIT)
    room = await store.create_room("lobby", "", "u", NOW)
    await store.append(drafts(room.id, 5), NOW)
    outcomes: list[Appended | RoomMissing] = []

    async def write() -> None:
        outcomes.extend(await store.append(drafts(room.id, 1, "late"), NOW))

    with trio.fail_after(WAIT):
        async with trio.open_nursery() as nursery:
            with write_locked(path):
                nursery.start_soon(write)
                while not store._thread.busy:
                    await trio.lowlevel.checkpoint()
                for _ in range(sqlite.READERS + 1):
                    live = await store.live_room("lobby", 10, 10)
                    assert live is not None
                    assert len(live.recent) == 5
                    assert len(await store.messages_before(room.id, 5, 10)) == 4
                assert outcomes == []
    assert outcomes == [Appended(6, NOW, True)]
    await store.aclose()


# --- a room of many messages goes a few at a time --------------------------------------------------------------


async def test_sends_go_on_while_a_large_room_is_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "SWEEP", 1)
    store = await SqliteStore.open(tmp_path / "belfry.db")
    large, other = await store.create_room("large", "", "u", NOW), await store.create_room("other", "", "u", NOW)
    await store.append(drafts(large.id, 200), NOW)
    order: list[str] = []

    async def delete() -> None:
        await store.delete_room("large")
        order.append("deleted")

    with trio.fail_after(WAIT):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(delete)
            while await store.room("large"):
                await trio.lowlevel.checkpoint()
            assert await store.heads([large.id]) == {}
            for i in range(5):
                batch = [*drafts(other.id, 1, f"{i}-"), *drafts(large.id, 1, "late")]
                assert await store.append(batch, NOW) == [Appended(i + 1, NOW, True), RoomMissing()]
                order.append("sent")
    assert order == ["sent"] * 5 + ["deleted"]
    await store.aclose()
    assert check_whole(tmp_path / "belfry.db") == {other.id: [1, 2, 3, 4, 5]}


async def test_a_deletion_cut_short_is_one_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "SWEEP", 1)
    path = tmp_path / "belfry.db"
    store = await SqliteStore.open(path)
    room = await store.create_room("lobby", "", "u", NOW)
    await store.append(drafts(room.id, 500), NOW)
    await store.save_marks([Mark(room.id, "u", 1)])
    other = await SqliteStore.open(path)  # remembers the room, and is told nothing
    await other.append(drafts(room.id, 1, "other"), NOW)
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.delete_room, "lobby")
            while await store.room("lobby"):
                await trio.lowlevel.checkpoint()
            scope.cancel()
    await store.aclose()
    store = await SqliteStore.open(path)
    assert await store.room("lobby") is None
    assert await store.delete_room("lobby") is None
    assert (await store.rooms("", "name", "asc", 10, None)).rooms == []
    again = await store.create_room("lobby", "", "u", NOW)
    assert again.id != room.id
    assert await store.append([*drafts(room.id, 1), *drafts(again.id, 1)], NOW) == [
        RoomMissing(),
        Appended(1, NOW, True),
    ]
    assert await other.append(drafts(room.id, 1, "late"), NOW) == [RoomMissing()]
    await other.aclose()
    await store.save_marks([Mark(room.id, "v", 9)])
    ((marks,),) = store._writer.execute("SELECT count(*) FROM read_mark").fetchall()
    assert marks == 1
    assert await store.messages_after(room.id, 499, 10) != []  # or there was nothing left to take away
    monkeypatch.setattr(sqlite, "SWEEP", 1000)
    await store.create_room("other", "", "u", NOW)
    await store.delete_room("other")  # takes the rest with it
    assert await store.messages_after(room.id, 0, 1000) == []
    await store.aclose()
    assert check_whole(path) == {again.id: [1]}


# --- what is not our database ----------------------------------------------------------------------------------


async def test_not_a_database(tmp_path: Path) -> None:
    path = tmp_path / "belfry.db"
    path.write_bytes(b"These are my notes, and they stay as they are.\n" * 100)
    before = path.read_bytes()
    with pytest.raises(StoreUnusable, match="is not a SQLite database"):
        await SqliteStore.open(path)
    assert path.read_bytes() == before


async def test_another_programs_database(tmp_path: Path) -> None:
    path = tmp_path / "belfry.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE schema_version (version)")
    connection.close()
    with pytest.raises(StoreUnusable, match="of another program"):
        await SqliteStore.open(path)


async def test_a_damaged_database(tmp_path: Path) -> None:
    path = tmp_path / "belfry.db"
    store = await SqliteStore.open(path)
    room = await store.create_room("lobby", "", "u", NOW)
    await store.append(drafts(room.id, 2000, text="x" * 100), NOW)
    await store.aclose()
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (path.stat().st_size - 4096))
    with pytest.raises(StoreUnusable, match=r"damaged .*: restore a backup"):
        await SqliteStore.open(path)


@pytest.mark.parametrize("migrate", [True, False])
async def test_places_where_no_database_can_be(tmp_path: Path, migrate: bool) -> None:
    (tmp_path / "file").write_text("")
    for path, says in [
        (
            tmp_path / "missing" / "belfry.db",
            r"directory .*/missing cannot be used \(No such file or directory\): create",
        ),
        (tmp_path / "file" / "belfry.db", r".*/file is not a directory"),
        (tmp_path, "is a directory: name a file in it"),
    ]:
        with pytest.raises(StoreUnusable, match=says):
            await SqliteStore.open(path, migrate=migrate)
    assert os.listdir(tmp_path) == ["file"]


async def test_without_migrating_the_schema_must_be_there(tmp_path: Path) -> None:
    path = tmp_path / "belfry.db"
    with pytest.raises(StoreUnusable, match=r"there is no database at .*: run `belfry db migrate`"):
        await SqliteStore.open(path, migrate=False)
    assert not path.exists()
    path.touch()  # an empty file is an empty database
    with pytest.raises(StoreUnusable, match="lacks 2 of this version's migrations: run `belfry db migrate`"):
        await SqliteStore.open(path, migrate=False)
    await (await SqliteStore.open(path)).aclose()
    await (await SqliteStore.open(path, migrate=False)).aclose()


@contextmanager
def as_nobody() -> Iterator[None]:
    """As root, permissions count only for somebody else."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_no_permission() -> None:
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o755)
        directory = Path(place) / "data"
        directory.mkdir(mode=0o555)
        with as_nobody(), pytest.raises(StoreUnusable, match=f"{directory} is not writable"):
            connect(directory / "belfry.db", "create")
        directory.chmod(0o777)
        (directory / "belfry.db").touch(mode=0o400)
        with as_nobody(), pytest.raises(StoreUnusable, match=r"belfry.db is not readable and writable"):
            connect(directory / "belfry.db", "create")
        directory.chmod(0o700)


# --- a full disk -----------------------------------------------------------------------------------------------


async def append_until_full(store: SqliteStore, room_id: int, tag: str) -> tuple[int, list[Draft]]:
    """How many were committed, and the batch that was refused."""
    for i in range(1000):
        batch = drafts(room_id, 20, f"{tag}{i}-", "x" * 2_000)
        try:
            await store.append(batch, NOW)
        except StoreUnavailable:
            with pytest.raises(StoreUnavailable, match=r"the disk of .* is full: free some space"):
                await store.append(batch, NOW)
            return 20 * i, batch
    raise AssertionError("the disk never was full")


async def test_a_full_disk_refuses_writes_and_goes_on_when_there_is_space(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "8m") as disk:
        path = disk / "belfry.db"
        store = await SqliteStore.open(path)
        try:
            room = await store.create_room("lobby", "", "u", NOW)
            await store.append(drafts(room.id, 10, "early"), NOW)
            head = 10
            for turn in range(3):
                ballast = fill(disk)
                more, refused = await append_until_full(store, room.id, f"{turn}-")
                head += more
                for _ in range(3):
                    with pytest.raises(StoreUnavailable):
                        await store.append(refused * 20, NOW)
                # Nothing of it was written, and reading goes on.
                assert await store.heads([room.id]) == {room.id: head}
                live = await store.live_room("lobby", 5, 5)
                assert live is not None
                assert [m.seq for m in live.recent] == list(range(head - 4, head + 1))
                ballast.unlink()
                outcomes = await store.append(refused, NOW)
                assert outcomes == [Appended(head + 1 + i, NOW, True) for i in range(20)]
                head += 20
        finally:
            await store.aclose()
        assert check_whole(path) == {room.id: list(range(1, head + 1))}


async def test_on_a_full_disk_what_needs_no_more_pages_goes_on(tmp_path: Path) -> None:
    """The WAL cannot grow, but the refused write makes it start over."""
    with small_disk(tmp_path / "disk", "8m") as disk:
        store = await SqliteStore.open(disk / "belfry.db")
        await store.create_room("lobby", "", "u", NOW)
        for i in range(100):
            await store.rename_room("lobby", f"before {i}", NOW)
        fill(disk)
        refused = 0
        for i in range(150):
            try:
                await store.rename_room("lobby", f"while full {i}", NOW)
            except StoreUnavailable:
                refused += 1
        assert 1 <= refused <= 3
        await store.aclose()


async def test_a_database_that_alone_fills_its_disk_opens_and_reads(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "3m") as disk:
        path = disk / "belfry.db"
        store = await SqliteStore.open(path)
        room = await store.create_room("lobby", "", "u", NOW)
        head, _ = await append_until_full(store, room.id, "a")
        assert head > 0
        await store.aclose()
        assert check_whole(path) == {room.id: list(range(1, head + 1))}


async def test_a_disk_too_full_to_begin(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "1m") as disk:
        ballast = fill(disk)
        with pytest.raises(StoreUnavailable, match="is full: free some space"):
            await SqliteStore.open(disk / "belfry.db")
        ballast.unlink()
        await (await SqliteStore.open(disk / "belfry.db")).aclose()


# --- query plans -----------------------------------------------------------------------------------------------


async def test_nothing_scans_or_sorts_what_can_be_large(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "belfry.db")

    def plan(text: str) -> str:
        text = re.sub(r":[a-z]+", "?", text)
        rows = store._writer.execute(f"EXPLAIN QUERY PLAN {text}", [None] * text.count("?")).fetchall()
        return "\n".join(detail for *_, detail in rows)

    statements = {
        "after": sql.MESSAGES_AFTER,
        "before": sql.MESSAGES_BEFORE,
        "known": sql.KNOWN,
        "heads": sql.ROOM_HEADS,
        "sweep": sql.MESSAGES_SWEEP,
    }
    for name, text in statements.items():
        assert "SCAN message" not in plan(text), name
        assert "SCAN room" not in plan(text), name
        assert "TEMP B-TREE" not in plan(text), name
    live = plan(sql.LIVE_ROOM)
    assert "SEARCH read_mark USING INDEX read_mark_by_moved_at" in live or "SEARCH read_mark USING COVERING" in live
    for sort in get_args(RoomSort):
        for order in get_args(Order):
            for after in (False, True):
                text = sql.rooms_sql(sort, order, after)
                # The search itself looks at every title; the order must come from an index all the same.
                assert "TEMP B-TREE" not in plan(text), (sort, order, after)
    await store.aclose()


def test_no_statement_has_numbered_placeholders() -> None:
    statements = [text for name, text in vars(sql).items() if name.isupper() and isinstance(text, str)]
    assert len(statements) > 20
    listings = [sql.rooms_sql(sort, "asc", True) for sort in get_args(RoomSort)]
    assert [text for text in statements + listings if re.search(r"\?\d", text)] == []
