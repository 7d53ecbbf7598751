"""The table of hostile inputs: whatever a connection brings, it is contained there, and the server still serves others.

Each case does its worst to a running server and says what answer it must get. Then a session that was open before
still talks, a newcomer comes in, and the log holds no error of ours.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import json
import logging
import resource
import socket
import struct
from typing import TYPE_CHECKING, Any

import client_frames
import pytest
import trio
from chat_world import PATIENCE, ROOM, Client, House, head, house, token, until
from client_frames import BINARY, CONTINUATION, PING, TEXT, frame

from chat import door, web_server
from chat.config import Limits
from chat.head import HEAD_BYTES
from chat.tokens import Tokens

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from trio.testing import MockClock

CONTAINED: dict[str, Callable[[House], Awaitable[None]]] = {}
IN_TIME: dict[str, Callable[[House], Awaitable[None]]] = {}  # those that a deadline ends; on a clock that hurries


def case(
    table: dict[str, Callable[[House], Awaitable[None]]], name: str, *arguments: Any
) -> Callable[[Callable[..., Awaitable[None]]], Callable[..., Awaitable[None]]]:
    """Put a function into the table, with its arguments."""

    def put(function: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        assert name not in table
        table[name] = functools.partial(function, *arguments)
        return function

    return put


async def is_served(belfry: House, bystander: Client) -> None:
    """A session from before still talks, and a newcomer comes in and hears it."""
    seq = await bystander.tell("still here", f"n{trio.current_time()}")
    await bystander.hear("message", seq=seq)
    newcomer = await belfry.client("newcomer")
    assert (await newcomer.join())["messages"][-1]["seq"] >= seq
    seq = await bystander.tell("welcome", f"m{trio.current_time()}")
    await newcomer.hear("message", seq=seq)


def errors_of_ours(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize("name", CONTAINED)
async def test_it_is_contained(tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    async with house(tmp_path, limits=Limits(handshakes_per_second=0)) as belfry:
        bystander = await belfry.client("bystander", ROOM)
        with trio.fail_after(PATIENCE):
            await CONTAINED[name](belfry)
        await is_served(belfry, bystander)
    assert errors_of_ours(caplog) == []


@pytest.mark.parametrize("name", IN_TIME)
async def test_it_is_contained_in_time(
    tmp_path: Path, name: str, fast_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with house(tmp_path, limits=Limits(handshakes_per_second=0), heartbeat=0.0) as belfry:
        bystander = await belfry.client("bystander", ROOM)
        with trio.fail_after(20 * PATIENCE):
            await IN_TIME[name](belfry)
        await is_served(belfry, bystander)
    assert errors_of_ours(caplog) == []


# --- heads -------------------------------------------------------------------------------------------------------


async def answer_to(belfry: House, request: bytes) -> tuple[int, dict[str, str], bytes]:
    """What a server answers to raw bytes before it hangs up: status, headers, body."""
    client = await belfry.connect()
    await client.send(request)
    raw = b""
    with contextlib.suppress(trio.BrokenResourceError):
        while data := await client.stream.receive_some():
            raw += data
    first, *lines = raw.partition(b"\r\n\r\n")[0].decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return int(first.split(" ")[1]), headers, raw.partition(b"\r\n\r\n")[2]


PLAIN = "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
TOO_LONG = "x" * HEAD_BYTES


@case(CONTAINED, "head over 8 KiB", 431, head({"Cookie": TOO_LONG}))
@case(CONTAINED, "head over 8 KiB in one line", 431, b"GET /" + TOO_LONG.encode())
@case(CONTAINED, "head over 8 KiB of short lines", 431, b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 2_000)
@case(CONTAINED, "non-ASCII Connection", 400, head({"Connection": "Upgr\u00e4de"}))
@case(CONTAINED, "non-ASCII Connection elsewhere", 400, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: \xff\r\n\r\n")
@case(CONTAINED, "non-ASCII Host", 400, head({"Host": "\u00e4"}))
@case(CONTAINED, "plain HTTP on /ws", 426, head({"Upgrade": None, "Connection": None}))
@case(CONTAINED, "an upgrade to something else on /ws", 426, head({"Upgrade": "h2c"}))
@case(CONTAINED, "POST on /ws", 400, head(line="POST /ws HTTP/1.1"))
@case(CONTAINED, "an upgrade elsewhere", 404, head(line="GET /v1/rooms HTTP/1.1"))
@case(CONTAINED, "an upgrade by HTTP/1.0", 400, head(line="GET /ws HTTP/1.0"))
@case(CONTAINED, "websocket version 8", 426, head({"Sec-WebSocket-Version": "8"}))
@case(CONTAINED, "no key", 400, head({"Sec-WebSocket-Key": None}))
@case(CONTAINED, "another subprotocol", 400, head({"Sec-WebSocket-Protocol": "chat"}))
@case(CONTAINED, "Origin of another host", 403, head({"Origin": "https://evil.example"}))
@case(CONTAINED, "Origin null", 403, head({"Origin": "null"}))
@case(CONTAINED, "h2c", 200, f"{PLAIN}Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n".encode())
@case(CONTAINED, "the HTTP/2 preface", 400, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9))
@case(CONTAINED, "garbage with an end", 400, bytes(range(256)) + b"\r\n\r\n")
@case(
    CONTAINED,
    "a TLS hello on the plain port",
    400,
    bytes.fromhex("16030100c4010000c00303") + bytes(range(1, 190)),
)
@case(CONTAINED, "an empty head", 400, b"\r\n\r\n")
@case(CONTAINED, "a header of blanks", 400, b"GET / HTTP/1.1\r\na:" + b" " * 8_000 + b"\0\r\n\r\n")
@case(CONTAINED, "a header that is folded", 400, b"GET / HTTP/1.1\r\nHost: x\r\n y\r\n\r\n")
@case(CONTAINED, "a NUL in a header", 400, b"GET / HTTP/1.1\r\nHost: x\0\r\n\r\n")
@case(CONTAINED, "two lengths", 400, f"{PLAIN}Content-Length: 1\r\nContent-Length: 2\r\n\r\nab".encode())
@case(CONTAINED, "a length that is none", 400, f"{PLAIN}Content-Length: -1\r\n\r\n".encode())
@case(CONTAINED, "an unknown encoding", 501, f"{PLAIN}Transfer-Encoding: gzip\r\n\r\n".encode())
async def refused_head(status: int, request: bytes, belfry: House) -> None:
    with trio.fail_after(web_server.READ_TIMEOUT / 2):  # it hangs up by itself, not because nothing more came
        answered, headers, body = await answer_to(belfry, request)
    assert answered == status
    if headers.get("content-type") == "application/json" and status >= 400:
        assert json.loads(body).keys() >= {"code", "message"}
    if status == 426:
        assert headers.get("upgrade") == "websocket" or headers.get("sec-websocket-version") == "13"


@case(CONTAINED, "chunks that are none")
async def broken_chunks(belfry: House) -> None:
    for line in ("GET /healthz", "POST /v1/guests"):
        request = f"{line} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".encode()
        for _ in range(10):  # the answer to the request and that to its broken body race each other
            status, _headers, _body = await answer_to(belfry, request)
            assert 200 <= status < 500


@case(CONTAINED, "an upgrade behind a request, kept alive")
async def upgrade_behind_a_request(belfry: House) -> None:
    client = await belfry.connect()
    await client.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await client.response_head()).startswith(b"HTTP/1.1 200 ")
    while not client.received.endswith(b"}"):
        client.received += await client.stream.receive_some()
    client.received = b""
    await client.send(head({"Connection": "Upgr\u00e4de"}) + b"\x81")
    assert (await client.response_head()).startswith(b"HTTP/1.1 400 ")


@case(CONTAINED, "a byte right behind the upgrade head", b"\x00", 1002)
@case(CONTAINED, "garbage right behind the upgrade head", bytes(range(255, 0, -1)), 1002)
@case(CONTAINED, "HTTP right behind the upgrade head", b"GET / HTTP/1.1\r\n\r\n", 1002)
@case(CONTAINED, "a good hello right behind the upgrade head", None, None)
async def behind_the_head(data: bytes | None, code: int | None, belfry: House) -> None:
    client = await belfry.connect()
    hello = json.dumps({"t": "hello", "token": token("hasty")})
    await client.upgrade(head() + (client_frames.text(hello) if data is None else data))
    if code is None:
        assert (await client.hear("welcome"))["user"]["id"] == "hasty"
        return
    if data == b"\x00":
        await client.send(b"\x80" + bytes(4))
    assert (await client.hear_close()).code == code


@case(CONTAINED, "connections that are reset at once", b"")
@case(CONTAINED, "connections that are reset inside the head", b"GET /ws HTTP")
@case(CONTAINED, "connections that are reset behind the head", head())
@case(CONTAINED, "connections that are reset inside a frame", head() + b"\x81\xfe")
@case(
    CONTAINED, "connections that are reset inside a request", b"POST /v1/guests HTTP/1.1\r\nContent-Length: 9\r\n\r\n{"
)
async def reset(data: bytes, belfry: House) -> None:
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", belfry.port)) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.sendall(data)
            await trio.sleep(0.001)
    await until(lambda: belfry.server.metrics.gauges["connections"]() == 1)


@case(CONTAINED, "a head that is cut off")
async def cut_off(belfry: House) -> None:
    client = await belfry.connect()
    await client.send(head()[:50])
    await client.stream.send_eof()
    assert await client.stream.receive_some() == b""


# --- frames ------------------------------------------------------------------------------------------------------


@case(CONTAINED, "binary", frame(BINARY, b"x"), 1003)
@case(CONTAINED, "a frame over the bound", client_frames.text("x" * 65_537), 1009)
@case(CONTAINED, "a frame that promises 2**62 bytes", frame(TEXT, claim=2**62), 1009)
@case(
    CONTAINED,
    "fragments over the bound",
    frame(TEXT, b"x" * 40_000, fin=False) + frame(CONTINUATION, b"x" * 40_000),
    1009,
)
@case(CONTAINED, "invalid UTF-8", client_frames.text(b'{"t":"pong","x":"\xff"}'), 1007)
@case(CONTAINED, "invalid UTF-8 in fragments", frame(TEXT, b"\xff", fin=False) + frame(CONTINUATION, b"x"), 1007)
@case(CONTAINED, "a surrogate as UTF-8", client_frames.text(b"\xed\xa0\x80"), 1007)
@case(CONTAINED, "compressed though not agreed", frame(TEXT, b"\xaa\x56\x2a\x01\x00", rsv=4), 1002)
@case(CONTAINED, "not masked", frame(TEXT, b"x", mask=None), 1002)
@case(CONTAINED, "a reserved opcode", frame(5, b"x"), 1002)
@case(CONTAINED, "a ping of 126 bytes", frame(PING, b"x" * 126), 1002)
@case(CONTAINED, "a close of one byte", frame(client_frames.CLOSE, b"\x03"), 1002)
async def bad_frame(data: bytes, code: int, belfry: House) -> None:
    before = await (await belfry.connect()).upgrade()
    await before.send(data)
    assert (await before.hear_close()).code == code
    within = await belfry.client("eve", ROOM)
    await within.send(data)
    assert (await within.hear_close()).code == code


@case(CONTAINED, "fragments without end")
async def fragments_without_end(belfry: House) -> None:
    eve = await belfry.client("eve", ROOM)
    await eve.send(frame(TEXT, b"x", fin=False))

    async def flood() -> None:
        while True:
            await eve.send(frame(CONTINUATION, b"x" * 50, fin=False) * 20)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(flood)
        while eve.closed is None:  # without answering it: the flood is sending
            _, eve.received = client_frames.split(eve.received + await eve.stream.receive_some())
            if any(opcode == client_frames.CLOSE for opcode, _ in _):
                break
        nursery.cancel_scope.cancel()


@case(CONTAINED, "ten thousand pings that nobody reads the pongs of")
async def ping_flood(belfry: House) -> None:
    eve = await belfry.client("eve", ROOM)
    await eve.send(frame(PING, b"x" * 125) * 10_000)
    assert await eve.tell("and a word", "n") == 1
    assert len(eve.pongs) == 10_000


NONSENSE = {
    "not JSON": "{",
    "not an object": '["hello"]',
    "wrong types": '{"t":"send","room":1,"nonce":[],"text":{}}',
    "an unknown t": '{"t":"drop table room"}',
    "a t that is an object": '{"t":{"t":"send"}}',
    "brackets without end": '{"t":"pong","x":' + "[" * 60_000,
    "a number of 60,000 digits": '{"t":"read","room":"lobby","seq":' + "9" * 60_000 + "}",
    "half a surrogate pair": '{"t":"send","room":"lobby","nonce":"n","text":"\\ud800"}',
    "60,000 keys": "{" + ",".join(f'"{n}":0' for n in range(6_000)) + "}",
    "a byte order mark": "\ufeff" + '{"t":"pong"}',
}
for what, text in NONSENSE.items():

    @case(CONTAINED, f"{what}, as hello and within a session", text)
    async def nonsense(text: str, belfry: House) -> None:
        before = await (await belfry.connect()).upgrade()
        await before.send(client_frames.text(text))
        assert (await before.hear("error"))["code"] in ("bad_json", "bad_frame", "unknown_type")
        assert (await before.hear_close()).code == 1008
        within = await belfry.client("eve", ROOM)
        await within.send(client_frames.text(text))
        assert (await within.hear("error"))["code"] in ("bad_json", "bad_frame", "unknown_type")
        assert await within.tell("sorry", "n") >= 1


TRAPS = [
    "Lobby",
    "l\u043ebby",
    "lobby\u200b",
    "\u202eybbol",
    "lobby ",
    "../lobby",
    "l%6Fbby",
    "",
    "lob\0by",
    "İ",
    "ﬃ",
    "☎" * 64,
]


@case(CONTAINED, "every Unicode trap in a room's name")
async def room_name_traps(belfry: House) -> None:
    eve = await belfry.client("eve")
    for name in TRAPS:
        await eve.say({"t": "join", "room": name})
        assert (await eve.hear("error"))["code"] == "room_name_invalid"
    await eve.say({"t": "join", "room": "missing"})
    assert (await eve.hear("error"))["code"] == "room_missing"


def unsigned(algorithm: str) -> str:
    """A token that says of itself how it need not be verified."""

    def part(claims: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()

    claims = {"sub": "eve", "name": "Eve", "exp": 4_000_000_000}
    return f"{part({'alg': algorithm, 'typ': 'JWT'})}.{part(claims)}."


@case(CONTAINED, "an expired token", lambda: token("eve", -1))
@case(CONTAINED, "a forged token", lambda: Tokens(b"another secret of thirty-two bytes").issue("eve", "Eve", 60))
@case(CONTAINED, "a token of alg none", lambda: unsigned("none"))
@case(CONTAINED, "a token of alg NONE", lambda: unsigned("NONE"))
@case(CONTAINED, "a token of alg HS256 without a signature", lambda: unsigned("HS256"))
@case(CONTAINED, "a token of an unknown alg", lambda: unsigned("\U0001f514"))
@case(CONTAINED, "a token with another's payload", lambda: ".".join([*token("eve").split(".")[:1], "e30", "x"]))
@case(CONTAINED, "a token of 8,000 dots", lambda: "." * 8_000)
async def bad_token(make: Callable[[], str], belfry: House) -> None:
    eve = await (await belfry.connect()).upgrade()
    await eve.say({"t": "hello", "token": make()})
    assert (await eve.hear("error"))["code"] == "bad_token"
    assert (await eve.hear_close()).code == 4500


@case(CONTAINED, "a flood of sends", {"t": "send", "room": ROOM, "nonce": "n", "text": "x"})
@case(CONTAINED, "a flood of joins", {"t": "join", "room": ROOM, "limit": 500})
@case(CONTAINED, "a flood of joins of missing rooms", {"t": "join", "room": "missing"})
@case(CONTAINED, "a flood of typing", {"t": "typing", "room": ROOM})
async def flood(said: dict[str, Any], belfry: House) -> None:
    eve = await belfry.client("eve", ROOM)
    await eve.say(*[said] * 2_000)
    error = await eve.hear("error", code="rate_limited")
    assert error["temporary"]
    assert error["retry_ms"] > 0
    assert (await eve.hear_close()).code == 1008


@case(CONTAINED, "a resume of a thousand rooms")
async def resume_flood(belfry: House) -> None:
    eve = await (await belfry.connect()).upgrade()
    await eve.hello("eve", resume={f"r{number}": ["e", 1] for number in range(1_000)})
    for _ in range(1_000):
        assert (await eve.hear("error"))["code"] == "room_missing"


@case(IN_TIME, "a reader that never reads")
async def never_reads(belfry: House) -> None:
    eve = await (await belfry.connect(receive_buffer=4_096)).upgrade()
    await eve.hello("eve")
    await eve.send(frame(PING, b"x" * 125) * 60_000)  # 8 MB of pongs, over what kernel and outbox take
    await until(lambda: belfry.metric("slow_readers") == 1)
    await until(lambda: belfry.server.metrics.gauges["outbox_bytes"]() <= 65_536 + 200)
    await eve.stream.aclose()


# --- those that a deadline ends ----------------------------------------------------------------------------------


@case(IN_TIME, "slowloris on the head", b"GET /ws HTTP/1.1\r\nHost: x\r\n" + b"a: b\r\n" * 1_000, 408)
@case(IN_TIME, "slowloris of nothing but line ends", b"\n" * 1_000, 408)
async def slow_head(data: bytes, status: int, belfry: House) -> None:
    client = await belfry.connect()

    async def drip() -> None:
        for byte in data:
            await client.send(bytes([byte]))
            await trio.sleep(0.5)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(drip)
        assert (await client.response_head()).startswith(b"HTTP/1.1 %d " % status)
        nursery.cancel_scope.cancel()


@case(IN_TIME, "silence", b"")
@case(IN_TIME, "garbage without an end", bytes(range(255, 0, -1)))
@case(IN_TIME, "line feeds for line ends", b"GET /ws HTTP/1.1\nHost: x\n\n")
async def no_head(data: bytes, belfry: House) -> None:
    assert (await answer_to(belfry, data))[0] == 408


@case(IN_TIME, "no hello", b"")
@case(IN_TIME, "pings instead of hello", frame(PING, b"x"))
@case(IN_TIME, "fragments of nothing instead of hello", frame(CONTINUATION, fin=False))
@case(IN_TIME, "slowloris on hello", None)
async def no_hello(data: bytes | None, belfry: House) -> None:
    client = await (await belfry.connect()).upgrade()

    async def drip() -> None:
        if data == frame(CONTINUATION, fin=False):
            await client.send(frame(TEXT, fin=False))
        hello = client_frames.text(json.dumps({"t": "hello", "token": token("slow")}))
        for byte in hello:
            await client.send(bytes([byte]) if data is None else data)
            await trio.sleep(0.5)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(drip)
        with trio.fail_after(PATIENCE):
            while client.closed is None:
                frames, client.received = client_frames.split(client.received + await client.stream.receive_some())
                if closes := [payload for opcode, payload in frames if opcode == client_frames.CLOSE]:
                    assert int.from_bytes(closes[0][:2], "big") == 4003
                    break
        nursery.cancel_scope.cancel()


@case(IN_TIME, "a request whose body never comes")
async def no_body(belfry: House) -> None:
    client = await belfry.connect()
    await client.send(
        b"POST /v1/rooms HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n"
        b"Authorization: Bearer " + token("slow").encode() + b"\r\n\r\n{"
    )
    raw = b""
    with contextlib.suppress(trio.BrokenResourceError):
        while data := await client.stream.receive_some():
            raw += data
    assert raw.startswith(b"HTTP/1.1 408 ")


# --- more than there may be --------------------------------------------------------------------------------------


async def test_half_open_sockets_fill_the_limit_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(10_000, (hard - 500) // 2)  # both ends of each are in this process
    monkeypatch.setattr(door, "HEAD_TIMEOUT", 1_000.0)  # seconds; none shall end while the others come
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        async with house(tmp_path, limits=Limits(connections=count, handshakes_per_second=0)) as belfry:
            connections = belfry.server.metrics.gauges["connections"]
            bystander = await belfry.client("bystander", ROOM)
            fresh: list[socket.socket] = []
            with contextlib.ExitStack() as half_open:
                for number in range(1, count):
                    sock = half_open.enter_context(socket.socket())
                    sock.setblocking(False)
                    sock.connect_ex(("127.0.0.1", belfry.port))
                    fresh.append(sock)
                    if len(fresh) == 500 or number == count - 1:  # fewer than the listener's queue takes
                        await until(lambda number=number: connections() == number + 1)  # type: ignore[misc]  # mypy cannot infer a lambda with a default
                        for half in fresh[::2]:
                            half.send(b"GET /ws HTTP/1.1\r\n")
                        fresh.clear()
                for request in (head(), b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", b""):
                    status, headers, body = await answer_to(belfry, request)
                    assert (status, json.loads(body)["code"]) == (503, "overloaded")
                    assert 1 <= int(headers["retry-after"]) <= 4
                assert await bystander.tell("still here", "n") == 1
            await until(lambda: connections() == 1)
            await is_served(belfry, bystander)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert errors_of_ours(caplog) == []


async def test_without_files_the_server_waits_and_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with house(tmp_path, limits=Limits(handshakes_per_second=0)) as belfry:
        bystander = await belfry.client("bystander", ROOM)
        late = trio.socket.socket()
        with late, socket.socket() as probe:
            resource.setrlimit(resource.RLIMIT_NOFILE, (probe.fileno() + 1, hard))
            try:
                await late.connect(("127.0.0.1", belfry.port))
                await until(lambda: any("cannot accept" in record.getMessage() for record in caplog.records))
                assert await bystander.tell("still here", "n") == 1
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            client = await Client(trio.SocketStream(late)).upgrade()
            await client.hello("late")
        await is_served(belfry, bystander)


async def test_handshakes_over_the_rate_are_told_when_to_come_again(tmp_path: Path) -> None:
    async with house(tmp_path, limits=Limits(handshakes_per_second=5)) as belfry:
        bystander = await belfry.client("bystander", ROOM)
        statuses = []
        for _ in range(12):
            client = await belfry.connect()
            await client.send(head())
            answer = await client.response_head()
            statuses.append(answer[9:12])
            assert answer.startswith(b"HTTP/1.1 101") or b"\r\nRetry-After: " in answer
        assert statuses.count(b"101") < 12
        assert await bystander.tell("still here", "n") == 1
        await trio.sleep(1.1)  # seconds; Retry-After is whole ones
        await is_served(belfry, bystander)
