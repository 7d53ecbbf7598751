"""The embedded twin of the Store: one SQLite file, one writer, readers that never wait for it.

How a call reaches SQLite decides its speed. Python's sqlite3 lets the GIL go and takes it back around every step of a
statement, and behind a busy event loop each taking can cost milliseconds (a whole switch interval, 5 ms by default).
So every call here is one statement with one result row wherever it can be: lists travel as JSON in both directions,
made and read by msgspec. Measured under a loop that is never idle: a commit of 64 messages 10 ms in one statement,
20 ms in four (BEGIN, UPDATE, INSERT, COMMIT), 60 to 80 ms with executemany, which is a step a row.
"""

from __future__ import annotations

import datetime as dt
import sqlite3
from typing import TYPE_CHECKING, Any, Self, TypeVar

import msgspec
import trio

from db import sqlite_statements as sql
from db.cursor import cursor_text, read_cursor
from db.epoch import new_epoch
from db.folding import fold
from db.migrations import migrate_sqlite, refuse_unfit
from db.moments import moment, moment_text
from db.numbering import Numbered, number
from db.own_thread import OwnThread
from db.records import (
    Appended,
    Bans,
    LiveRoom,
    MessageRecord,
    Revocation,
    RolloutRecord,
    RoomPage,
    RoomRecord,
    ServerRecord,
)
from db.sqlite_connection import BUSY, connect, told_apart
from db.store import RoomTaken

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from db.records import Draft, Mark, Order, RevokeAction, RoomMissing, RoomSort

T = TypeVar("T")
Values = tuple[Any, ...] | dict[str, Any]  # of a statement: in its order, or by their names

READERS = 2  # connections: one long page of history must not hold up a join
SWEEP = 1_000  # messages of a deleted room a transaction: sends wait 20 ms behind one; 200,000 at once took 3 s
HEADS = 10_000  # rooms whose last number is remembered: 100 B each, 1 MB; one that is not costs two more queries
CLOSE = 10.0  # seconds to let the running commit end and to close; longer than BUSY and a checkpoint

_encode = msgspec.json.Encoder().encode
_messages = msgspec.json.Decoder(list[tuple[int, str, str, str, dt.datetime]])
_heads = msgspec.json.Decoder(list[tuple[int, int]])
_known = msgspec.json.Decoder(list[tuple[int, str, str, int, dt.datetime]])
_marks = msgspec.json.Decoder(dict[str, int])
_rooms = msgspec.json.Decoder(list[tuple[int, str, str, str, int, str, dt.datetime, dt.datetime, dt.datetime]])
SORT_KEY: dict[RoomSort, Callable[[RoomRecord], Any]] = {
    "name": lambda room: room.name,
    "created_at": lambda room: (room.created_at, room.id),
    "active_at": lambda room: (room.active_at, room.id),
}


