"""The twins of the Store, each behind one fixture, so that one test file runs all of them."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Protocol

import pytest

from db.mysql import MysqlStore
from db.mysql_connection import Connection
from db.sqlite import SqliteStore
from db.url import MysqlUrl, parse_url
from tests.conftest import WORKER

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from compose.services.database import Database
    from db.store import Store

TABLES = ("message", "room", "read_mark", "server", "revocation", "rollout")


class Twin(Protocol):
    """A database that outlives the stores opened on it."""

    async def open(self) -> Store: ...


class SqliteTwin:
    def __init__(self, path: Path) -> None:
        self.path = path

    async def open(self) -> Store:
        return await SqliteStore.open(self.path)


class MysqlTwin:
    """This process's database on a server, emptied before a test's first store: to make its tables anew takes 0.3 s."""

    def __init__(self, server: Database) -> None:
        parsed = parse_url(server.admin_url(f"twin{WORKER}"))
        assert isinstance(parsed, MysqlUrl)
        self.url = parsed
        self._emptied = False

    async def open(self) -> Store:
        if not self._emptied:
            await self._run(
                dataclasses.replace(self.url, name="mysql"), f"CREATE DATABASE IF NOT EXISTS {self.url.name}"
            )
        store = await MysqlStore.open(self.url)
        if not self._emptied:
            await self._run(self.url, ";".join(f"DELETE FROM {table}" for table in TABLES))
            self._emptied = True
        return store

    async def _run(self, url: MysqlUrl, sql: str) -> None:
        connection = Connection(url)
        await connection.open()
        await connection.run(sql.encode())
        connection.drop()


@pytest.fixture(params=["sqlite", "mysql", "mariadb"])
def twin(request: pytest.FixtureRequest, tmp_path: Path) -> Twin:
    """An empty database."""
    if request.param == "sqlite":
        return SqliteTwin(tmp_path / "belfry.db")
    return MysqlTwin(request.getfixturevalue(f"{request.param}_server"))


@pytest.fixture
async def store(twin: Twin) -> AsyncIterator[Store]:
    store = await twin.open()
    yield store
    await store.aclose()
