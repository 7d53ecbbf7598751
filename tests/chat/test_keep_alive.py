"""A kept-alive connection: each request of it comes through the front door, and any may ask for a websocket."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio
from chat_world import head, house

if TYPE_CHECKING:
    from pathlib import Path

    from chat_world import Client

HEALTH = b"GET /healthz HTTP/1.1\r\nHost: belfry.test\r\n\r\n"


async def answer(client: Client) -> bytes:
    """The rest of an answer whose body is {"status":"ok"}."""
    got = b""
    with trio.fail_after(10):
        while not got.endswith(b'{"status":"ok"}'):
            more = await client.stream.receive_some()
            assert more, got
            got += more
    return got


async def test_a_websocket_after_other_requests(tmp_path: Path) -> None:
    async with house(tmp_path) as running:
        client = await running.connect()
        for _ in range(3):
            await client.send(HEALTH)
            assert (await answer(client)).startswith(b"HTTP/1.1 200")
        await client.upgrade()
        await client.hello("ada")
        await client.join("lobby")
        assert await client.tell("hi", "n1") == 1


async def test_a_websocket_pipelined_behind_other_requests(tmp_path: Path) -> None:
    async with house(tmp_path, guests=True) as running:
        client = await running.connect()
        guest = (
            b"POST /v1/guests HTTP/1.1\r\nHost: belfry.test\r\nContent-Type: application/json\r\n"
            b'Content-Length: 14\r\n\r\n{"name":"Zoe"}'
        )
        await client.send(guest + HEALTH + head())
        got = b""
        with trio.fail_after(10):
            while got.count(b"HTTP/1.1 ") < 3 or not got.endswith(b"\r\n\r\n"):
                got += await client.stream.receive_some()
        assert [part[:3] for part in got.split(b"HTTP/1.1 ")[1:]] == [b"201", b"200", b"101"]


async def test_a_websocket_behind_a_chunked_body_in_one_write_is_refused_and_nobody_hurt(tmp_path: Path) -> None:
    async with house(tmp_path) as running:
        bob = await running.client("bob", "lobby")
        client = await running.connect()
        chunked = HEALTH[:-2] + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        await client.send(chunked + head())
        got = b""
        with trio.fail_after(10):
            while more := await client.stream.receive_some():
                got += more
        assert got.count(b"HTTP/1.1 ") == 2
        assert b"HTTP/1.1 403" in got
        assert await bob.tell("hi", "n1") == 1


async def test_a_request_after_a_chunked_body(tmp_path: Path) -> None:
    async with house(tmp_path) as running:
        client = await running.connect()
        for _ in range(3):
            await client.send(HEALTH[:-2] + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
            await answer(client)
            await client.send(HEALTH)
            await answer(client)


async def test_a_bad_second_head_is_refused_like_a_first(tmp_path: Path) -> None:
    async with house(tmp_path) as running:
        client = await running.connect()
        await client.send(HEALTH)
        await answer(client)
        await client.send(b"GET /healthz HTTP/1.1\r\nX: " + b"x" * 9_000 + b"\r\n\r\n")
        with trio.fail_after(10):
            assert (await client.stream.receive_some()).startswith(b"HTTP/1.1 431")


async def test_an_idle_connection_does_not_hold_up_the_stop(tmp_path: Path, autojump_clock: trio.abc.Clock) -> None:
    async with house(tmp_path, drain_deadline=5.0) as running:
        client = await running.connect()
        await client.send(HEALTH)
        await answer(client)
        running.server.drain()
        assert await client.stream.receive_some() == b""
        await running.stopped.wait()
