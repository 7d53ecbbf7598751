"""The API through the real Hypercorn TCPServer, over real sockets, as the front door hands them over."""

from __future__ import annotations

import contextlib
import json
import socket
from typing import TYPE_CHECKING

import pytest
import trio

from chat.web_server import WebServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SECONDS = 20  # for a whole test: all of it takes well under one


class Line:
    """One client connection that speaks HTTP/1.1 by hand, so that it can also speak it badly."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._got = b""

    async def ask(self, head: str, body: bytes = b"") -> tuple[int, dict[str, str], bytes]:
        await self.stream.send_all(head.replace("\n", "\r\n").encode() + b"\r\n\r\n" + body)
        return await self.answer()

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        while b"\r\n\r\n" not in self._got:
            await self._more()
        head, self._got = self._got.split(b"\r\n\r\n", 1)
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)}
        length = int(headers.get("content-length", 0))
        while len(self._got) < length:
            await self._more()
        body, self._got = self._got[:length], self._got[length:]
        return int(first.split()[1]), headers, body

    async def _more(self) -> None:
        got = await self.stream.receive_some()
        assert got, f"the server hung up behind {self._got!r}"
        self._got += got


@pytest.fixture
async def connect(house):
    """Opens connections to the house's app."""
    web = WebServer(house.app)
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)

    async def serve(sock: socket.socket) -> None:
        try:
            begun: bytes | None = b""
            while begun is not None:  # the next request of the same connection
                begun = await web.serve(sock, begun, b"", None)
        finally:  # the server closes what it ends, the front door what is cancelled
            if sock.fileno() >= 0:
                trio.lowlevel.notify_closing(sock)
                sock.close()

    async def accept(nursery: trio.Nursery) -> None:
        while True:
            await trio.lowlevel.wait_readable(listener)
            sock, _ = listener.accept()
            nursery.start_soon(serve, sock)

    @contextlib.asynccontextmanager
    async def connect() -> AsyncIterator[Line]:
        async with await trio.open_tcp_stream(*listener.getsockname()) as stream:
            yield Line(stream)

    with listener, trio.fail_after(SECONDS):
        async with trio.open_nursery() as nursery:
            await nursery.start(web.run)
            nursery.start_soon(accept, nursery)
            yield connect
            nursery.cancel_scope.cancel()


def post(path: str, token: str, body: bytes, *more: str) -> tuple[str, bytes]:
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: x",
        f"Authorization: Bearer {token}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *more,
    ]
    return "\n".join(lines), body


async def test_a_conversation_over_one_connection(house, connect):
    async with connect() as line:
        status, headers, body = await line.ask(*post("/v1/guests", "", b'{"name": "Zo\xc3\xab"}'))
        assert status == 201
        assert headers["content-type"] == "application/json"
        assert "default-src 'none'" in headers["content-security-policy"]
        guest = json.loads(body)
        assert guest["user"]["name"] == "Zo\u00eb"
        token = guest["token"]
        status, headers, _ = await line.ask(*post("/v1/rooms", token, b'{"name": "lobby"}'))
        assert (status, headers["location"]) == (201, "/v1/rooms/lobby")
        for expected in (201, 200):
            message = post("/v1/rooms/lobby/messages", token, b'{"text": "hi"}', "Idempotency-Key: n1")
            status, _, body = await line.ask(*message)
            assert (status, json.loads(body)["seq"]) == (expected, 1)
        get = f"GET /v1/rooms/lobby/messages HTTP/1.1\nHost: x\nAuthorization: Bearer {token}"
        status, _, body = await line.ask(get)
        assert (status, json.loads(body)["messages"][0]["text"]) == (200, "hi")
        status, headers, _ = await line.ask(f"DELETE /v1/rooms/lobby HTTP/1.1\nHost: x\nAuthorization: Bearer {token}")
        assert status == 204
    assert [room.name for room in house.service.deleted] == ["lobby"]


async def test_pages_and_their_etags(connect):
    async with connect() as line:
        status, headers, body = await line.ask("GET /docs.js HTTP/1.1\nHost: x")
        assert (status, headers["content-type"]) == (200, "text/javascript; charset=utf-8")
        assert body
        status, again, body = await line.ask(f"GET /docs.js HTTP/1.1\nHost: x\nIf-None-Match: {headers['etag']}")
        assert (status, body, again["etag"]) == (304, b"", headers["etag"])


async def test_head_has_the_length_and_no_body(connect):
    async with connect() as line:
        await line.stream.send_all(
            b"HEAD /docs.css HTTP/1.1\r\nHost: x\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
        )
        first, second = b"", b""
        while b"\r\n\r\n" not in first:
            first += await line.stream.receive_some()
        first, second = first.split(b"\r\n\r\n", 1)
        assert first.startswith(b"HTTP/1.1 200")
        line._got = second
        status, _, body = await line.answer()
        assert (status, json.loads(body)) == (200, {"status": "ok"})


async def test_a_body_that_is_too_large_is_refused_before_it_is_all_here(connect):
    async with connect() as line:
        status, headers, body = await line.ask(
            "POST /v1/guests HTTP/1.1\nHost: x\nContent-Type: application/json\nContent-Length: 1000000000"
        )
        assert (status, json.loads(body)["code"]) == (413, "too_large")
        assert headers["content-type"] == "application/json"
    async with connect() as line:
        chunk = b"1000\r\n" + b" " * 4_096 + b"\r\n"
        status, _, body = await line.ask(
            "POST /v1/guests HTTP/1.1\nHost: x\nContent-Type: application/json\nTransfer-Encoding: chunked", chunk * 17
        )
        assert (status, json.loads(body)["code"]) == (413, "too_large")


async def test_bad_requests_leave_the_others_alone(connect):
    async with connect() as good:
        for bad in (
            b"NONSENSE\r\n\r\n",
            b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
            b"POST /v1/guests HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
            b"POST /v1/guests HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
            b"GET /v1/rooms HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \xc3\xa9\r\n\r\n",
            b"GET /v1/rooms?q=%ff&limit=%00 HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET /healthz HTTP/1.1\r\n\r\n",
        ):
            async with connect() as line:
                await line.stream.send_all(bad)
                answer = await line.stream.receive_some()
                assert answer[:11] in (b"HTTP/1.1 40", b"HTTP/1.1 41", b""), (bad, answer)
            status, _, _ = await good.ask("GET /healthz HTTP/1.1\nHost: x")
            assert status == 200


async def test_a_caller_who_hangs_up_in_the_middle_of_a_body(connect):
    async with connect() as line:
        await line.stream.send_all(
            b"POST /v1/guests HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{"
        )
    async with connect() as line:
        status, _, _ = await line.ask("GET /healthz HTTP/1.1\nHost: x")
        assert status == 200
