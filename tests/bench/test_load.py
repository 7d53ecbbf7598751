"""The load generator against a server that says exactly what it is told to."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from bench.frames import client_frame, upgrade_request
from bench.load import Buckets, Generator, Load, Refusal, Script, Seen, Wave
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
    assert seen.sent == seen.delivered == seen.counted == seen.latency.total == 100
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


def joined(head: int, seqs: list[int], *, gap: bool = False) -> bytes:
    """A `joined` as Belfry writes it."""
    messages = b",".join(b'{"seq":%d,"from":{"id":"u","name":"U"},"text":"x","at":"..."}' % seq for seq in seqs)
    told = b"true" if gap else b"false"
    return text_frame(
        b'{"t":"joined","room":"r","epoch":"e","head":%d,"gap":%b,"count":1,"read":0,"messages":[%b]}'
        % (head, told, messages)
    )


@pytest.mark.parametrize(
    ("answer", "caught", "disorder", "gaps"),
    [
        pytest.param(joined(43, [41, 42, 43]), 3, 0, 0, id="whole"),
        pytest.param(
            joined(43, [41]) + message(42, b'"text":"y"}') + message(43, b'"text":"y"}'), 3, 0, 0, id="in-parts"
        ),
        pytest.param(joined(40, []), 0, 0, 0, id="nothing-missed"),
        pytest.param(joined(43, [41, 43]), 2, 1, 0, id="a-hole"),
        pytest.param(joined(43, [42, 43]), 2, 1, 0, id="begins-late"),
        pytest.param(joined(43, [40, 41, 42, 43]), 4, 1, 0, id="a-repeat"),
        pytest.param(joined(43, [43], gap=True), 1, 1, 1, id="a-gap-that-is-told"),
    ],
)
def test_what_a_resume_brings_is_checked_number_by_number(
    generator: Generator, answer: bytes, caught: int, disorder: int, gaps: int
) -> None:
    script = Script(JOIN.frames, waits=1, position=40)
    with fake(lambda data: answer) as port:
        try:
            seen = generator.open(port, REQUEST, [script], timeout=10.0)
        finally:
            generator.close()
    assert (seen.caught, seen.disorder, seen.gaps) == (caught, disorder, gaps)
    assert seen.clean == (not disorder and not gaps)
    assert seen.entry.total == 1


def test_a_resume_that_stays_short_of_its_head_does_not_arrive(generator: Generator) -> None:
    script = Script(JOIN.frames, waits=1, position=40)
    with fake(lambda data: joined(43, [41, 42])) as port:
        try:
            with pytest.raises(Refusal, match="0 of 1"):
                generator.open(port, REQUEST, [script], timeout=0.5)
        finally:
            generator.close()


def test_a_wave_comes_while_others_talk_and_is_counted_apart(generator: Generator) -> None:
    coming = Script(JOIN.frames, waits=1, position=40)
    with fake(Echo(lambda n: [n])) as port, fake(lambda data: joined(42, [41, 42])) as other:
        try:
            generator.open(port, REQUEST, [JOIN], timeout=10.0)
            wave = Wave(other, REQUEST, (coming,), at=0.05)
            seen = generator.run(Load(((0, "r"),), 1, rate=200.0, seconds=0.1, warm=0.0, give_up=10.0, wave=wave))
        finally:
            generator.close()
    assert seen.clean
    assert (seen.delivered, seen.caught, seen.entry.total) == (20, 0, 0)
    assert [(group.delivered, group.caught, group.entry.total) for group in seen.beside] == [(0, 2, 1), (0, 0, 0)]


def test_what_was_planned_is_sent_however_late_the_generator_is(generator: Generator) -> None:
    answers = iter([JOINED])
    with fake(lambda data: next(answers, b"")) as port:
        try:
            generator.open(port, REQUEST, [JOIN], timeout=10.0)
            seen = generator.run(Load(((0, "r"),), 0, rate=2e6, seconds=0.005, warm=0.0, give_up=10.0))
        finally:
            generator.close()
    assert seen.sent == 10_000


def test_groups_are_counted_apart_and_what_is_late_is_counted(generator: Generator) -> None:
    with fake(Echo(lambda n: [n])) as port:
        try:
            generator.open(port, REQUEST, [JOIN], timeout=10.0, group=2)
            # A member is waited for whom there is not: the others' last deliveries come meanwhile.
            load = Load(((0, "r"),), 1, rate=200.0, seconds=0.1, warm=0.0, drain=2.0, give_up=10.0, late=0.0)
            seen = generator.run(load)
        finally:
            generator.close()
    apart = seen.beside[1]
    assert (seen.sent, seen.delivered, apart.delivered) == (20, 0, 20)
    assert apart.late == 20
    assert 0.09 < apart.late_until < 10
    assert apart.longest >= apart.latency.quantile(0.0) > 0


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
    both = Buckets.together([buckets, buckets, Buckets([0] * 2048)])
    assert (both.total, both.quantile(0.5)) == (200, buckets.quantile(0.5))


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
