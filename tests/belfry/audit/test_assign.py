"""What a client makes of a tower's answers: a good one leads somewhere, every other leads nowhere and harms nobody."""

from __future__ import annotations

import json
import random
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
from audit_server import ROOM, TinyServer

from belfry.audit.address import Address, read_address
from belfry.audit.assign import assigned
from belfry.audit.backoff import Backoff
from belfry.audit.client import Account, Client
from belfry.audit.meter import Meter
from belfry.audit.readers import Readers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TEST_TIMEOUT = 60.0  # seconds


def http(body: bytes, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@asynccontextmanager
async def tower(answer: bytes, heard: list[bytes] | None = None) -> AsyncIterator[Address]:
    """Something that gives everybody this answer."""

    async def talk(stream: trio.SocketStream) -> None:
        asked = await stream.receive_some()
        if heard is not None:
            heard.append(bytes(asked))
        await stream.send_all(answer)
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, talk, 0, host="127.0.0.1"))
        yield Address("127.0.0.1", listeners[0].socket.getsockname()[1], secure=False)
        nursery.cancel_scope.cancel()


async def test_a_good_answer_leads_there() -> None:
    heard: list[bytes] = []
    async with tower(http(b'{"url":"http://s2.example.org:81","server":"s2"}'), heard) as where:
        assert await assigned(where, "u 1", "lobby") == Address("s2.example.org", 81, secure=False)
    assert heard[0].startswith(b"GET /v1/assign?user=u+1&room=lobby HTTP/1.1\r\n")


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"nonsense",
        http(b"{}"),
        http(b'{"url": 3}'),
        http(b'{"url": "ftp://a"}'),
        http(b"\xff\xfe"),
        http(b'{"url": "http://a"}', "503 Service Unavailable"),
        http(b" " * 200_000),
    ],
)
async def test_every_other_leads_nowhere(answer: bytes) -> None:
    async with tower(answer) as where:
        assert await assigned(where, "u", "lobby") is None


async def test_a_tower_that_is_not_there_leads_nowhere() -> None:
    async with tower(b"") as where:
        pass
    assert await assigned(where, "u", "lobby") is None


async def test_a_client_whose_server_is_gone_goes_where_the_tower_says() -> None:
    second = TinyServer()
    with trio.fail_after(TEST_TIMEOUT):
        async with trio.open_nursery() as nursery, second.running():
            answer = http(json.dumps({"url": second.address.http}).encode())
            async with tower(answer) as where:
                first = TinyServer(reconnect={"tower": where.http})
                async with first.running():
                    readers = Readers()
                    await nursery.start(readers.run)
                    client = Client(
                        "one", Account("u-one", "u-one"), [first.address], [ROOM],
                        observe=lambda observation: None, meter=Meter(), readers=readers,
                        backoff=Backoff(random.Random(1), base=0.01, cap=0.02),
                    )  # fmt: skip
                    nursery.start_soon(client.run)
                    while not client.connected:  # noqa: ASYNC110  # what the client knows has no event
                        await trio.sleep(0.002)
                while client.link is None or client.link.address != second.address:  # noqa: ASYNC110
                    await trio.sleep(0.002)
                assert read_address(second.address.http) == client.link.address
                nursery.cancel_scope.cancel()
