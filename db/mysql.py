"""The MySQL twin of the Store, for MySQL 8 and MariaDB: many servers share one sequence a room."""

from __future__ import annotations

import datetime as dt
import random
from typing import TYPE_CHECKING, Any, Self

import msgspec
import trio
from trio_mysql.err import MySQLError

from db.cursor import cursor_text, read_cursor
from db.epoch import new_epoch
from db.folding import fold
from db.moments import moment
from db.mysql_append import Appender
from db.mysql_connection import moment_literal, quoted
from db.mysql_errors import DEADLOCK, DUPLICATE, LOCK_TIMEOUT, error_number
from db.mysql_migrations import migrate_mysql, refuse_unfit
from db.mysql_pool import ANSWER, BACKOFF, TRIES, Pool, rollback
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
from db.store import BadCursor, RoomTaken

if TYPE_CHECKING:
    from collections.abc import Sequence

    from db.mysql_connection import Result
    from db.records import Draft, Mark, Order, RevokeAction, RoomMissing, RoomSort
    from db.url import MysqlUrl

OTHERS = 5  # connections for all but append: a page of history takes 5 ms, so 1,000 a second
SWEEP = 1_000  # messages of a deleted room a transaction: their locks and binlog must not hold up others' sends
MARKS = 1_000  # read marks a statement: 100 KB

# --- room ------------------------------------------------------------------------------------------------------

ROOM = "id, name, title, epoch, last_seq, created_by, created_at, updated_at, active_at"

# --- message ---------------------------------------------------------------------------------------------------

MESSAGE = "seq, user_id, user_name, body, created_at"

# One moment for all that follows, up to COMMIT; READ COMMITTED would take it anew for each statement.
SNAPSHOT = """\
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ;
START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY"""
LIVE_ROOM = f"""\
{SNAPSHOT};
SELECT {ROOM} FROM room WHERE {{named}};
SELECT {MESSAGE} FROM message
    WHERE room_id = (SELECT id FROM room WHERE {{named}}) ORDER BY seq DESC LIMIT {{recent}};
SELECT user_id, seq FROM read_mark
    WHERE room_id = (SELECT id FROM room WHERE {{named}}) ORDER BY moved_at DESC, user_id LIMIT {{marks}};
COMMIT"""

# --- revocation ------------------------------------------------------------------------------------------------

# An id is taken before its COMMIT, so one could become visible after a higher one, to whom nobody looks back. A row
# that is always there serves as the lock that puts them in order; there are a few a day.
REVOKE = """\
BEGIN;
SELECT version FROM schema_version WHERE version = 1 FOR UPDATE;
INSERT INTO revocation (user_id, action, created_by, created_at) VALUES ({user}, {action}, {by}, {at});
COMMIT"""
BANS = f"""\
{SNAPSHOT};
SELECT COALESCE(MAX(id), 0) FROM revocation;
SELECT user_id FROM revocation AS newest
    WHERE action = 'ban' AND NOT EXISTS (
        SELECT 1 FROM revocation AS newer
        WHERE newer.user_id = newest.user_id AND newer.id > newest.id AND newer.action != 'kick');
COMMIT"""

# --- server ----------------------------------------------------------------------------------------------------

SERVER = "id, boot, url, version, state, connections, started_at, seen_at"

# --- rollout ---------------------------------------------------------------------------------------------------

ROLLOUT = (
    "id, fleet, began_at, ended_at, state, version_from, version_to, servers, moved, drained, stall_ms, why, steps, "
    "story"
)


def rooms_sql(q: str, sort: RoomSort, order: Order, limit: int, after: tuple[str, int] | None) -> str:
    """The listing's statement; `q` folded, `after` the cursor's key as a literal and its id."""
    compare, direction = ("<", "DESC") if order == "desc" else (">", "ASC")
    where = ["name IS NOT NULL"]
    if q:
        in_name = f"INSTR(name, {quoted(q)}) > 0 OR " if q.isascii() else ""  # MySQL refuses to mix the two
        where.append(f"({in_name}INSTR(title_folded, {quoted(q)}) > 0)")
    if after is not None:
        key, room_id = after
        # Written out: for (a, b) > (x, y) MySQL does not use the index.
        beyond = f"{sort} {compare} {key}"
        where.append(beyond if sort == "name" else f"({beyond} OR {sort} = {key} AND id {compare} {room_id})")
    return (
        f"SELECT {ROOM} FROM room WHERE {' AND '.join(where)} ORDER BY {sort} {direction}, id {direction} LIMIT {limit}"
    )


