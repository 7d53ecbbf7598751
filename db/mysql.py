"""The MySQL twin of the Store, for MySQL 8 and MariaDB: many servers share one sequence a room.

A commit is one packet and so one round trip: BEGIN, the locking UPDATE of the rooms, one INSERT of all rows, COMMIT.
Which numbers the rows get is guessed from our last commit, and the transaction checks the guess itself (see
`commit_packets`), since the room's row is locked before it looks. What it refuses is looked up and done again: a room
that another server moved on costs one round trip more, a nonce that was sent before two.

Measured, MySQL 8.0 and MariaDB 10.11, both durable, one connection, beside four statements awaited one by one: one
packet takes 0.7 to 0.9 of the time of one message's commit.
"""

from __future__ import annotations

import datetime as dt
import random
import time
from typing import TYPE_CHECKING, Any, Self

import trio
from trio_mysql.err import MySQLError

from db.cursor import cursor_text, read_cursor
from db.epoch import new_epoch
from db.errors import OutcomeUnknown, StoreUnavailable
from db.folding import fold
from db.moments import moment
from db.mysql_batch import commit_packets, known_nonces, lock_rooms
from db.mysql_connection import moment_literal, quoted
from db.mysql_errors import DEADLOCK, DUPLICATE, LOCK_TIMEOUT, NULL_REFUSED
from db.mysql_errors import number as error_number
from db.mysql_migrations import migrate_mysql, refuse_unfit
from db.mysql_pool import Pool
from db.numbering import Numbered, number
from db.records import Appended, LiveRoom, MessageRecord, RoomPage, RoomRecord
from db.store import BadCursor, RoomTaken

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from db.mysql_connection import Connection, Result
    from db.numbering import Key
    from db.records import Draft, Mark, Order, RoomMissing, RoomSort
    from db.url import MysqlUrl

COMMITS = 1  # connections for append: one batch after the other, and no reader can make it wait for a connection
OTHERS = 5  # connections for everything else: a page of history takes 5 ms, so 1,000 a second
ANSWER = 10.0  # seconds for one statement's answer: longer than any lock is waited for and than a disk's stall
TRIES = 8  # of one batch that others' locks or changes upset; each follows a different cause, or a deadlock
BACKOFF = 0.02  # seconds at most before a deadlock's loser tries again, so that two do not meet in step
HEADS = 10_000  # rooms whose last number is remembered: 100 B each, 1 MB; one that is not costs a round trip
SHARED = 2.0  # seconds in which no guess is made for a room that another server moved on: it would fail again
SWEEP = 1_000  # messages of a deleted room a transaction: their locks and binlog must not hold up others' sends
MARKS = 1_000  # read marks a statement: 100 KB

# --- room ------------------------------------------------------------------------------------------------------

ROOM = "id, name, title, epoch, last_seq, created_by, created_at, updated_at, active_at"

# --- message ---------------------------------------------------------------------------------------------------

MESSAGE = "seq, user_id, user_name, body, created_at"

