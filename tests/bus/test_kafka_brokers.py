"""A channel's requests and answers, and what it makes of a peer that is no broker."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

import pytest
from kafka.errors import KafkaConnectionError, KafkaProtocolError, KafkaTimeoutError

from bus import kafka_brokers
from bus.kafka_brokers import Channel

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = 60.0  # seconds no answer here takes


@pytest.fixture
def ends() -> Iterator[tuple[Channel, socket.socket]]:
    ours, theirs = socket.socketpair()
    theirs.settimeout(PATIENCE)
    channel = Channel(ours, 1)
    yield channel, theirs
    channel.close()
    theirs.close()


def answer(number: int, body: bytes) -> bytes:
    return (4 + len(body)).to_bytes(4, "big") + number.to_bytes(4, "big") + body


def test_answers_come_in_the_order_of_the_requests_however_they_are_cut(ends: tuple[Channel, socket.socket]) -> None:
    channel, broker = ends
    for body in (b"one", b"two", b"three"):
        channel.ask(1, 11, body, PATIENCE)
    sent = broker.recv(1_000)
    assert [sent.find(body) > 0 for body in (b"one", b"two", b"three")] == [True] * 3
    found = []
    for byte in answer(1, b"1") + answer(2, b"") + answer(3, b"x" * 300):
        broker.send(bytes([byte]))
        found += channel.answers()
    assert found == [b"1", b"", b"x" * 300]
    channel.ask(1, 11, b"more", PATIENCE)
    channel.ask(1, 11, b"more", PATIENCE)
    broker.sendall(answer(4, b"4") + answer(5, b"5"))
    assert channel.answers() == [b"4", b"5"]


@pytest.mark.parametrize(
    "wrong",
    [
        answer(2, b"") + b"more",
        b"HTTP/1.1 400 Bad Request\r\n",
        b"\xff\xff\xff\xff....",
        (3).to_bytes(4, "big") + b"...",
        (kafka_brokers.LONGEST + 1).to_bytes(4, "big"),
    ],
)
def test_what_is_no_answer_ends_it(ends: tuple[Channel, socket.socket], wrong: bytes) -> None:
    channel, broker = ends
    channel.ask(1, 11, b"", PATIENCE)
    broker.sendall(wrong)
    with pytest.raises(KafkaProtocolError):
        channel.answers()


def test_an_answer_that_nobody_asked_for_ends_it(ends: tuple[Channel, socket.socket]) -> None:
    channel, broker = ends
    broker.sendall(answer(1, b""))
    with pytest.raises(KafkaProtocolError):
        channel.answers()


def test_a_broker_that_goes_is_told(ends: tuple[Channel, socket.socket]) -> None:
    channel, broker = ends
    channel.ask(1, 11, b"", PATIENCE)
    broker.close()
    with pytest.raises((KafkaConnectionError, ConnectionError)):
        channel.answers()


def test_a_broker_that_does_not_answer_is_given_up(ends: tuple[Channel, socket.socket]) -> None:
    channel, _ = ends
    channel.ask(1, 11, b"", PATIENCE)
    assert channel.answers() == []
    channel.ask(1, 11, b"", -1.0)
    assert channel.answers() == []  # the first has its time still, and they are answered in order
    late, theirs = socket.socketpair()
    with theirs:
        channel = Channel(late, 1)
        channel.ask(1, 11, b"", -1.0)
        with pytest.raises(KafkaTimeoutError):
            channel.answers()
        channel.close()


def test_a_broker_that_takes_no_more_is_given_up(
    ends: tuple[Channel, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_brokers, "REQUEST", 0.2)
    channel, _ = ends
    with pytest.raises(KafkaTimeoutError):
        channel.ask(0, 7, b"x" * 50_000_000, PATIENCE)


def test_a_request_goes_out_whole_to_a_broker_that_takes_it_slowly(ends: tuple[Channel, socket.socket]) -> None:
    channel, broker = ends
    body = bytes(range(256)) * 20_000
    took: list[bytes] = []

    def take() -> None:
        while sum(map(len, took)) < len(body):
            took.append(broker.recv(100_000))

    thread = threading.Thread(target=take)
    thread.start()
    channel.ask(0, 7, body, PATIENCE)
    thread.join(PATIENCE)
    assert b"".join(took).endswith(body)