class MysqlStore:
    """The Store on a MySQL or MariaDB server. Made by `open`, ended by `aclose`.

    An append that has asked for COMMIT is not cancelled but finishes, at most ANSWER later.
    """

    def __init__(self, url: MysqlUrl) -> None:
        self._url = url
        self._appender = Appender(url)
        self._others = Pool(url, OTHERS)

    @classmethod
    async def open(cls, url: MysqlUrl, *, migrate: bool = True) -> Self:
        """Connect and check the schema; with `migrate` bring it to this code's first.

        Raises StoreUnusable, and StoreUnavailable when the database does not answer.
        """
        if migrate:
            await migrate_mysql(url)
        store = cls(url)
        try:
            async with store._others.connection(opening=True) as connection:
                with trio.fail_after(ANSWER):
                    await refuse_unfit(connection, url)
        except BaseException:
            await store.aclose()
            raise
        return store

    async def append(self, drafts: Sequence[Draft], at: dt.datetime) -> list[Appended | RoomMissing]:
        """See Store. Raises ValueError for a NUL or a lone surrogate in any text; nothing was written then."""
        moment_literal(at)
        _refuse("".join([text for one in drafts for text in (one.user_id, one.user_name, one.nonce, one.text)]))
        return await self._appender.append(drafts, at)

    # --- reading -----------------------------------------------------------------------------------------------

    async def live_room(self, name: str, recent: int, marks: int) -> LiveRoom | None:
        sql = LIVE_ROOM.format(named=_named(name), recent=max(recent, 0), marks=max(marks, 0))
        (_, _, rooms, messages, marked, _) = await self._run(sql)
        if not rooms.rows:
            return None
        room = _room(rooms.rows[0])
        self._appender.learn(room.id, room.last_seq)
        newest_first = [_message(row) for row in messages.rows]
        return LiveRoom(room, newest_first[::-1], {user.decode(): seq for user, seq in marked.rows})

    async def messages_after(self, room_id: int, seq: int, limit: int) -> list[MessageRecord]:
        sql = (
            f"SELECT {MESSAGE} FROM message WHERE room_id = {room_id:d} AND seq > {seq:d} "
            f"ORDER BY seq LIMIT {max(limit, 0):d}"
        )
        return [_message(row) for row in (await self._run(sql))[0].rows]

    async def messages_before(self, room_id: int, seq: int, limit: int) -> list[MessageRecord]:
        sql = (
            f"SELECT {MESSAGE} FROM message WHERE room_id = {room_id:d} AND seq < {seq:d} "
            f"ORDER BY seq DESC LIMIT {max(limit, 0):d}"
        )
        return [_message(row) for row in reversed((await self._run(sql))[0].rows)]

    async def heads(self, room_ids: Sequence[int]) -> dict[int, int]:
        if not room_ids:
            await trio.lowlevel.checkpoint()
            return {}
        ids = ",".join(f"{room_id:d}" for room_id in room_ids)
        (found,) = await self._run(f"SELECT id, last_seq FROM room WHERE id IN ({ids}) AND name IS NOT NULL")
        return dict(found.rows)

    # --- rooms -------------------------------------------------------------------------------------------------

    async def create_room(self, name: str, title: str, created_by: str, at: dt.datetime) -> RoomRecord:
        _refuse(name, title, created_by)
        if not name.isascii():
            raise ValueError("a room's name is ASCII")
        epoch, moment_ = new_epoch(), moment_literal(at)
        sql = (
            "INSERT INTO room (name, title, title_folded, epoch, created_by, created_at, updated_at, active_at) VALUES "
            f"({quoted(name)}, {quoted(title)}, {quoted(fold(title))}, '{epoch}', {quoted(created_by)}, "
            f"{moment_}, {moment_}, {moment_})"
        )
        try:
            (made,) = await self._run(sql)
        except _Duplicate:
            raise RoomTaken(name) from None
        at = at.astimezone(dt.UTC)
        self._appender.learn(made.insert_id, 0)
        return RoomRecord(made.insert_id, name, title, epoch, 0, created_by, at, at, at)

    async def room(self, name: str) -> RoomRecord | None:
        (found,) = await self._run(f"SELECT {ROOM} FROM room WHERE {_named(name)}")
        return _room(found.rows[0]) if found.rows else None

    async def rename_room(self, name: str, title: str, at: dt.datetime) -> RoomRecord | None:
        _refuse(title)
        _, found = await self._run(
            f"UPDATE room SET title = {quoted(title)}, title_folded = {quoted(fold(title))}, "
            f"updated_at = {moment_literal(at)} WHERE {_named(name)};"
            f"SELECT {ROOM} FROM room WHERE {_named(name)}"
        )
        return _room(found.rows[0]) if found.rows else None

    async def delete_room(self, name: str) -> RoomRecord | None:
        """See Store. The first transaction makes the room missing; its messages then go a few at a time.

        Cancelled or killed meanwhile, what is left goes with the next deletion; until then it only takes space.
        """
        _, found, _, _ = await self._run(
            f"BEGIN;SELECT {ROOM} FROM room WHERE {_named(name)} FOR UPDATE;"
            f"UPDATE room SET name = NULL WHERE {_named(name)};COMMIT"
        )
        if not found.rows:
            return None
        room = _room(found.rows[0])
        self._appender.forget(room.id)
        while await self._sweep():
            pass
        return room

    async def _sweep(self) -> bool:
        """Take some of a deleted room's messages; False when there is no such room any more."""
        (doomed,) = await self._run("SELECT id FROM room WHERE name IS NULL ORDER BY id LIMIT 1")
        if not doomed.rows:
            return False
        ((room_id,),) = doomed.rows
        (swept,) = await self._run(f"DELETE FROM message WHERE room_id = {room_id} ORDER BY seq LIMIT {SWEEP}")
        if swept.affected == 0:
            await self._run(f"DELETE FROM read_mark WHERE room_id = {room_id};DELETE FROM room WHERE id = {room_id}")
        return True

    async def rooms(self, q: str, sort: RoomSort, order: Order, limit: int, cursor: str | None) -> RoomPage:
        """See Store. By active_at, a room that gets a message between two pages may come twice or not at all."""
        after = None
        if cursor is not None:
            read = read_cursor(cursor, sort, order)
            if not read.key.isascii():
                raise BadCursor("the cursor is not one of ours")
            after = (quoted(read.key) if sort == "name" else moment_literal(moment(read.key)), read.id)
        limit = max(limit, 0)
        sql = rooms_sql(fold(q), sort, order, limit + 1, after)  # one more, to know whether there is a next page
        found = [_room(row) for row in (await self._run(sql))[0].rows]
        page = found[:limit]
        return RoomPage(page, cursor_text(page[-1], sort, order) if page and len(found) > limit else None)

    # --- read marks --------------------------------------------------------------------------------------------

    async def save_marks(self, marks: Sequence[Mark]) -> None:
        highest: dict[tuple[int, str], int] = {}
        for mark in marks:
            _refuse(mark.user_id)
            key = (mark.room_id, mark.user_id)
            highest[key] = max(mark.seq, highest.get(key, 0))
        # A room deleted between the two leaves marks that nobody reads. To lock it instead would wait for its sends.
        there = await self.heads(sorted({room_id for room_id, _ in highest}))
        now = moment_literal(dt.datetime.now(dt.UTC))
        rows = [  # in the order of the key, so that two servers do not lock crosswise
            f"({room_id},{quoted(user)},{seq:d},{now})"
            for (room_id, user), seq in sorted(highest.items())
            if room_id in there
        ]
        for first in range(0, len(rows), MARKS):
            values = ",".join(rows[first : first + MARKS])
            await self._run(
                f"INSERT INTO read_mark (room_id, user_id, seq, moved_at) VALUES {values} "
                # Assigned from left to right: moved_at still sees the old seq.
                "ON DUPLICATE KEY UPDATE moved_at = IF(VALUES(seq) > seq, VALUES(moved_at), moved_at), "
                "seq = GREATEST(seq, VALUES(seq))"
            )

    # --- revocations and servers ---------------------------------------------------------------------------------

    async def revoke(self, user_id: str, action: RevokeAction, by: str, at: dt.datetime) -> Revocation:
        _refuse(user_id, by)
        sql = REVOKE.format(user=quoted(user_id), action=quoted(action), by=quoted(by), at=moment_literal(at))
        (_, _, made, _) = await self._run(sql)
        return Revocation(made.insert_id, user_id, action)

    async def revocations_after(self, id: int, limit: int) -> list[Revocation]:
        (found,) = await self._run(
            f"SELECT id, user_id, action FROM revocation WHERE id > {id:d} ORDER BY id LIMIT {max(limit, 0):d}"
        )
        return [Revocation(number_, user.decode(), action) for number_, user, action in found.rows]

    async def bans(self) -> Bans:
        (_, _, last, banned, _) = await self._run(BANS)
        return Bans(sorted({user.decode() for (user,) in banned.rows}), int(last.rows[0][0]))  # of Decimal

    async def put_server(self, server: ServerRecord) -> None:
        texts = (server.id, server.boot, server.url, server.version, server.state)
        _refuse(*texts)
        # Assigned from left to right: boot and state must still be the old ones for all the others, so they come last.
        columns = [column for column in SERVER.split(", ")[1:] if column not in ("boot", "state")] + ["state"]
        is_over = "boot = VALUES(boot) AND state = 'stopped'"
        updates = ", ".join(f"{column} = IF({is_over}, {column}, VALUES({column}))" for column in columns)
        await self._run(
            f"INSERT INTO server ({SERVER}) VALUES ({', '.join(map(quoted, texts))}, {server.connections:d}, "
            f"{moment_literal(server.started_at)}, {moment_literal(server.seen_at)}) "
            f"ON DUPLICATE KEY UPDATE {updates}, boot = VALUES(boot)"
        )

    async def servers(self) -> list[ServerRecord]:
        (found,) = await self._run(f"SELECT {SERVER} FROM server ORDER BY id")
        return [ServerRecord(*row) for row in found.rows]

    async def put_rollout(self, rollout: RolloutRecord) -> None:
        texts = (rollout.id, rollout.fleet, rollout.version_from, rollout.version_to, rollout.why, rollout.story)
        _refuse(*texts)
        values = ", ".join(map(_literal, msgspec.structs.astuple(rollout)))
        # Assigned from left to right: `steps` must still be the old one for all but itself, so it comes last.
        columns = [column for column in ROLLOUT.split(", ")[1:] if column != "steps"] + ["steps"]
        updates = ", ".join(f"{column} = IF(VALUES(steps) >= steps, VALUES({column}), {column})" for column in columns)
        await self._run(f"INSERT INTO rollout ({ROLLOUT}) VALUES ({values}) ON DUPLICATE KEY UPDATE {updates}")

    async def rollouts(self, limit: int) -> list[RolloutRecord]:
        (found,) = await self._run(
            f"SELECT {ROLLOUT} FROM rollout ORDER BY began_at DESC, id DESC LIMIT {max(limit, 0):d}"
        )
        return [RolloutRecord(*row) for row in found.rows]

    async def aclose(self) -> None:
        await self._appender.pool.aclose()
        await self._others.aclose()
        await trio.lowlevel.checkpoint()

    async def _run(self, sql: str) -> list[Result]:
        """Run statements that may simply be run again, on any connection. Raises _Duplicate, StoreUnavailable."""
        encoded = sql.encode()
        tries = TRIES
        while True:
            async with self._others.connection() as connection:
                try:
                    with trio.fail_after(ANSWER):
                        return await connection.run(encoded)
                except MySQLError as error:
                    code = error_number(error)
                    if code not in (DUPLICATE, DEADLOCK, LOCK_TIMEOUT):
                        raise
                    await rollback(connection)
                    tries -= 1
                    if code != DUPLICATE and tries == 0:
                        raise
            if code == DUPLICATE:
                raise _Duplicate
            await trio.sleep(random.uniform(0, BACKOFF))