class SqliteStore:
    """The Store in one SQLite file. Made by `open`, ended by `aclose`.

    A call that has reached its thread is not cancelled but finishes, at most BUSY and a disk's stall later.
    """

    def __init__(self, path: Path, writer: sqlite3.Connection, readers: list[sqlite3.Connection]) -> None:
        self._path = path
        self._writer = writer
        self._thread = OwnThread("sqlite writer")
        self._turn = trio.Lock()  # held from the numbering of a batch to its commit
        self._readers = readers  # the idle ones
        self._reader_slots = trio.CapacityLimiter(READERS)
        self._heads: dict[int, int] = {}  # room id -> last_seq, as our last commits left it; a guess, SQLite checks it

    @classmethod
    async def open(cls, path: Path, *, migrate: bool = True, busy: float = BUSY) -> Self:
        """Open the database; with `migrate` make it and bring it to this code's schema first.

        Raises StoreUnusable, and StoreUnavailable when another process holds it for longer than `busy` seconds.
        """
        return await trio.to_thread.run_sync(cls._open, path, migrate, busy, limiter=trio.CapacityLimiter(1))

    @classmethod
    def _open(cls, path: Path, migrate: bool, busy: float) -> Self:
        if migrate:
            migrate_sqlite(path, busy=busy)
        connections: list[sqlite3.Connection] = []
        try:
            connections.append(connect(path, "write", busy))
            with told_apart(path, opening=True):
                refuse_unfit(connections[0], path)
                connections[0].executescript(sql.BATCH)
            for _ in range(READERS):
                connections.append(connect(path, "read", busy))
        except BaseException:
            _close(connections)
            raise
        return cls(path, connections[0], connections[1:])

    async def append(self, drafts: Sequence[Draft], at: dt.datetime) -> list[Appended | RoomMissing]:
        """See Store. Raises ValueError for a NUL or a lone surrogate in any text; nothing was written then."""
        moment_text(at)
        try:
            self._turn.acquire_nowait()  # `async with` costs a round of the event loop, free or not
        except trio.WouldBlock:
            await self._turn.acquire()
        try:
            guess = None
            if all(draft.room_id in self._heads for draft in drafts):
                guess = _Batch(number(drafts, self._heads, {}, at), at)
            if guess is None or guess.has_nul:
                _refuse_nul(text for d in drafts for text in (d.user_id, d.user_name, d.nonce, d.text))
            numbered = await self._write(_append, drafts, at, guess)
            self._heads.update(numbered.after)
            while len(self._heads) > HEADS:
                del self._heads[next(iter(self._heads))]
        finally:
            self._turn.release()
        return numbered.outcomes

    async def live_room(self, name: str, recent: int, marks: int) -> LiveRoom | None:
        rows = await self._read(_rows, sql.LIVE_ROOM, {"name": name, "recent": max(recent, 0), "marks": max(marks, 0)})
        if not rows:
            return None
        (*room, messages, marked) = rows[0]
        return LiveRoom(_room(room), _message_records(messages), _marks.decode(marked))

    async def messages_after(self, room_id: int, seq: int, limit: int) -> list[MessageRecord]:
        return _message_records(await self._read(_value, sql.MESSAGES_AFTER, (room_id, seq, max(limit, 0))))

    async def messages_before(self, room_id: int, seq: int, limit: int) -> list[MessageRecord]:
        return _message_records(await self._read(_value, sql.MESSAGES_BEFORE, (room_id, seq, max(limit, 0))))

    async def heads(self, room_ids: Sequence[int]) -> dict[int, int]:
        return dict(_heads.decode(await self._read(_value, sql.ROOM_HEADS, (_json(list(room_ids)),))))

    async def create_room(self, name: str, title: str, created_by: str, at: dt.datetime) -> RoomRecord:
        values = {
            "name": name, "title": title, "folded": fold(title), "epoch": new_epoch(), "by": created_by,
            "at": moment_text(at),
        }  # fmt: skip
        async with self._turn:
            rows = await self._write(_rows, sql.ROOM_CREATE, values)
        if not rows:
            raise RoomTaken(name)
        return _room(rows[0])

    async def room(self, name: str) -> RoomRecord | None:
        rows = await self._read(_rows, sql.ROOM_BY_NAME, (name,))
        return _room(rows[0]) if rows else None

    async def rename_room(self, name: str, title: str, at: dt.datetime) -> RoomRecord | None:
        async with self._turn:
            rows = await self._write(_rows, sql.ROOM_RENAME, (title, fold(title), moment_text(at), name))
        return _room(rows[0]) if rows else None

    async def delete_room(self, name: str) -> RoomRecord | None:
        """See Store. The first transaction makes the room missing; its messages then go a few at a time.

        Cancelled or killed meanwhile, what is left goes with the next deletion; until then it only takes space.
        """
        async with self._turn:
            row = await self._write(_doom, name)
            if row is None:
                return None
            room = _room(row)
            self._heads.pop(room.id, None)
        swept = False
        while not swept:
            async with self._turn:  # fair: who waits for it comes in between
                swept = await self._write(_sweep)
        return room

    async def rooms(self, q: str, sort: RoomSort, order: Order, limit: int, cursor: str | None) -> RoomPage:
        """See Store. By active_at, a room that gets a message between two pages may come twice or not at all."""
        after = read_cursor(cursor, sort, order) if cursor is not None else None
        limit = max(limit, 0)
        values: dict[str, Any] = {"q": fold(q), "limit": limit + 1}  # one more, to know whether there is a next page
        if after is not None:
            values |= {"key": after.key, "id": after.id}
        text = await self._read(_value, sql.rooms_sql(sort, order, after is not None), values)
        # json_group_array promises no order, so the page is put in order here.
        found = sorted((RoomRecord(*row) for row in _rooms.decode(text)), key=SORT_KEY[sort], reverse=order == "desc")
        page = found[:limit]
        return RoomPage(page, cursor_text(page[-1], sort, order) if page and len(found) > limit else None)

    async def save_marks(self, marks: Sequence[Mark]) -> None:
        _refuse_nul(mark.user_id for mark in marks)
        moved = _json([(mark.room_id, mark.user_id, mark.seq) for mark in marks])
        async with self._turn:
            await self._write(_rows, sql.MARKS_SAVE, {"marks": moved, "at": moment_text(dt.datetime.now(dt.UTC))})

    async def revoke(self, user_id: str, action: RevokeAction, by: str, at: dt.datetime) -> Revocation:
        _refuse_nul((user_id, by))
        async with self._turn:
            ((number,),) = await self._write(_rows, sql.REVOKE, (user_id, action, by, moment_text(at)))
        return Revocation(number, user_id, action)

    async def revocations_after(self, id: int, limit: int) -> list[Revocation]:
        return [Revocation(*row) for row in await self._read(_rows, sql.REVOCATIONS_AFTER, (id, max(limit, 0)))]

    async def bans(self) -> Bans:
        ((last_id, user_ids),) = await self._read(_rows, sql.BANS, ())
        return Bans(sorted(set(msgspec.json.decode(user_ids, type=list[str]))), last_id)

    async def put_server(self, server: ServerRecord) -> None:
        values = (*msgspec.structs.astuple(server)[:6], moment_text(server.started_at), moment_text(server.seen_at))
        async with self._turn:
            await self._write(_rows, sql.SERVER_PUT, values)

    async def servers(self) -> list[ServerRecord]:
        rows = await self._read(_rows, sql.SERVERS, ())
        return [ServerRecord(*row[:6], *(moment(text) for text in row[6:])) for row in rows]

    async def put_rollout(self, rollout: RolloutRecord) -> None:
        values = [
            moment_text(value) if isinstance(value, dt.datetime) else value
            for value in msgspec.structs.astuple(rollout)
        ]
        async with self._turn:
            await self._write(_rows, sql.ROLLOUT_PUT, tuple(values))

    async def rollouts(self, limit: int) -> list[RolloutRecord]:
        rows = await self._read(_rows, sql.ROLLOUTS, (max(limit, 0),))
        return [
            RolloutRecord(id, fleet, moment(began), None if ended is None else moment(ended), *rest)
            for id, fleet, began, ended, *rest in rows
        ]

    async def aclose(self) -> None:
        with trio.move_on_after(CLOSE, shield=True):
            async with self._turn:
                for _ in range(READERS):
                    await self._reader_slots.acquire_on_behalf_of(object())
                # The writer last: the last one to close writes the WAL back into the database.
                closing = [*self._readers, self._writer]
                try:
                    await self._thread.run(_close, closing)
                finally:
                    self._thread.stop()
        await trio.lowlevel.checkpoint()

    async def _write(self, work: Callable[..., T], *args: Any) -> T:
        """Run work(connection, *args) in the writer's thread; the caller has the turn."""

        def guarded() -> T:
            with told_apart(self._path):
                try:
                    return work(self._writer, *args)
                except BaseException as error:
                    if self._writer.in_transaction:
                        self._writer.rollback()
                    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
                        _make_room(self._writer)
                    raise

        return await self._thread.run(guarded)

    async def _read(self, work: Callable[..., T], *args: Any) -> T:
        """Run work(connection, *args) in a reader's thread."""

        def guarded() -> T:
            connection = self._readers.pop()
            try:
                with told_apart(self._path):
                    return work(connection, *args)
            finally:
                self._readers.append(connection)

        return await trio.to_thread.run_sync(guarded, limiter=self._reader_slots)


