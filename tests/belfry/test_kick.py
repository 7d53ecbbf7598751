"""`belfry kick` against a real server: sockets close, bans hold, and mistakes are one line."""

from __future__ import annotations

import socket
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
from trio_websocket import ConnectionClosed, open_websocket_url

from belfry.errors import Failed, Wrong
from belfry.kick import run_kick
from belfry.sources import read_settings
from bus.memory import Exchange
from chat import wire
from chat.config import Config
from chat.server import ChatServer
from chat.tokens import Tokens
from db.sqlite import SqliteStore

if TYPE_CHECKING:
    from pathlib import Path

    from trio_websocket import WebSocketConnection

SECRET = "Zr8pQ1xLw93mTb5yVc7dKs2hNf6gJe4a"
ENVIRON = {"BELFRY_SECRET": SECRET}


def kick(flags: dict[str, str], environ: dict[str, str] = ENVIRON) -> int:
    return run_kick(read_settings("kick", flags, environ), flags, environ)


async def closed_with(client: WebSocketConnection) -> int:
    with trio.fail_after(10), pytest.raises(ConnectionClosed) as closed:
        while True:
            await client.get_message()
    assert closed.value.reason is not None
    return closed.value.reason.code


async def test_kick_ban_and_unban(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = await SqliteStore.open(tmp_path / "belfry.db")
    tokens = Tokens(SECRET.encode())
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    server = ChatServer(Config(port=port, first_rooms=("lobby",)), store, Exchange().bus("s1"), tokens)
    hello = wire.encode(wire.Hello(tokens.issue("u_ada", "Ada", 600))).decode()
    connect = partial(open_websocket_url, f"ws://127.0.0.1:{port}/ws")
    flags = {"user": "u_ada", "url": f"http://127.0.0.1:{port}"}
    async with trio.open_nursery() as nursery:
        await nursery.start(server.run, [listener])
        with trio.fail_after(30):
            async with connect() as ada:
                await ada.send_message(hello)
                assert "welcome" in await ada.get_message()
                assert await trio.to_thread.run_sync(kick, flags) == 0
                assert await closed_with(ada) == 4501
            async with connect() as ada:  # a kick is not a ban
                await ada.send_message(hello)
                assert "welcome" in await ada.get_message()
                assert await trio.to_thread.run_sync(kick, flags | {"ban": "yes"}) == 0
                assert await closed_with(ada) == 4501
            async with connect() as ada:
                await ada.send_message(hello)
                assert await closed_with(ada) == 4501
            assert await trio.to_thread.run_sync(kick, flags | {"unban": "yes"}) == 0
            async with connect() as ada:
                await ada.send_message(hello)
                assert "welcome" in await ada.get_message()
            other = {"BELFRY_SECRET": SECRET[::-1]}
            with pytest.raises(Failed, match="another secret"):
                await trio.to_thread.run_sync(kick, flags, other)
        server.drain()
    await store.aclose()
    assert capsys.readouterr().err.splitlines() == [
        f"u_ada was sent away; 1 sockets closed at http://127.0.0.1:{port}, others within 3 s",
        f"u_ada is banned; 1 sockets closed at http://127.0.0.1:{port}, others within 3 s",
        f"u_ada may come back; 0 sockets closed at http://127.0.0.1:{port}, others within 3 s",
    ]


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ({}, "needs a user id"),
        ({"user": "a b"}, "is no user id"),
        ({"user": "u_a", "ban": "yes", "unban": "yes"}, "contradict each other"),
        ({"user": "u_a", "url": "ftp://x"}, "does not fit"),
    ],
)
def test_mistakes(flags: dict[str, str], line: str) -> None:
    with pytest.raises(Wrong, match=line):
        kick(flags)


def test_no_server() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(Failed, match="no server answers"):
        kick({"user": "u_a", "url": f"http://127.0.0.1:{port}"})