class _Duplicate(Exception):
    """A unique key has it already."""


# --- values ----------------------------------------------------------------------------------------------------


def _refuse(*texts: str) -> None:
    for text in texts:
        if "\0" in text:
            raise ValueError("a text with a NUL cannot be stored")  # in the SQLite twin it cannot, and twins are alike
        text.encode()  # a lone surrogate: UnicodeEncodeError is a ValueError


def _literal(value: str | int | float | dt.datetime | None) -> str:
    """A value as SQL."""
    if value is None:
        return "NULL"
    if isinstance(value, dt.datetime):
        return moment_literal(value)
    return quoted(value) if isinstance(value, str) else repr(value)


def _named(name: str) -> str:
    """The condition for one room; a name that none can have is no literal of the column's, or padded to one."""
    return f"name = {quoted(name)}" if name.isascii() and not name.endswith(" ") else "FALSE"


def _room(row: Sequence[Any]) -> RoomRecord:
    room_id, name, title, epoch, last_seq, created_by, created_at, updated_at, active_at = row
    return RoomRecord(room_id, name, title, epoch, last_seq, created_by.decode(), created_at, updated_at, active_at)


def _message(row: Sequence[Any]) -> MessageRecord:
    return MessageRecord(row[0], row[1].decode(), *row[2:])
