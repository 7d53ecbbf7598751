"""The twins of the Store, each behind one fixture, so that one test file runs all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import pytest

from db.sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from db.store import Store


class Twin(Protocol):
    """A database that outlives the stores opened on it."""

    async def open(self) -> Store: ...


class SqliteTwin:
    def __init__(self, path: Path) -> None:
        self.path = path

    async def open(self) -> Store:
        return await SqliteStore.open(self.path)


@pytest.fixture(params=["sqlite"])
def twin(request: pytest.FixtureRequest, tmp_path: Path) -> Twin:
    """An empty database."""
    assert request.param == "sqlite"
    return SqliteTwin(tmp_path / "belfry.db")


@pytest.fixture
async def store(twin: Twin) -> AsyncIterator[Store]:
    store = await twin.open()
    yield store
    await store.aclose()
