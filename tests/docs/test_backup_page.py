"""docs/how-to/backup.md: its copy is whole while the server runs, and what it restores is told honestly."""

from __future__ import annotations

import json
import re
import sqlite3
import uuid
from contextlib import closing
from typing import TYPE_CHECKING, Any

import httpx
import trio
from trio_websocket import open_websocket_url

from tests.docs.page import put, text

if TYPE_CHECKING:
    from pathlib import Path

    from tests.docs.conftest import Server

PAGE = text("how-to/backup.md")


def run_sql(database: Path, sql: str) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(sql)


def sql_of(beginning: str) -> str:
    """The page's one command to sqlite3 that begins like this."""
    (found,) = re.findall(rf'sqlite3 \S+ "({beginning}[^"]*)"', PAGE)
    return str(found)


async def say(server: Server, token: str, what: str) -> int:
    headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": uuid.uuid4().hex}
    async with httpx.AsyncClient() as http:
        address = f"http://127.0.0.1:{server.port}/v1/rooms/lobby/messages"
        answer = await http.post(address, json={"text": what}, headers=headers)
    seq: int = answer.raise_for_status().json()["seq"]
    return seq


async def come_in(server: Server, token: str, resume: dict[str, Any]) -> dict[str, Any]:
    """What `joined` says."""
    with trio.fail_after(10):
        async with open_websocket_url(f"ws://127.0.0.1:{server.port}/ws") as websocket:
            await websocket.send_message(json.dumps({"t": "hello", "token": token, "resume": resume}))
            if not resume:
                await websocket.send_message('{"t":"join","room":"lobby"}')
            while True:
                frame: dict[str, Any] = json.loads(await websocket.get_message())
                if frame["t"] == "joined":
                    return frame


async def test_backup_and_restore(server: Server, tmp_path: Path) -> None:
    token = await server.guest("Ada")
    for number in range(1, 6):
        assert await say(server, token, f"before {number}") == number
    backup, database = tmp_path / "backup.db", server.data / "belfry.db"
    run_sql(database, put(sql_of("VACUUM INTO"), {"/backup/belfry-2026-11-23.db": str(backup)}))
    assert await say(server, token, "after the backup") == 6
    seen = await come_in(server, token, {})
    assert seen["head"] == 6
    server.kill()

    # The disk died. Without the page's third step the new sixth message would be taken for the old one.
    for name in ("belfry.db", "belfry.db-wal", "belfry.db-shm"):
        (server.data / name).unlink(missing_ok=True)
    database.write_bytes(backup.read_bytes())
    run_sql(database, sql_of("UPDATE room"))
    await server.start()
    assert await say(server, token, "another sixth") == 6
    again = await come_in(server, token, {"lobby": [seen["epoch"], seen["head"]]})
    assert again["epoch"] != seen["epoch"]
    assert again["gap"]
    assert [message["text"] for message in again["messages"]] == [
        *(f"before {n}" for n in range(1, 6)),
        "another sixth",
    ]
