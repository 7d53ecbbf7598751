"""Why nobody answers, in words: the same for a client that waits and for one that runs on Trio."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import httpx
import pytest
import trio
from chat_world import house
from tower_world import house as tower_house

from belfry.answers import ERRORS, SERVER, TOWER, kind_at, why
from tests.faults.process import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


async def reasons(url: str) -> set[str]:
    """What is said by either client."""
    said = set()
    with pytest.raises(ERRORS) as caught:
        await trio.to_thread.run_sync(httpx.get, url)
    said.add(why(caught.value, url))
    async with httpx.AsyncClient(trust_env=False) as client:
        with pytest.raises(ERRORS) as caught:
            await client.get(url)
    said.add(why(caught.value, url))
    return said


@contextlib.asynccontextmanager
async def hanging_up() -> AsyncIterator[int]:
    """The port of something that closes each connection at once."""
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, trio.SocketStream.aclose, [listener])
        port: int = listener.socket.getsockname()[1]
        yield port
        nursery.cancel_scope.cancel()


async def test_nobody_is_there() -> None:
    assert await reasons(f"http://127.0.0.1:{free_port()}") == {"nothing listens there"}
    label = "a" * 64  # longer than any name may be: no name server is asked
    assert await reasons(f"http://{label}:8000") == {f"there is no host {label[:60]}"}
    assert {one[:33] for one in await reasons("http://no-such-host.invalid")} == {"there is no host no-such-host.inv"}


async def test_what_is_there_speaks_otherwise(tmp_path: Path) -> None:
    async with house(tmp_path) as running, tower_house() as tower:
        for port in (running.port, tower.port):
            assert await reasons(f"https://127.0.0.1:{port}") == {"it speaks http, not https"}
    async with hanging_up() as port:
        for said in await reasons(f"http://127.0.0.1:{port}"):
            assert "Error" not in said


async def test_what_is_there_tells_what_it_is(tmp_path: Path) -> None:
    async with house(tmp_path) as running, tower_house() as tower, hanging_up() as port:
        for there, kind in ((running.port, SERVER), (tower.port, TOWER), (port, ""), (free_port(), "")):
            assert await trio.to_thread.run_sync(kind_at, f"http://127.0.0.1:{there}", 10.0) == kind