# One moment for all three: a consistent snapshot, which READ COMMITTED would take anew for each.
LIVE_ROOM = f"""\
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ;
START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY;
SELECT {ROOM} FROM room WHERE {{named}};
SELECT {MESSAGE} FROM message
    WHERE room_id = (SELECT id FROM room WHERE {{named}}) ORDER BY seq DESC LIMIT {{recent}};
SELECT user_id, seq FROM read_mark
    WHERE room_id = (SELECT id FROM room WHERE {{named}}) ORDER BY moved_at DESC, user_id LIMIT {{marks}};
COMMIT"""


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
        self._commits = Pool(url, COMMITS)
        self._others = Pool(url, OTHERS)
        self._turn = trio.Lock()  # held from the numbering of a batch to its commit
        self._heads: dict[int, int] = {}  # room id -> last_seq, as we know it; a guess, the transaction checks it
        self._shared: dict[int, float] = {}  # room id -> until when others are taken to write to it too

    @classmethod
    async def open(cls, url: MysqlUrl, *, migrate: bool = True) -> Self:
        """Connect and check the schema; with `migrate` bring it to this code's first.

        Raises StoreUnusable, and StoreUnavailable when the database does not answer.
        """
        if migrate:
            await migrate_mysql(url)
        store = cls(url)
        try:
            async with store._commits.connection(opening=True) as connection:
                with trio.fail_after(ANSWER):
                    await refuse_unfit(connection, url)
        except BaseException:
            await store.aclose()
            raise
        return store

    # --- append ------------------------------------------------------------------------------------------------

    async def append(self, drafts: Sequence[Draft], at: dt.datetime) -> list[Appended | RoomMissing]:
        """See Store. Raises ValueError for a NUL or a lone surrogate in any text; nothing was written then."""
        moment_literal(at)
        for draft in drafts:
            _refuse(draft.user_id, draft.user_name, draft.nonce, draft.text)
        async with self._turn:
            await trio.lowlevel.checkpoint()
            if not drafts:
                return []
            try:
                numbered = await self._append(drafts, at)
            except BaseException:
                self._heads.clear()  # whatever was remembered, the database may be another one now
                raise
            self._remember(numbered.after)
        return numbered.outcomes

    async def _append(self, drafts: Sequence[Draft], at: dt.datetime) -> Numbered:
        """Try until it is committed: by the guess, then with the rooms locked first, then with the nonces looked up."""
        careful = False
        guess = self._guess(drafts, at)
        for _ in range(TRIES):
            async with self._commits.connection() as connection:
                transaction = _Transaction(connection, self._url)
                try:
                    if guess is not None:
                        await transaction.commit(guess, at, begin="BEGIN;")
                        return guess
                    heads, known = await transaction.locked(drafts, careful)
                    self._compare(heads)
                    numbered = number(drafts, heads, known, at)
                    await transaction.commit(numbered, at, begin="")
                    return numbered
                except MySQLError as error:
                    again = await transaction.refused(error)
                guess = None
                careful = careful or again == DUPLICATE
            if again in (DEADLOCK, LOCK_TIMEOUT):
                await trio.sleep(random.uniform(0, BACKOFF))
        raise StoreUnavailable(f"others hold the rooms' rows in {self._url} for too long; nothing was written")

    def _guess(self, drafts: Sequence[Draft], at: dt.datetime) -> Numbered | None:
        rooms = {draft.room_id for draft in drafts}
        now = time.monotonic()
        if not rooms <= self._heads.keys() or any(self._shared.get(room_id, 0.0) > now for room_id in rooms):
            return None
        return number(drafts, self._heads, {}, at)

    def _compare(self, heads: Mapping[int, int]) -> None:
        """Find out which rooms others write to."""
        now = time.monotonic()
        for room_id, head in heads.items():
            if self._heads.get(room_id, head) != head:
                self._shared[room_id] = now + SHARED
        if len(self._shared) > HEADS:
            self._shared = {room_id: until for room_id, until in self._shared.items() if until > now}

    def _remember(self, heads: Mapping[int, int]) -> None:
        self._heads.update(heads)
        while len(self._heads) > HEADS:
            del self._heads[next(iter(self._heads))]

    # --- reading -----------------------------------------------------------------------------------------------

    async def live_room(self, name: str, recent: int, marks: int) -> LiveRoom | None:
        sql = LIVE_ROOM.format(named=_named(name), recent=max(recent, 0), marks=max(marks, 0))
        (_, _, rooms, messages, marked, _) = await self._run(sql)
        if not rooms.rows:
            return None
        room = _room(rooms.rows[0])
        self._heads.setdefault(room.id, room.last_seq)
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
        self._heads[made.insert_id] = 0
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
        self._heads.pop(room.id, None)
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

    async def aclose(self) -> None:
        await self._commits.aclose()
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
                    await _rollback(connection)
                    tries -= 1
                    if code != DUPLICATE and tries == 0:
                        raise
            if code == DUPLICATE:
                raise _Duplicate
            await trio.sleep(random.uniform(0, BACKOFF))


