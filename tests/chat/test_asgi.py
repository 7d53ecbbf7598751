"""`hypercorn -k trio chat.asgi:app`: a Hypercorn that somebody else started, websockets on their own port."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from functools import partial
from typing import TYPE_CHECKING

import httpx
import pytest
import trio
from chat_world import SECRET, Client, token

from bus.events import Committed
from bus.open import open_bus
from bus.url import parse_url
from compose.services.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from bus.events import Event
    from compose.services import Kafka

PATIENCE = 120.0  # seconds for a process to start or to end; one does so in one


def hypercorn(tmp_path: Path, port: int, **environ: str) -> subprocess.Popen[bytes]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BELFRY_")}
    with (tmp_path / "log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "hypercorn", "-k", "trio", "--bind", f"127.0.0.1:{port}", "chat.asgi:app"],
            env=kept | {"BELFRY_SECRET": SECRET.decode()} | environ,
            stderr=log,
        )


@contextlib.contextmanager
def running(tmp_path: Path, **environ: str) -> Iterator[tuple[int, int]]:
    """The ports of a running server: HTTP, websockets."""
    ports = free_port(), free_port()
    process = hypercorn(
        tmp_path,
        ports[0],
        BELFRY_DB=f"sqlite:///{tmp_path}/belfry.db",
        BELFRY_PORT=str(ports[1]),
        BELFRY_FIRST_ROOMS="lobby",
        **environ,
    )
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                if httpx.get(f"http://127.0.0.1:{ports[0]}/readyz").status_code == 200:
                    break
            except httpx.TransportError:
                pass
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.05)
        yield ports
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(PATIENCE)
        finally:
            process.kill()
            process.wait()


@pytest.fixture
def launched(tmp_path: Path) -> Iterator[tuple[int, int]]:
    with running(tmp_path) as ports:
        yield ports


async def test_http_and_websockets_are_one_server(launched: tuple[int, int]) -> None:
    http, websockets = launched
    with trio.fail_after(PATIENCE):
        async with await trio.open_tcp_stream("127.0.0.1", websockets) as stream:
            ada = await Client(stream).upgrade()
            await ada.hello("ada")
            await ada.join("lobby")
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{http}") as client:
                headers = {"Authorization": f"Bearer {token('bob')}", "Idempotency-Key": "n1"}
                sent = await client.post("/v1/rooms/lobby/messages", json={"text": "hi"}, headers=headers)
                assert (sent.status_code, sent.json()["seq"]) == (201, 1)
            assert (await ada.hear("message"))["text"] == "hi"
            assert await ada.tell("and back", "n2") == 2


async def test_a_websocket_on_the_http_port_is_refused(launched: tuple[int, int]) -> None:
    with trio.fail_after(PATIENCE):
        async with await trio.open_tcp_stream("127.0.0.1", launched[0]) as stream:
            client = Client(stream)
            with pytest.raises(AssertionError, match=r"HTTP/1\.1 403"):
                await client.upgrade()


@pytest.mark.parametrize(
    ("environ", "line"),
    [
        ({}, "BELFRY_DB (variable) is needed"),
        ({"BELFRY_DB": "sqlite:///x.db", "BELFRY_BUS": "kafka:h"}, "BELFRY_BUS (variable): "),
    ],
)
def test_what_is_missing_or_wrong_is_one_line(tmp_path: Path, environ: dict[str, str], line: str) -> None:
    process = hypercorn(tmp_path, free_port(), BELFRY_PORT=str(free_port()), **environ)
    try:
        process.wait(PATIENCE)  # its exit code is Hypercorn's affair: 0
    finally:
        process.kill()
        process.wait()
    assert line in (tmp_path / "log").read_text()


async def test_other_servers_hear_it_on_the_bus_that_is_named(tmp_path: Path, kafka_server: Kafka) -> None:
    bus = f"{kafka_server.url}?prefix=asgi{os.getpid()}."
    heard: list[tuple[str, Committed]] = []

    def hear(origin: str, events: Sequence[Event]) -> None:
        heard.extend((origin, event) for event in events if isinstance(event, Committed))

    with running(tmp_path, BELFRY_SERVER_ID="launched", BELFRY_BUS=bus) as (http, _), trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery, httpx.AsyncClient(base_url=f"http://127.0.0.1:{http}") as client:
            await nursery.start(partial(open_bus(parse_url(bus), "other").run, hear, lambda: None))
            sent = 0
            while not heard:  # what is said before both have reached the broker is no event
                sent += 1
                headers = {"Authorization": f"Bearer {token('bob')}", "Idempotency-Key": f"n{sent}"}
                answer = await client.post("/v1/rooms/lobby/messages", json={"text": "hi"}, headers=headers)
                assert answer.status_code == 201
                await trio.sleep(0.1)
            nursery.cancel_scope.cancel()
    origin, event = heard[0]
    assert origin.startswith("launched/")
    assert event.room == "lobby"
