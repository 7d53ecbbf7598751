"""One websocket over a real socketpair: whatever comes, however it is cut, is answered as RFC 6455 says."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

import client_frames as client
import echo_server
import pytest
import trio
import trio.testing
from client_frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, frame

from chat.closing import MOVED, NORMAL, NOT_TEXT, NOT_UTF8, PROTOCOL, SLOW, TOO_LARGE, Closing
from chat.frames import close_frame
from chat.outbox import Backlog, Outbox
from chat.readers import Readers
from chat.websocket import LIBRARY_TIMEOUT, Websocket

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

BOUND = 1_000  # bytes of a message here
PATIENCE = 1_000.0  # seconds on the clock that jumps; more than LIBRARY_TIMEOUT
Frame = tuple[int, bytes]


@contextlib.asynccontextmanager
async def reading() -> AsyncIterator[Readers]:
    """The set that a server's websockets are read by."""
    readers = Readers()
    async with trio.open_nursery() as nursery:
        await nursery.start(readers.run)
        yield readers
        assert not len(readers), "a socket was left in the set"
        nursery.cancel_scope.cancel()


class Peer:
    """The other end, in raw bytes; answers a close frame with its own, as RFC 6455 wants, unless told not to."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.received = b""
        self.answers = True
        self._sending = trio.Lock()

    async def send(self, data: bytes) -> None:
        async with self._sending:
            with contextlib.suppress(trio.BrokenResourceError):
                await self.stream.send_all(data)

    async def drip(self, data: bytes, size: int) -> None:
        """Send in pieces, each of them read before the next one comes."""
        for at in range(0, len(data), size):
            await self.send(data[at : at + size])
            await trio.testing.wait_all_tasks_blocked()

    async def frames(self, count: int | None = None) -> list[Frame]:
        """The next frames; without `count`, all until the end of the stream, and the last one must be whole."""
        found: list[Frame] = []
        while count is None or len(found) < count:
            more, self.received = client.split(self.received)
            found += more
            if self.answers and any(opcode == CLOSE for opcode, _ in more):
                self.answers = False
                await self.send(client.close(1000))
            if count is not None and len(found) >= count:
                break
            try:
                data = await self.stream.receive_some()
            except trio.BrokenResourceError:
                data = b""
            if not data:
                assert not self.received
                break
            self.received += data
        return found


@dataclass
class Outcome:
    """How the echo on our side ended."""

    code: int | None = None
    closing: Closing | None = None
    took: float | None = None  # seconds of the test's clock


@contextlib.asynccontextmanager
async def echoing(
    kind: type[Websocket] = Websocket, bound: int = BOUND, rest: bytes = b""
) -> AsyncIterator[tuple[Peer, Outcome]]:
    """A websocket that echoes, the peer that talks to it, and what became of it once the peer is done."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    outcome = Outcome()
    with ours, theirs, trio.fail_after(PATIENCE):
        async with reading() as readers, trio.open_nursery() as nursery:
            websocket = kind(ours, Outbox(ours, 0, nursery.start_soon, Backlog()), readers, bound, rest)

            async def run() -> None:
                began = trio.current_time()
                outcome.code, outcome.closing = await echo_server.echo(websocket)
                outcome.took = trio.current_time() - began

            nursery.start_soon(run)
            yield Peer(trio.SocketStream(trio.socket.from_stdlib_socket(theirs))), outcome
            theirs.close()
        assert ours.fileno() < 0, "the socket was left open"


def said(closing: Closing) -> Frame:
    return CLOSE, close_frame(closing)[2:]


def code(number: int) -> bytes:
    return number.to_bytes(2, "big")