class _Duplicate(Exception):
    """A unique key has it already."""


class _Transaction:
    """One try to append on a lent connection."""

    def __init__(self, connection: Connection, url: MysqlUrl) -> None:
        self._connection = connection
        self._url = url

    async def locked(self, drafts: Sequence[Draft], careful: bool) -> tuple[dict[int, int], dict[Key, Appended]]:
        """Begin, lock the rooms and read their numbers; with `careful` also which drafts are messages already."""
        sql = f"BEGIN;{lock_rooms(drafts)}" + (f";{known_nonces(drafts)}" if careful else "")
        with trio.fail_after(ANSWER):
            _, rooms, *found = await self._connection.run(sql.encode())
        known = {
            (room_id, user.decode(), nonce.decode()): Appended(seq, first, fresh=False)
            for result in found
            for room_id, user, nonce, seq, first in result.rows
        }
        return dict(rooms.rows), known

    async def commit(self, numbered: Numbered, at: dt.datetime, begin: str) -> None:
        """Write and commit. Raises OutcomeUnknown when COMMIT may have been reached and its answer did not come."""
        if not numbered.rows:
            if not begin:
                await _rollback(self._connection)
            return
        *first, last = commit_packets(numbered, at, self._connection.packet, begin)
        for packet in first:
            with trio.fail_after(ANSWER):
                await self._connection.run(packet)
        before_commit = 1 if first else 3 if begin else 2  # INSERT, before it UPDATE, before that BEGIN
        try:
            # Shielded: cancelled here it might be committed a moment later, when the caller has looked already.
            with trio.fail_after(ANSWER) as scope:
                scope.shield = True
                await self._connection.run(last)
        except (MySQLError, OSError, trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError) as error:
            if self._may_be_committed(error, before_commit):
                self._connection.drop()
                raise OutcomeUnknown(f"{self._url} did not answer to COMMIT ({error})") from error
            raise

    def _may_be_committed(self, error: BaseException, before_commit: int) -> bool:
        if not self._connection.sent:
            return False  # a packet that did not go out whole is not executed
        said_by_server = isinstance(error, MySQLError) and error_number(error) in range(1000, 2000)
        if not said_by_server:
            return True
        return self._connection.answered >= before_commit and error_number(error) != DEADLOCK

    async def refused(self, error: MySQLError) -> int:
        """Take the transaction back after an error; its number if trying again may help, else it is raised."""
        code = error_number(error)
        if code not in (DUPLICATE, NULL_REFUSED, DEADLOCK, LOCK_TIMEOUT):
            raise error
        await _rollback(self._connection)
        return code


async def _rollback(connection: Connection) -> None:
    with trio.fail_after(ANSWER):
        await connection.run(b"ROLLBACK")


# --- values ----------------------------------------------------------------------------------------------------


def _refuse(*texts: str) -> None:
    for text in texts:
        if "\0" in text:
            raise ValueError("a text with a NUL cannot be stored")  # in the SQLite twin it cannot, and twins are alike
        text.encode()  # a lone surrogate: UnicodeEncodeError is a ValueError


def _named(name: str) -> str:
    """The condition for one room; a name that none can have is no literal of the column's, or padded to one."""
    return f"name = {quoted(name)}" if name.isascii() and not name.endswith(" ") else "FALSE"


def _room(row: Sequence[Any]) -> RoomRecord:
    room_id, name, title, epoch, last_seq, created_by, created_at, updated_at, active_at = row
    return RoomRecord(room_id, name, title, epoch, last_seq, created_by.decode(), created_at, updated_at, active_at)


def _message(row: Sequence[Any]) -> MessageRecord:
    return MessageRecord(row[0], row[1].decode(), *row[2:])
