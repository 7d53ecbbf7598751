"""docs/how-to/run-behind-a-proxy.md: both proxies, run with the very text of the page before a real server."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import h2.connection
import h2.events
import httpx
import pytest
import trio
from trio_websocket import ConnectionClosed, ConnectionRejected

from compose.services.ports import free_port
from tests.docs.proxies import NAME, PATIENCE, Proxy, haproxy, make_certificate, nginx

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from trio_websocket import WebSocketConnection

    from tests.docs.conftest import Server


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate and its key in one file."""
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(params=[nginx, haproxy], ids=["nginx", "haproxy"])
async def proxy(
    request: pytest.FixtureRequest, server: Server, certificate: Path, tmp_path: Path
) -> AsyncIterator[Proxy]:
    """The page's configuration, running before a real server."""
    run: Callable[[Path, dict[str, str], int, Path], Proxy] = request.param
    running = run(tmp_path, {"127.0.0.1:8000": f"127.0.0.1:{server.port}"}, free_port(), certificate)
    try:
        await running.wait_open()
        yield running
    finally:
        running.end()


async def say(websocket: WebSocketConnection, frame: dict[str, Any]) -> None:
    await websocket.send_message(json.dumps(frame))


async def hear(websocket: WebSocketConnection, kind: str) -> dict[str, Any]:
    """The next frame of this kind; others are passed over."""
    with trio.fail_after(PATIENCE):
        while True:
            frame: dict[str, Any] = json.loads(await websocket.get_message())
            if frame["t"] == kind:
                return frame


async def come_in(websocket: WebSocketConnection, token: str, resume: dict[str, Any] | None = None) -> dict[str, Any]:
    await say(websocket, {"t": "hello", "token": token, "resume": resume or {}})
    if not resume:
        await say(websocket, {"t": "join", "room": "lobby"})
    return await hear(websocket, "joined")


async def talk(websocket: WebSocketConnection, nonce: str, seq: int) -> None:
    await say(websocket, {"t": "send", "room": "lobby", "nonce": nonce, "text": nonce})
    assert (await hear(websocket, "ack"))["seq"] == seq
    assert (await hear(websocket, "message"))["seq"] == seq


async def test_a_conversation_goes_through_and_survives_the_proxys_reload(proxy: Proxy, server: Server) -> None:
    token = await server.guest("Ada")
    async with proxy.websocket() as before:
        await come_in(before, token)
        await talk(before, "n1", 1)
        await proxy.reload()
        await talk(before, "n2", 2)
        async with proxy.websocket() as after:
            joined = await come_in(after, token)
            assert [message["seq"] for message in joined["messages"]] == [1, 2]
            await talk(after, "n3", 3)
        assert (await hear(before, "message"))["seq"] == 3


async def test_clients_come_back_through_the_proxy_after_a_crash(proxy: Proxy, server: Server) -> None:
    token = await server.guest("Ada")
    async with proxy.websocket() as websocket:
        joined = await come_in(websocket, token)
        await talk(websocket, "n1", 1)
        server.kill()
        with pytest.raises(ConnectionClosed):
            await hear(websocket, "nothing more")
    answer = await proxy.ask("/readyz")
    assert answer.status_code in (502, 503), "the page says what a proxy answers meanwhile"
    await server.start()
    with trio.fail_after(PATIENCE):
        while (await proxy.ask("/readyz")).status_code != 200:  # noqa: ASYNC110 - as above
            await trio.sleep(0.05)
    async with proxy.websocket() as websocket:
        again = await come_in(websocket, token, {"lobby": [joined["epoch"], 0]})
        assert not again["gap"]
        assert [message["seq"] for message in again["messages"]] == [1]


@pytest.mark.parametrize("name", ["X-Forwarded-Host", "X-Original-Host", "X-Host"])
async def test_only_the_host_that_the_browser_asked_for_counts_as_origin(proxy: Proxy, name: str) -> None:
    with trio.fail_after(PATIENCE):
        with pytest.raises(BaseExceptionGroup) as caught:
            async with proxy.websocket("https://elsewhere.example", **{name: "elsewhere.example"}):
                pass
        rejected = caught.value
        while isinstance(rejected, BaseExceptionGroup):
            (rejected,) = rejected.exceptions
        assert isinstance(rejected, ConnectionRejected)
        assert rejected.status_code == 403


async def test_websockets_inside_http2_go_through_after_plain_requests(
    server: Server, certificate: Path, tmp_path: Path
) -> None:
    """Chromium opens websockets inside the HTTP/2 connection that loaded the page, as HAProxy offers (RFC 8441).

    HAProxy then would use the connection to Belfry on which the plain request was, if it were not told otherwise.
    """
    proxy = haproxy(tmp_path, {"127.0.0.1:8000": f"127.0.0.1:{server.port}"}, free_port(), certificate)
    try:
        await proxy.wait_open()
        with trio.fail_after(PATIENCE):
            tls = await proxy.connect("h2")
            statuses = await _statuses(
                tls,
                [(":method", "GET"), (":scheme", "https"), (":authority", NAME), (":path", "/healthz")],
                [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "https"), (":authority", NAME),
                 (":path", "/ws"), ("sec-websocket-version", "13"), ("origin", f"https://{NAME}")],
            )  # fmt: skip
            tls.transport_stream.socket.close()
        assert statuses == ["200", "200"]
    finally:
        proxy.end()


async def _statuses(stream: trio.abc.Stream, *requests: list[tuple[str, str]]) -> list[str]:
    """The answers' statuses to requests made one after the other on one HTTP/2 connection."""
    client = h2.connection.H2Connection()
    client.initiate_connection()
    statuses: list[str] = []
    for number, request in enumerate(requests):
        client.send_headers(2 * number + 1, request, end_stream=request[0][1] == "GET")
        await stream.send_all(client.data_to_send())
        while len(statuses) == number:
            for event in client.receive_data(await stream.receive_some()):
                if isinstance(event, h2.events.ResponseReceived):
                    statuses += [value.decode() for name, value in event.headers if name == b":status"]
    return statuses


async def test_plain_requests_go_through_and_metrics_do_not(proxy: Proxy, server: Server) -> None:
    assert (await proxy.ask("/healthz")).json() == {"status": "ok"}
    token = await server.guest("Ada")
    rooms = await proxy.ask("/v1/rooms", Authorization=f"Bearer {token}")
    assert [room["name"] for room in rooms.json()["rooms"]] == ["lobby"]
    assert (await proxy.ask("/metrics")).status_code == 404
    async with httpx.AsyncClient() as http:
        direct = await http.get(f"http://127.0.0.1:{server.port}/metrics")
    assert "belfry_connections" in direct.text