# --- in the threads --------------------------------------------------------------------------------------------


class _Batch:
    """A numbered batch, made ready in the event loop so that the thread needs the GIL as little as can be."""

    def __init__(self, numbered: Numbered, at: dt.datetime) -> None:
        self.numbered = numbered
        rooms = [(room_id, before, numbered.after[room_id]) for room_id, before in numbered.before.items()]
        messages = _encode(numbered.rows)
        self.has_nul = b"\\u0000" in messages  # or the text says so itself; a closer look tells
        self.values = (_encode(rooms).decode(), messages.decode(), moment_text(at))


def _append(connection: sqlite3.Connection, drafts: Sequence[Draft], at: dt.datetime, guess: _Batch | None) -> Numbered:
    # Nearly every batch holds only messages never seen before, in rooms where we left them: so try that first.
    # What SQLite's constraints then refuse (a nonce sent again, a room that is gone or moved) is looked up.
    if guess is not None:
        try:
            if guess.numbered.rows:
                connection.execute(sql.APPEND, guess.values)
            return guess.numbered
        except sqlite3.IntegrityError:
            pass  # SQLite has taken the whole statement back
    connection.execute("BEGIN IMMEDIATE")
    rooms = _json(list({draft.room_id for draft in drafts}))
    heads = dict(_heads.decode(_value(connection, sql.ROOM_HEADS, (rooms,))))
    asked = _json([(draft.room_id, draft.user_id, draft.nonce) for draft in drafts])
    known = {
        (room_id, user_id, nonce): Appended(seq, first, fresh=False)
        for room_id, user_id, nonce, seq, first in _known.decode(_value(connection, sql.KNOWN, (asked,)))
    }
    careful = _Batch(number(drafts, heads, known, at), at)
    if careful.numbered.rows:
        connection.execute(sql.APPEND, careful.values)
    connection.execute("COMMIT")
    return careful.numbered


