"""A few connections to MySQL, each used by one task at a time and never again after anything went wrong on it."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

from db.errors import StoreUnavailable
from db.mysql_connection import Connection
from db.mysql_errors import told_apart

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from db.url import MysqlUrl

ANSWER = 10.0  # seconds for one statement's answer: longer than any lock is waited for and than a disk's stall
TRIES = 8  # of a transaction that others' locks or changes upset; each follows a different cause, or a deadlock
BACKOFF = 0.02  # seconds at most before a deadlock's loser tries again, so that two do not meet in step
CONNECT = 5.0  # seconds for TCP, TLS and login; 5 ms nearby
WAIT = 10.0  # seconds for a connection to become free: all are busy with statements that may take ANSWER each
OLD = 1_800.0  # seconds after which a connection is made anew: a name that leads to another server now is followed
IDLE = 240.0  # seconds unused: firewalls forget a silent connection after 300 and more, without telling either side


class Pool:
    """At most `size` connections, opened when they are needed.

    A connection is dropped on any exception that leaves the block it was lent to, Cancelled too: with half an answer
    unread it would look usable and be out of step.
    """

    def __init__(self, url: MysqlUrl, size: int) -> None:
        self._url = url
        self.size = size
        self._slots = trio.Semaphore(size)
        self._idle: list[Connection] = []
        self._lent: set[Connection] = set()
        self.opened = 0  # connections since the start; a rising number is trouble

    @asynccontextmanager
    async def connection(self, *, opening: bool = False) -> AsyncIterator[Connection]:
        """Lend a connection. MySQL's errors and timeouts in the block come out as StoreErrors."""
        try:
            self._slots.acquire_nowait()  # `acquire` is a turn of the event loop, and a commit waits for it
        except trio.WouldBlock:
            with trio.move_on_after(WAIT) as waiting:
                await self._slots.acquire()
            if waiting.cancelled_caught:
                raise StoreUnavailable(
                    f"all {self.size} connections to {self._url} are busy; nothing was written"
                ) from None
        try:
            with told_apart(self._url, opening=opening):
                connection = await self._idle_or_new()
                self._lent.add(connection)
                try:
                    yield connection
                except BaseException:
                    connection.drop()
                    raise
                finally:
                    self._lent.discard(connection)
                if connection.is_open:
                    self._idle.append(connection)
        finally:
            self._slots.release()

    async def aclose(self) -> None:
        """Close the idle ones politely; those still lent are cut off."""
        for connection in self._lent:
            connection.drop()
        async with trio.open_nursery() as nursery:
            while self._idle:
                nursery.start_soon(self._idle.pop().goodbye)

    async def _idle_or_new(self) -> Connection:
        now = time.monotonic()
        while self._idle:
            connection = self._idle.pop()  # the last one used: the others grow old and go
            if connection.is_silent() and now - connection.opened_at < OLD and now - connection.used_at < IDLE:
                return connection
            connection.drop()
        connection = Connection(self._url)
        with trio.fail_after(CONNECT):
            await connection.open()
        self.opened += 1
        return connection


async def rollback(connection: Connection) -> None:
    """Take back whatever the connection has begun."""
    with trio.fail_after(ANSWER):
        await connection.run(b"ROLLBACK")
