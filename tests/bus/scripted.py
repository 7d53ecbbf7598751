"""A leader that answers what a test has written down, in the bytes that the library would read and write."""

from __future__ import annotations

import socket
from collections import deque
from typing import TYPE_CHECKING, cast

from kafka import TopicPartition
from kafka.record.default_records import DefaultRecordBatchBuilder

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bus.kafka_brokers import Brokers, Channel

A0, A1, B0 = TopicPartition("a", 0), TopicPartition("a", 1), TopicPartition("b.messages", 0)


class Scripted:
    """A channel: what was asked on it, and what it answers next."""

    def __init__(self, node: int) -> None:
        self.node = node
        self.asked: list[bytes] = []
        self.to_come: deque[bytes] = deque()
        self._ours, self._theirs = socket.socketpair()

    def fileno(self) -> int:
        return self._ours.fileno()

    def answer(self, *answers: bytes) -> None:
        """These come next."""
        self.to_come += answers
        self._theirs.send(b"!")

    def ask(self, api: int, version: int, body: bytes, patience: float) -> None:
        self.asked.append(body)

    def answers(self) -> list[bytes]:
        came, self.to_come = list(self.to_come), deque()
        if came:
            self._ours.recv(100)
        return came

    def close(self) -> None:
        self._ours.close()
        self._theirs.close()


class Cluster:
    """Leaders: the first of them of "a", the second of all else."""

    def __init__(self) -> None:
        self.leaders = [Scripted(1), Scripted(2)]

    def channel(self, part: TopicPartition) -> Channel:
        return cast("Channel", self.leaders[part.topic != "a"])

    @property
    def brokers(self) -> Brokers:
        return cast("Brokers", self)

    def close(self) -> None:
        for leader in self.leaders:
            leader.close()


def batch(first: int, values: Iterable[bytes], *, gap: int = 0) -> bytes:
    """Records at offsets from `first` on; `gap` more at its end were compacted away."""
    builder = DefaultRecordBatchBuilder(2, 0, False, -1, -1, -1, 1_000_000)
    count = 0
    for count, value in enumerate(values, 1):
        builder.append(count - 1, 0, None, value, [])
    built = bytearray(builder.build())
    built[:8] = first.to_bytes(8, "big")
    built[23:27] = (count - 1 + gap).to_bytes(4, "big")  # the last offset, from the first
    return bytes(built)
