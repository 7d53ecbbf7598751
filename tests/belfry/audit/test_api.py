"""What is asked over HTTP is asked of whoever is there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import trio
from chat_world import house
from tower_world import house as tower_house

from belfry.audit import api
from belfry.audit.address import Address
from belfry.audit.api import Api, Unreachable
from belfry.audit.client import Account
from tests.faults.process import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

TEST_TIMEOUT = 60.0  # seconds; a blink on an idle machine
ME = Account("u", "t")


@pytest.fixture
async def served() -> AsyncIterator[Address]:
    """A server that knows one room, empty."""
    body = json.dumps({"epoch": "e1", "head": 0, "messages": []}).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"

    async def answer(stream: trio.SocketStream) -> None:
        await stream.receive_some(65_536)
        await stream.send_all(head % len(body) + body)
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, answer, [listener])
        port: int = listener.socket.getsockname()[1]
        yield Address("127.0.0.1", port, False)
        nursery.cancel_scope.cancel()


async def test_when_the_first_server_is_gone_another_one_is_asked(
    served: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "PAUSE", 0.0)
    gone = Address("127.0.0.1", free_port(), False)
    with trio.fail_after(TEST_TIMEOUT):
        async with Api(gone, lambda: [gone, served]) as asked:
            assert await asked.head("r", ME) == ("e1", 0)
            assert await asked.head("r", ME) == ("e1", 0)
        async with Api(gone) as asked:
            with pytest.raises(Unreachable, match=str(gone.port)):
                await asked.head("r", ME)
        async with Api(gone, lambda: [served]) as asked:
            with pytest.raises(Unreachable):
                await asked.greet()  # a wrong address is said at once


async def test_a_tower_in_a_servers_place() -> None:
    async with tower_house() as tower, Api(Address("127.0.0.1", tower.port, False)) as asked:
        await asked.greet()
        with pytest.raises(Unreachable) as caught:
            await asked.guest("a")
    assert str(caught.value) == f"{tower.url}: it is a tower, not a server; name a belfry server with --url"


async def test_a_refusal_is_told_in_its_own_words(tmp_path: Path) -> None:
    async with house(tmp_path, guests=False) as running, Api(Address("127.0.0.1", running.port, False)) as asked:
        with pytest.raises(Unreachable, match=r"^http://[^ ]+: POST /v1/guests: [^{]+ \(403 guests_off\)$"):
            await asked.guest("a")
