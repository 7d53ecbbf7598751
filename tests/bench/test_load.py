"""The load generator against a server that says exactly what it is told to."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from bench.frames import client_frame, upgrade_request
from bench.load import Buckets, Generator, Load, Refusal, Script, Seen
from chat.frames import text_frame

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Answer = Callable[[bytes], bytes]

HEAD = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"
REQUEST = upgrade_request("/ws", 1, None)
JOIN = Script((b'{"t":"join","room":"r"}',), waits=1)
JOINED = text_frame(b'{"t":"joined","room":"r"}')


@pytest.fixture(scope="module")
def generator() -> Generator:
    return Generator()  # its state is the process's: one for all


@contextlib.contextmanager
def fake(answer: Answer, head: bytes = HEAD) -> Iterator[int]:
    """One connection is upgraded, and each chunk it sends is answered; the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(head)
                    while data := connection.recv(65536):
                        connection.sendall(answer(data))

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            thread.join(10)
            assert not thread.is_alive()


def unmask(data: bytes) -> Iterator[bytes]:
    """Payloads of the client frames in a chunk; the tests' chunks are whole."""
    while data:
        size, start = data[1] & 127, 2
        if size == 126:
            size, start = int.from_bytes(data[2:4], "big"), 4
        mask, body = data[start : start + 4], data[start + 4 : start + 4 + size]
        yield bytes(byte ^ mask[i % 4] for i, byte in enumerate(body))
        data = data[start + 4 + size :]


def message(seq: int, send: bytes) -> bytes:
    """The message that a send frame becomes."""
    text = send[send.index(b'"text":') :]
    return text_frame(b'{"t":"message","room":"r","seq":%d,"from":{},%b' % (seq, text))


def publish(generator: Generator, answer: Answer) -> Seen:
    with fake(answer) as port:
        try:
            generator.open(port, REQUEST, [JOIN], timeout=10.0)
            return generator.run(Load(((0, "r"),), 1, rate=200.0, seconds=0.5, warm=0.0, drain=0.2, give_up=10.0))
        finally:
            generator.close()


class Echo:
    """Answers joins with joined and sends with what `numbers` says they become."""

    def __init__(self, numbers: Callable[[int], list[int]]) -> None:
        self._numbers = numbers
        self._count = 0

    def __call__(self, data: bytes) -> bytes:
        out = b""
        for payload in unmask(data):
            if b'"t":"join"' in payload:
                out += JOINED
            else:
                self._count += 1
                out += b"".join(message(seq, payload) for seq in self._numbers(self._count))
        return out


def test_what_comes_back_is_counted_whole(generator: Generator) -> None:
    seen = publish(generator, Echo(lambda n: [n]))
    assert seen.clean
    assert seen.sent == seen.delivered == seen.counted == seen.latency.total > 8  # 100, unless we are kept waiting
    assert 0 < seen.latency.quantile(0.5) <= seen.latency.quantile(1.0) < 10


@pytest.mark.parametrize(
    ("numbers", "missing", "disorder"),
    [
        pytest.param(lambda n: [n] if n != 7 else [], 1, 1, id="lost"),
        pytest.param(lambda n: [n, n] if n == 7 else [n], 0, 1, id="doubled"),
        pytest.param(lambda n: [{7: 8, 8: 7}.get(n, n)], 0, 3, id="swapped"),
    ],
)
def test_what_a_server_gets_wrong_is_seen(
    generator: Generator, numbers: Callable[[int], list[int]], missing: int, disorder: int
) -> None:
    seen = publish(generator, Echo(numbers))
    assert (seen.missing, seen.disorder) == (missing, disorder)
    assert not seen.clean


def test_frames_cut_anywhere_are_put_together(generator: Generator) -> None:
    kept = bytearray()
    echo = Echo(lambda n: [n])

    def late(data: bytes) -> bytes:
        """Half of what was owed stays back until the next chunk; joins are answered at once."""
        kept.extend(echo(data))
        half = len(kept) if bytes(kept) == JOINED else len(kept) // 2
        out = bytes(kept[:half])
        del kept[:half]
        return out

    seen = publish(generator, late)
    assert seen.disorder == seen.errors == seen.closed == 0
    assert seen.sent // 2 <= seen.delivered <= seen.sent


@pytest.mark.parametrize(
    ("head", "answer", "problem"),
    [
        pytest.param(b"HTTP/1.1 503 Busy\r\n\r\n", b"", "503", id="refused"),
        pytest.param(HEAD, text_frame(b'{"t":"error","code":"bad_token"}'), "bad_token", id="error"),
        pytest.param(HEAD, b"\x88\x02\x03\xf5", "1 closed", id="closed"),
    ],
)
def test_a_client_that_is_not_let_in_says_why(generator: Generator, head: bytes, answer: bytes, problem: str) -> None:
    with fake(lambda data: answer, head) as port:
        try:
            with pytest.raises(Refusal, match=problem):
                generator.open(port, REQUEST, [JOIN], timeout=0.5)
        finally:
            generator.close()


def test_pings_of_both_kinds_are_answered(generator: Generator) -> None:
    heard: list[bytes] = []

    def answer(data: bytes) -> bytes:
        for payload in unmask(data):
            heard.append(payload)
            if b"join" in payload:
                return b"\x89\x02hi" + text_frame(b'{"t":"ping"}')
            if payload == b'{"t":"pong"}':
                return JOINED
        return b""

    with fake(answer) as port:
        try:
            generator.open(port, REQUEST, [JOIN], timeout=10.0)
        finally:
            generator.close()
    assert heard[1:] == [b"hi", b'{"t":"pong"}']


def test_quantiles_are_upper_edges_of_their_buckets() -> None:
    counts = [0] * 2048
    counts[10 * 32] = 90  # 1024 ns and up to 1056
    counts[20 * 32] = 10  # 1,048,576 ns and up to 1,081,344
    buckets = Buckets(counts)
    assert buckets.quantile(0.5) == pytest.approx(1056e-9)
    assert buckets.quantile(0.99) == pytest.approx(1081344e-9)
    assert Buckets([0] * 2048).quantile(0.5) == float("inf")


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536])
def test_client_frames_are_masked_and_whole(size: int) -> None:
    payload = bytes(i % 251 for i in range(size))
    frame = client_frame(payload)
    head = 2 if size < 126 else 4 if size < 65536 else 10
    assert frame[0] == 0x81
    assert frame[1] & 0x80
    assert len(frame) == head + 4 + size
    mask = frame[head : head + 4]
    assert bytes(byte ^ mask[i % 4] for i, byte in enumerate(frame[head + 4 :])) == payload
