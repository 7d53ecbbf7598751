"""Appending to MySQL: one packet a commit, numbers guessed and checked, and what to do when the guess is wrong.

Which numbers the rows get is guessed from our last commit, and the transaction checks the guess itself (see
`commit_packets`), after it has locked the rooms. What it refuses is done again with more care:

    guessed   1 round trip    the rooms are where we left them, all nonces are new: nearly always
    counted   1 round trip    a few rooms we do not know, or that another server moved on: the database counts, and
                              tells us afterwards (see `counting_packet`)
    locked    2 round trips   many such rooms, or one that is gone: lock first, then number
    careful   3 round trips   a nonce that was sent before: also look up which of them are messages already

Measured, MySQL 8.0 and MariaDB 10.11, durable, one connection: one packet takes 0.7 to 0.9 of the time of four
statements awaited one by one, for one message; with a hundred the difference is lost in the rest.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

import trio
from trio_mysql.err import MySQLError

from db.errors import OutcomeUnknown, StoreUnavailable
from db.mysql_batch import commit_packets, counting_packet, known_nonces, lock_rooms
from db.mysql_errors import DEADLOCK, DUPLICATE, LOCK_TIMEOUT, NULL_REFUSED, error_number
from db.mysql_pool import ANSWER, BACKOFF, TRIES, Pool, rollback
from db.numbering import Numbered, moved, number
from db.records import Appended

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping, Sequence

    from db.mysql_connection import Connection, Result
    from db.numbering import Key
    from db.records import Draft, RoomMissing
    from db.url import MysqlUrl

HEADS = 10_000  # rooms whose last number is remembered: 100 B each, 1 MB; one that is not costs a round trip
LOCK_TRIES = 2  # lock timeouts, 3 s each: who holds a room longer than that is stuck, on a full disk for example
# Seconds we may be silent while we hold rooms; then the database takes them back. A process that is stopped, or cut off
# by the network, would else hold them for as long as that lasts, and no other server could write there. Shorter than
# the others wait for a lock. Left set afterwards: a connection idle for so long is made anew, which takes 5 ms.
# The second is for who does not read its answer either, such as a long list of known nonces: 60 s by default. Whoever
# is cut off while it waits for a room, or in half a packet, holds nothing for longer: 4 ms and 2 s, measured on both.
SILENT = b"SET SESSION wait_timeout = 2, net_write_timeout = 2"
SHARED = 2.0  # seconds in which no guess is made for a room that another server moved on: it would fail again


class Appender:
    """The one connection that commits messages, one batch after the other: no reader can make it wait."""

    def __init__(self, url: MysqlUrl) -> None:
        self._url = url
        self.pool = Pool(url, 1)
        self._turn = trio.Lock()  # held from the numbering of a batch to its commit
        self._heads: dict[int, int] = {}  # room id -> last_seq, as we know it; a guess, the transaction checks it
        self._shared: dict[int, float] = {}  # room id -> until when others are taken to write to it too

    def learn(self, room_id: int, last_seq: int) -> None:
        """A room was made or read: where a first guess may start."""
        self._heads.setdefault(room_id, last_seq)

    def forget(self, room_id: int) -> None:
        """A room was deleted."""
        self._heads.pop(room_id, None)

    async def append(self, drafts: Sequence[Draft], at: dt.datetime) -> list[Appended | RoomMissing]:
        """See Store; the texts have been checked."""
        if not drafts:
            await trio.lowlevel.checkpoint()
            return []
        try:
            self._turn.acquire_nowait()  # `acquire` is a turn of the event loop, and a commit waits for it
        except trio.WouldBlock:
            await self._turn.acquire()
        try:
            numbered = await self._append(drafts, at)
            self._heads.update(numbered.after)
            while len(self._heads) > HEADS:
                del self._heads[next(iter(self._heads))]
        except BaseException:
            self._heads.clear()  # whatever was remembered, the database may be another one now
            raise
        finally:
            self._turn.release()
        return numbered.outcomes

    async def _append(self, drafts: Sequence[Draft], at: dt.datetime) -> Numbered:
        """Try until it is committed, each time as careful as the last refusal asks for."""
        guess = self._guess(drafts, at)
        counting, careful = True, False
        refusals: list[int] = []
        while len(refusals) < TRIES and refusals.count(LOCK_TIMEOUT) < LOCK_TRIES:
            async with self.pool.connection() as connection:
                transaction = _Transaction(connection, self._url)
                try:
                    if guess is not None:
                        await transaction.commit(guess, at, begun=False)
                        return guess
                    if counting:
                        counted = await transaction.counted(drafts, at)
                        if counted is not None:
                            self._compare(counted.before)
                            return counted
                    heads, known = await transaction.locked(drafts, careful)
                    self._compare(heads)
                    numbered = number(drafts, heads, known, at)
                    await transaction.commit(numbered, at, begun=True)
                    return numbered
                except MySQLError as error:
                    refusals.append(error_number(error))
                    if refusals[-1] not in (DUPLICATE, NULL_REFUSED, DEADLOCK, LOCK_TIMEOUT):
                        raise
                    await rollback(connection)
            counting = guess is not None and refusals[-1] == NULL_REFUSED  # a room was moved on, most likely
            guess = None
            careful = careful or refusals[-1] == DUPLICATE
            if refusals[-1] in (DEADLOCK, LOCK_TIMEOUT):
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


class _Transaction:
    """One try on a lent connection."""

    def __init__(self, connection: Connection, url: MysqlUrl) -> None:
        self._connection = connection
        self._url = url

    async def locked(self, drafts: Sequence[Draft], careful: bool) -> tuple[dict[int, int], dict[Key, Appended]]:
        """Begin, lock the rooms and read their numbers; with `careful` also which drafts are messages already."""
        sql = f"BEGIN;{lock_rooms(drafts)}" + (f";{known_nonces(drafts)}" if careful else "")
        with trio.fail_after(ANSWER):
            _, _, rooms, *found = await self._connection.run(SILENT + b";" + sql.encode())
        known = {
            (room_id, user.decode(), nonce.decode()): Appended(seq, first, fresh=False)
            for result in found
            for room_id, user, nonce, seq, first in result.rows
        }
        return dict(rooms.rows), known

    async def counted(self, drafts: Sequence[Draft], at: dt.datetime) -> Numbered | None:
        """Write and commit, numbered by the database; which numbers it gave. None: not for this batch.

        Raises as `commit` does.
        """
        heads = {draft.room_id: 0 for draft in drafts}
        numbered = number(drafts, heads, {}, at)
        packet = counting_packet(numbered, at, self._connection.packet)
        if packet is None:
            return None
        results = await self._last(packet, 1 + 2 * len(heads))  # BEGIN, and each room's UPDATE and INSERT
        before = {
            room_id: result.insert_id - numbered.after[room_id]
            for room_id, result in zip(sorted(heads), results[1:-1:2], strict=True)
        }
        return moved(drafts, numbered, before)

    async def commit(self, numbered: Numbered, at: dt.datetime, *, begun: bool) -> None:
        """Write and commit. Raises OutcomeUnknown when COMMIT may have been reached and its answer did not come."""
        if not numbered.rows:
            if begun:
                await rollback(self._connection)
            return
        *first, last = commit_packets(numbered, at, self._connection.packet, "" if begun else "BEGIN;")
        if first and not begun:
            with trio.fail_after(ANSWER):
                await self._connection.run(SILENT)
        for packet in first:
            with trio.fail_after(ANSWER):
                await self._connection.run(packet)
        await self._last(last, 1 if first else 2 if begun else 3)  # INSERT, before it UPDATE, before that BEGIN

    async def _last(self, packet: bytes, before_commit: int) -> list[Result]:
        """Run the packet that ends with COMMIT, behind so many other statements. Raises OutcomeUnknown."""
        try:
            # Shielded: cancelled here it might be committed a moment later, when the caller has looked already.
            with trio.fail_after(ANSWER) as scope:
                scope.shield = True
                return await self._connection.run(packet)
        except (MySQLError, OSError, trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError) as error:
            if self._may_be_committed(error, before_commit):
                raise OutcomeUnknown(f"{self._url} did not answer to COMMIT ({error!r})") from error
            raise

    def _may_be_committed(self, error: BaseException, before_commit: int) -> bool:
        if not self._connection.sent:
            return False  # a packet that did not go out whole is not executed
        if not isinstance(error, MySQLError) or error_number(error) // 1000 == 2 or error_number(error) == 0:
            return True  # 2000 to 2999 are the client's own: no answer came
        return self._connection.answered >= before_commit and error_number(error) != DEADLOCK
