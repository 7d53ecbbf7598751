"""`belfry tower` as a process: on one server's SQLite file, with and without a bus; and a database that comes late."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import sys
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import trio

from belfry.errors import Wrong
from belfry.late_store import LateStore
from belfry.sources import read_settings
from belfry.tower import run_tower
from chat.tokens import Tokens
from db.errors import StoreUnavailable, StoreUnusable
from db.migrations import migrate_sqlite
from db.open import open_store
from db.url import SqliteUrl
from tests.faults.process import ServerProcess, free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from compose.services import Kafka

SECRET = secrets.token_urlsafe(48)
PATIENCE = 60.0  # seconds; two on a quiet machine


class Process(ServerProcess):
    """One command of belfry's, in a process of its own."""

    def __init__(self, directory: Path, *words: str) -> None:
        super().__init__(directory)
        self.environ = os.environ | {"BELFRY_SECRET": SECRET}
        self._words = words

    def command(self) -> list[str]:
        verb, *words = self._words
        return [sys.executable, "-m", "belfry", verb, "--port", str(self.port), *words]


@contextlib.asynccontextmanager
async def running(*processes: Process) -> AsyncIterator[None]:
    """All of them, until the block ends."""
    try:
        for process in processes:
            await process.start()
        yield
    finally:
        for process in processes:
            await process.end()


async def ask(tower: Process, path: str) -> Any:
    """What a GET of the tower answers."""
    token = Tokens(SECRET.encode()).issue("u_admin", "admin", 600.0, admin=True)
    async with httpx.AsyncClient(timeout=PATIENCE) as client:
        answer = await client.get(tower.url + path, headers={"Authorization": f"Bearer {token}"})
    return answer.json()


async def until_ready(tower: Process, url: str) -> None:
    """Wait until the tower knows the server as ready."""
    found: Any = None
    with trio.move_on_after(PATIENCE):
        while True:
            found = [(one["state"], one["url"]) for one in (await ask(tower, "/v1/servers"))["servers"]]
            if found == [("ready", url)]:
                return
            await trio.sleep(0.1)
    raise AssertionError(f"{found}; {tower.told()}")


async def test_beside_one_server_on_its_file(tmp_path: Path, kafka_server: Kafka) -> None:
    db = f"sqlite:///{tmp_path / 'belfry.db'}"
    bus = f"{kafka_server.url}?prefix={secrets.token_hex(4)}."
    server = Process(tmp_path / "server", "serve", "--db", db, "--bus", bus)
    tower = Process(tmp_path / "tower", "tower", "--db", db, "--bus", bus)
    reader = Process(tmp_path / "reader", "tower", "--db", db, "--bus", "memory:")
    async with running(server, tower, reader):
        for each in (tower, reader):
            await until_ready(each, server.url)
            assert await ask(each, "/v1/assign?user=u_ada") == {"url": server.url, "server": "s1"}
        told = reader.told()
        assert "it reads the servers' table each 2 s, and can pass no verbs on" in told
        assert SECRET not in told + tower.told()
        for each in (tower, reader):
            each.signal(signal.SIGTERM)
            assert await each.wait() == 0, each.told()
        assert "Traceback" not in tower.told() + reader.told()


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({}, "`belfry tower` needs --bus (flag) or BELFRY_BUS (variable)"),
        ({"bus": "memory:"}, "--bus (flag): a tower in a process of its own hears nothing on a bus inside it"),
        ({"bus": "kafka://"}, "names a broker that is not host or host:port"),
        ({"db": "sqlite:///missing/belfry.db"}, "missing cannot be used"),
    ],
)
def test_what_is_refused_before_anything_runs(flags: dict[str, str], says: str, tmp_path: Path) -> None:
    flags = {name: value.replace("/missing", f"/{tmp_path}/missing") for name, value in flags.items()}
    with pytest.raises(Wrong) as caught:
        run_tower(read_settings("tower", flags | {"port": "0"}, {}), {"BELFRY_SECRET": SECRET})
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_taken_port_is_told() -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        settings = read_settings("tower", {"bus": "kafka://127.0.0.1:1", "port": str(port)}, {})
        with pytest.raises(Wrong, match=rf"--port \(flag\): port {port} on 127.0.0.1 is taken"):
            run_tower(settings, {"BELFRY_SECRET": SECRET})


# --- a database that comes late --------------------------------------------------------------------------------


async def test_a_database_is_tried_until_it_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    migrate_sqlite(tmp_path / "belfry.db")
    there = False

    async def late(url: Any, *, migrate: bool) -> Any:
        if not there:
            raise StoreUnavailable("nobody answers")
        return await open_store(url, migrate=migrate)

    monkeypatch.setattr("belfry.late_store.open_store", late)
    monkeypatch.setattr("belfry.late_store.AGAIN", 0.01)
    store = LateStore(SqliteUrl(tmp_path / "belfry.db"))
    async with trio.open_nursery() as nursery:
        await nursery.start(store.run)
        with pytest.raises(StoreUnavailable, match="nobody answers"):
            await store.servers()
        there = True
        with trio.fail_after(PATIENCE):
            while True:
                with contextlib.suppress(StoreUnavailable):
                    assert await store.servers() == []
                    break
                await trio.sleep(0.01)
        assert await store.rollouts(5) == []
        nursery.cancel_scope.cancel()


async def test_a_database_that_can_never_work_ends_the_tower(tmp_path: Path) -> None:
    (tmp_path / "belfry.db").write_bytes(b"no database" * 100)
    store = LateStore(SqliteUrl(tmp_path / "belfry.db"))
    with pytest.RaisesGroup(StoreUnusable):
        async with trio.open_nursery() as nursery:
            await nursery.start(store.run)