def _rows(connection: sqlite3.Connection, sql: str, values: Values) -> list[tuple[Any, ...]]:
    return connection.execute(sql, values).fetchall()


def _value(connection: sqlite3.Connection, sql: str, values: Values) -> str:
    ((value,),) = connection.execute(sql, values).fetchall()
    assert isinstance(value, str)
    return value


def _doom(connection: sqlite3.Connection, name: str) -> tuple[Any, ...] | None:
    connection.execute("BEGIN IMMEDIATE")
    rows = _rows(connection, sql.ROOM_BY_NAME, (name,))
    if rows:
        connection.execute(sql.ROOM_DOOM, rows[0][:1])
    connection.execute("COMMIT")
    return rows[0] if rows else None


def _sweep(connection: sqlite3.Connection) -> bool:
    connection.execute("BEGIN IMMEDIATE")
    ((room_id,),) = connection.execute(sql.ROOM_DOOMED).fetchall()
    if room_id is not None and connection.execute(sql.MESSAGES_SWEEP, {"room": room_id, "most": SWEEP}).rowcount == 0:
        connection.execute(sql.ROOM_DELETE, (room_id,))
    connection.execute("COMMIT")
    return room_id is None


def _make_room(connection: sqlite3.Connection) -> None:
    # On a full disk the WAL cannot grow, but once it is in the database the next commit writes it from its start.
    try:
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    except sqlite3.Error:
        return  # the database cannot grow either; the error that brought us here is the one to tell


def _close(connections: list[sqlite3.Connection]) -> None:
    for connection in connections:
        connection.close()


# --- values ----------------------------------------------------------------------------------------------------


def _json(value: Any) -> str:
    return _encode(value).decode()


def _refuse_nul(texts: Iterable[str]) -> None:
    # SQLite's JSON decoder ends a text there, so it would be cut without a word.
    if any("\0" in text for text in texts):
        raise ValueError("a text with a NUL cannot be stored")


def _room(row: Sequence[Any]) -> RoomRecord:
    return RoomRecord(*row[:6], *(moment(text) for text in row[6:]))


def _message_records(text: str) -> list[MessageRecord]:
    return [MessageRecord(*row) for row in sorted(_messages.decode(text))]
