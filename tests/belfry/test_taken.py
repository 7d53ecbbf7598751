"""A server does not start under the name of one that lives elsewhere."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest

from belfry.errors import Wrong
from belfry.taken import check_name
from chat.config import Config
from db.records import ServerRecord
from db.sqlite import SqliteStore

if TYPE_CHECKING:
    from pathlib import Path

NOW = dt.datetime.now(dt.UTC)


def record(**changes: Any) -> ServerRecord:
    fields = {
        "id": "s1", "boot": "b0", "url": "http://127.0.0.1:8001", "version": "1", "state": "ready", "connections": 0,
        "started_at": NOW, "seen_at": dt.datetime.now(dt.UTC),
    }  # fmt: skip
    return ServerRecord(**(fields | changes))


async def check(tmp_path: Path, other: ServerRecord, **config: Any) -> None:
    store = await SqliteStore.open(tmp_path / "belfry.db")
    try:
        await store.put_server(other)
        await check_name(store, Config(**({"server_id": "s1", "port": 8_002, "boot": "b1"} | config)))
    finally:
        await store.aclose()


@pytest.mark.parametrize("state", ["starting", "ready", "cordoned", "draining"])
async def test_a_name_that_lives_elsewhere_is_refused_with_both_addresses(tmp_path: Path, state: str) -> None:
    with pytest.raises(Wrong, match=r"named s1 already runs at http://127\.0\.0\.1:8001, so this one at .*:8002 needs"):
        await check(tmp_path, record(state=state))


@pytest.mark.parametrize(
    "other",
    [
        record(id="s2"),
        record(state="stopped"),
        record(seen_at=NOW - dt.timedelta(seconds=60)),
        record(url="http://127.0.0.1:8002"),  # it was killed, and starts again
    ],
)
async def test_a_name_that_is_free_is_taken(tmp_path: Path, other: ServerRecord) -> None:
    await check(tmp_path, other)


async def test_the_public_address_is_the_one_that_counts(tmp_path: Path) -> None:
    await check(tmp_path, record(url="https://chat.example.org"), public_url="https://chat.example.org")