GOOD: dict[str, tuple[bytes, list[Frame]]] = {
    "plain": (client.text("hi"), [(TEXT, b"hi")]),
    "empty": (client.text(""), [(TEXT, b"")]),
    "two in one": (client.text("a") + client.text("b"), [(TEXT, b"a"), (TEXT, b"b")]),
    "as large as allowed": (client.text("x" * BOUND), [(TEXT, b"x" * BOUND)]),
    "as large as allowed, in bytes": (client.text("ä" * (BOUND // 2)), [(TEXT, "ä".encode() * (BOUND // 2))]),
    "fragments": (frame(TEXT, b"Hel", fin=False) + frame(CONTINUATION, b"lo"), [(TEXT, b"Hello")]),
    "empty fragments": (
        frame(TEXT, fin=False) + frame(CONTINUATION, fin=False) + frame(CONTINUATION),
        [(TEXT, b"")],
    ),
    "a character cut by fragments": (
        frame(TEXT, "ä".encode()[:1], fin=False) + frame(CONTINUATION, "ä".encode()[1:]),
        [(TEXT, "ä".encode())],
    ),
    "pings inside fragments": (
        frame(TEXT, b"a", fin=False)
        + frame(PING, b"1")
        + frame(CONTINUATION, b"b", fin=False)
        + frame(PING, b"2")
        + frame(CONTINUATION, b"c"),
        [(PONG, b"1"), (PONG, b"2"), (TEXT, b"abc")],
    ),
    "fragments between plain ones": (
        client.text("a") + frame(TEXT, b"b", fin=False) + frame(CONTINUATION, b"c") + client.text("d"),
        [(TEXT, b"a"), (TEXT, b"bc"), (TEXT, b"d")],
    ),
    "fragments twice": (
        2 * (frame(TEXT, b"b", fin=False) + frame(CONTINUATION, b"c")),
        [(TEXT, b"bc"), (TEXT, b"bc")],
    ),
    "fragments as large as allowed": (
        frame(TEXT, b"x" * 500, fin=False) + frame(CONTINUATION, b"y" * 500),
        [(TEXT, b"x" * 500 + b"y" * 500)],
    ),
    "ping": (frame(PING, b"p" * 125) + frame(PING), [(PONG, b"p" * 125), (PONG, b"")]),
    "pong that nobody asked for": (frame(PONG, b"x") + client.text("on"), [(TEXT, b"on")]),
    "mask of zeroes": (frame(TEXT, b"hi", mask=bytes(4)), [(TEXT, b"hi")]),
}

TOO_LONG_A_PING = frame(PING, b"x" * 126)
BAD: dict[str, tuple[bytes, Closing | int]] = {
    "reserved bit 1": (frame(TEXT, b"x", rsv=4), PROTOCOL),
    "reserved bit 2": (frame(TEXT, b"x", rsv=2), PROTOCOL),
    "reserved bit 3": (frame(PING, b"x", rsv=1), PROTOCOL),
    "reserved bit in a fragment": (frame(TEXT, b"x", fin=False) + frame(CONTINUATION, b"y", rsv=4), PROTOCOL),
    "not masked": (frame(TEXT, b"x", mask=None), PROTOCOL),
    "ping not masked": (frame(PING, b"x", mask=None), PROTOCOL),
    "fragment not masked": (frame(TEXT, b"x", fin=False) + frame(CONTINUATION, b"y", mask=None), PROTOCOL),
    "reserved opcode 3": (frame(3, b"x"), PROTOCOL),
    "reserved opcode 7": (frame(7), PROTOCOL),
    "reserved opcode 11": (frame(11, b"x"), PROTOCOL),
    "reserved opcode 15": (frame(15), PROTOCOL),
    "ping over 125 bytes": (TOO_LONG_A_PING, PROTOCOL),
    "ping over 125 bytes inside fragments": (frame(TEXT, b"x", fin=False) + TOO_LONG_A_PING, PROTOCOL),
    "fragmented ping": (frame(PING, b"x", fin=False), PROTOCOL),
    "fragmented close": (frame(CLOSE, code(1000), fin=False), PROTOCOL),
    "continuation of nothing": (frame(CONTINUATION, b"x"), PROTOCOL),
    "text inside fragments": (frame(TEXT, b"x", fin=False) + client.text("y"), PROTOCOL),
    "length not in its shortest form": (frame(TEXT, b"x", width=2), PROTOCOL),
    "length of 8 bytes not in its shortest form": (frame(TEXT, b"x" * 300, width=8), PROTOCOL),
    "close of one byte": (frame(CLOSE, b"\x03"), PROTOCOL),
    "close with a reserved code": (client.close(1005), PROTOCOL),
    "close with a code nobody gave out": (client.close(2999), PROTOCOL),
    "close with a code under 1000": (client.close(999), PROTOCOL),
    "close with a code over 4999": (client.close(5000), PROTOCOL),
    "close with a reason that is not UTF-8": (client.close(1000, b"\xff"), NOT_UTF8),
    "not UTF-8": (client.text(b"\xce\xba\xff"), NOT_UTF8),
    "not UTF-8 in fragments": (frame(TEXT, b"\xce", fin=False) + frame(CONTINUATION, b"\xff"), NOT_UTF8),
    "fragments that end inside a character": (frame(TEXT, b"a", fin=False) + frame(CONTINUATION, b"\xce"), NOT_UTF8),
    "surrogate": (client.text(b"\xed\xa0\x80"), NOT_UTF8),
    "binary": (frame(BINARY, b"x"), NOT_TEXT),
    "empty binary": (frame(BINARY), NOT_TEXT),
    "binary in fragments": (frame(BINARY, b"x", fin=False) + frame(CONTINUATION, b"y"), NOT_TEXT),
    "one byte too large": (client.text("x" * (BOUND + 1)), TOO_LARGE),
    "too large by bytes, not by characters": (client.text("ä" * (BOUND // 2) + "x"), TOO_LARGE),
    "a head that promises too much": (frame(TEXT, claim=2**40), TOO_LARGE),
    "fragments too large": (frame(TEXT, b"x" * 600, fin=False) + frame(CONTINUATION, b"y" * 401), 1009),
    "fragments too large by bytes": (
        frame(TEXT, "ä".encode() * 300, fin=False) + frame(CONTINUATION, "ä".encode() * 300),
        TOO_LARGE,
    ),
    "binary too large": (frame(BINARY, b"x" * (BOUND + 1)), 1009),
}

CLOSES: dict[str, tuple[bytes, bytes]] = {
    "normal": (client.close(1000), code(1000)),
    "with a reason": (client.close(1001, b"going away"), code(1001) + b"going away"),
    "with the longest reason": (client.close(4999, b"r" * 123), code(4999) + b"r" * 123),
    "without a code": (client.close(None), b""),
    "of an application": (client.close(3000), code(3000)),
    "with data behind it": (client.close(1000) + client.text("late") + frame(PING, b"late"), code(1000)),
    "inside fragments": (frame(TEXT, b"x", fin=False) + client.close(1001), code(1001)),
    "twice": (client.close(1000) + client.close(1001), code(1000)),
}


def sizes(stream: bytes) -> list[int]:
    """In how large pieces a stream is sent: whole, by single bytes where that is not too many, and something odd."""
    return [len(stream), 7, 1] if len(stream) < 200 else [len(stream), 97]


@pytest.mark.parametrize("name", GOOD)
async def test_good_frames_are_answered(name: str, autojump_clock: trio.testing.MockClock) -> None:
    stream, answers = GOOD[name]
    for size in sizes(stream):
        async with echoing() as (peer, outcome):
            await peer.drip(stream, size)
            assert await peer.frames(len(answers)) == answers
            await peer.send(client.text("still here") + client.close())
            assert await peer.frames() == [(TEXT, b"still here"), (CLOSE, code(1000))]
        assert (outcome.code, outcome.closing) == (1000, None)


@pytest.mark.parametrize("name", BAD)
async def test_bad_frames_close_with_the_reason(name: str, autojump_clock: trio.testing.MockClock) -> None:
    stream, closing = BAD[name]
    number = closing if isinstance(closing, int) else closing.code
    for size in sizes(stream):
        async with echoing() as (peer, outcome):
            await peer.send(client.text("before"))
            assert await peer.frames(1) == [(TEXT, b"before")]
            await peer.drip(stream, size)
            ((opcode, payload),) = await peer.frames()
            assert (opcode, payload[:2]) == (CLOSE, code(number))
            assert isinstance(closing, int) or (opcode, payload) == said(closing)
        assert outcome.code == number
        # The peer's close is found behind whatever was left of the bad frame, unless that claims to hold it.
        assert outcome.took == (2.0 if name == "a head that promises too much" else 0.0)


@pytest.mark.parametrize("name", BAD)
async def test_what_came_before_a_bad_frame_is_answered_or_dropped_but_never_garbled(
    name: str, autojump_clock: trio.testing.MockClock
) -> None:
    async with echoing() as (peer, _):
        await peer.send(client.text("one") + client.text("two") + BAD[name][0])
        *answers, (opcode, _) = await peer.frames()
    assert opcode == CLOSE
    assert answers in ([], [(TEXT, b"one"), (TEXT, b"two")])


@pytest.mark.parametrize("name", CLOSES)
async def test_a_close_is_answered_at_once(name: str, autojump_clock: trio.testing.MockClock) -> None:
    stream, payload = CLOSES[name]
    for size in sizes(stream):
        async with echoing() as (peer, outcome):
            peer.answers = False
            await peer.drip(stream, size)
            assert await peer.frames() == [(CLOSE, payload)]
            assert outcome.took is None
        assert outcome.code == (int.from_bytes(payload[:2], "big") if payload else 1005)
        assert outcome.closing is None
        assert outcome.took == 0.0


@pytest.mark.parametrize("stream", [stream for stream, _ in GOOD.values() if len(stream) < 60])
async def test_every_cut_gives_the_same_answers(stream: bytes, autojump_clock: trio.testing.MockClock) -> None:
    answers = next(answers for good, answers in GOOD.values() if good == stream)
    for cut in range(1, len(stream)):
        async with echoing() as (peer, _):
            await peer.drip(stream[:cut], cut)
            await peer.send(stream[cut:])
            assert await peer.frames(len(answers)) == answers


@pytest.mark.parametrize("cut", [0, 1, 3, 7])
async def test_what_came_with_the_handshake_is_read_first(cut: int, autojump_clock: trio.testing.MockClock) -> None:
    stream = client.text("early")
    async with echoing(rest=stream[:cut]) as (peer, _):
        await peer.send(stream[cut:])
        assert await peer.frames(1) == [(TEXT, b"early")]


async def test_binary_goes_to_whoever_wants_it(autojump_clock: trio.testing.MockClock) -> None:
    async with echoing(echo_server.EchoWebsocket) as (peer, _):
        await peer.send(frame(BINARY, b"\0\xff") + client.text("on") + frame(BINARY, b"a", fin=False))
        assert await peer.frames(2) == [(BINARY, b"\0\xff"), (TEXT, b"on")]
        await peer.send(frame(CONTINUATION, b"b"))
        assert await peer.frames(1) == [(BINARY, b"ab")]


async def test_without_a_bound_a_message_is_as_large_as_it_is(autojump_clock: trio.testing.MockClock) -> None:
    text = "ä" * 200_000
    async with echoing(bound=0) as (peer, _), trio.open_nursery() as nursery:
        nursery.start_soon(peer.send, client.text(text))
        assert await peer.frames(1) == [(TEXT, text.encode())]
        nursery.start_soon(peer.send, frame(TEXT, text.encode(), fin=False) + frame(CONTINUATION, b"x"))
        assert await peer.frames(1) == [(TEXT, text.encode() + b"x")]


async def test_fragments_without_end_are_cut_at_the_bound(autojump_clock: trio.testing.MockClock) -> None:
    async with echoing() as (peer, outcome), trio.open_nursery() as nursery:

        async def flood() -> None:
            await peer.send(frame(TEXT, b"x" * 10, fin=False))
            while peer.answers:  # until the close has come
                await peer.send(frame(CONTINUATION, b"x" * 10, fin=False))

        nursery.start_soon(flood)
        ((opcode, payload),) = await peer.frames()
    assert (opcode, payload[:2], outcome.code) == (CLOSE, code(1009), 1009)


@pytest.mark.parametrize("fragments", [b"", frame(CONTINUATION, fin=False)])
async def test_fragments_that_never_end_have_their_time(
    fragments: bytes, autojump_clock: trio.testing.MockClock
) -> None:
    async with echoing() as (peer, outcome), trio.open_nursery() as nursery:

        async def drip() -> None:
            await peer.send(frame(TEXT, b"x", fin=False))
            while peer.answers:
                await trio.sleep(LIBRARY_TIMEOUT / 10)
                await peer.send(fragments)

        nursery.start_soon(drip)
        assert await peer.frames() == [said(PROTOCOL)]
    assert outcome.took is not None
    assert LIBRARY_TIMEOUT <= outcome.took <= LIBRARY_TIMEOUT + 3.0


@pytest.mark.parametrize("begun", [b"", client.text("x")[:3], frame(TEXT, b"x", fin=False), frame(BINARY)[:1]])
async def test_a_peer_that_vanishes_ends_it_without_a_word(
    begun: bytes, autojump_clock: trio.testing.MockClock
) -> None:
    async with echoing() as (peer, outcome):
        await peer.drip(begun, 100)
        await peer.stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
    assert (outcome.code, outcome.closing) == (1006, None)


async def test_a_peer_that_only_stops_sending_still_gets_its_answers(autojump_clock: trio.testing.MockClock) -> None:
    async with echoing() as (peer, outcome):
        await peer.send(client.text("last"))
        await peer.stream.send_eof()
        assert await peer.frames() == [(TEXT, b"last")]
    assert outcome.code == 1006


# --- our own close -----------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def finishing(closing: Closing, rest: bytes = b"") -> AsyncIterator[Peer]:
    """A websocket that we close, with whatever had been read of the next frame."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs, trio.fail_after(PATIENCE):
        async with reading() as readers, trio.open_nursery() as nursery:
            websocket = Websocket(ours, Outbox(ours, 0, nursery.start_soon, Backlog()), readers, BOUND, rest)
            nursery.start_soon(websocket.finish, closing, 2.0)
            peer = Peer(trio.SocketStream(trio.socket.from_stdlib_socket(theirs)))
            peer.answers = False
            yield peer
        assert ours.fileno() < 0


async def test_our_close_waits_for_the_peers_and_no_longer(autojump_clock: trio.testing.MockClock) -> None:
    async with finishing(MOVED) as peer:
        assert await peer.frames(1) == [said(MOVED)]
        await trio.sleep(0.5)
        await peer.send(client.text("in flight") + client.close(1012))
        assert await peer.frames() == []
        assert trio.current_time() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("cut", range(1, 16))
async def test_the_peers_close_is_found_behind_the_frame_that_was_under_way(
    cut: int, autojump_clock: trio.testing.MockClock
) -> None:
    stream = client.text("under way") + frame(TEXT, b"\x88\x88", fin=False)
    async with finishing(NORMAL, stream[:cut]) as peer:
        await peer.frames(1)
        await peer.drip(stream[cut:], 3)
        assert not (await closed_within(peer, 0.5))
        await peer.drip(client.close(), 3)
        assert await closed_within(peer, 0.0)


async def closed_within(peer: Peer, seconds: float) -> bool:
    with trio.move_on_after(seconds + 0.01):
        return not await peer.stream.receive_some(1)
    return False


async def test_a_peer_that_never_closes_is_closed_in_time(autojump_clock: trio.testing.MockClock) -> None:
    async with finishing(SLOW) as peer, trio.open_nursery() as nursery:

        async def chatter() -> None:
            with trio.move_on_after(5.0):
                while True:
                    await peer.send(client.text("and another thing"))
                    await trio.sleep(0.1)

        nursery.start_soon(chatter)
        assert await peer.frames() == [said(SLOW)]
        assert trio.current_time() == pytest.approx(2.0, abs=0.2)


async def test_a_close_is_said_even_when_cancelled(autojump_clock: trio.testing.MockClock) -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs, trio.fail_after(PATIENCE):
        async with reading() as readers, trio.open_nursery() as flushing:
            websocket = Websocket(ours, Outbox(ours, 0, flushing.start_soon, Backlog()), readers, BOUND)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(websocket.finish, MOVED, 2.0)
                nursery.cancel_scope.cancel()
            assert client.split(theirs.recv(1_000)) == ([said(MOVED)], b"")


# --- the opening handshake ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("subprotocol", [True, False])
async def test_the_handshake_is_answered_as_the_rfc_computes_it(subprotocol: bool) -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    key = b"dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455, 1.3, whose answer it gives
    with ours, theirs:
        async with trio.open_nursery() as nursery:
            Websocket(ours, Outbox(ours, 0, nursery.start_soon, Backlog()), Readers(), BOUND).accept(key, subprotocol)
        head = theirs.recv(1_000)
    assert head.startswith(b"HTTP/1.1 101 ")
    assert head.endswith(b"\r\n\r\n")
    assert b"\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in head
    assert base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()) in head
    assert (b"\r\nSec-WebSocket-Protocol: belfry.v1\r\n" in head) == subprotocol
