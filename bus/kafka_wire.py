"""The two requests that every message takes, Fetch and Produce, as Kafka's protocol has them: bytes, and no sockets.

Only these, in one version each, which brokers from 2.3 on know: for all else there is the library, whose way from a
record to a request and back costs seven times as much. https://kafka.apache.org/protocol names the fields.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kafka import TopicPartition
from kafka.errors import KafkaProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

CLIENT = b"belfry"
PRODUCE, PRODUCE_VERSION = 0, 7
FETCH, FETCH_VERSION = 1, 11
ACKS = 1  # of the leader alone: a hint needs no more
NO_LIMIT = 0x7FFFFFFF  # an answer's length is bounded by what each partition may bring
PARTITION_BYTES = 1_048_576  # of one partition in an answer, or one batch if that is larger

_frame = struct.Struct(">ihhih")
_fetch = struct.Struct(">iiiibiii")
_fetched = struct.Struct(">ihii")
_wanted = struct.Struct(">iiqqi")
_brought = struct.Struct(">ihqqqi")
_replica_and_size = struct.Struct(">ii")
_produce = struct.Struct(">hhii")
_taken = struct.Struct(">ihqqq")
_int16 = struct.Struct(">h")
_int32 = struct.Struct(">i")


@dataclass(frozen=True, slots=True)
class Brought:
    """What an answer to Fetch has of one partition."""

    part: TopicPartition
    error: int  # Kafka's number; 0 is none
    end: int  # the offset that the next record to be written will have
    records: bytes  # batches, the last perhaps cut off


@dataclass(frozen=True, slots=True)
class Fetched:
    """An answer to Fetch."""

    throttle: float  # seconds to be silent for
    error: int
    session: int  # which partitions we asked for, in the broker's memory
    parts: list[Brought]


def framed(api: int, version: int, number: int, body: bytes) -> bytes:
    """A request with its length and header before it; the answer will bear its number."""
    size = _frame.size - _int32.size + len(CLIENT) + len(body)
    return b"".join((_frame.pack(size, api, version, number, len(CLIENT)), CLIENT, body))


def fetch(offsets: Mapping[TopicPartition, int], wait: float, session: int, epoch: int) -> bytes:
    """Ask for what follows these offsets, waiting so many seconds for a first record.

    In a session the partitions that are not named are asked for too, where they were; epoch 0 begins one.
    """
    body = [_fetch.pack(-1, int(wait * 1_000), 1, NO_LIMIT, 0, session, epoch, len(_by_topic(offsets)))]
    for topic, parts in _by_topic(offsets).items():
        body += [_text(topic), _int32.pack(len(parts))]
        body += [_wanted.pack(part.partition, -1, offsets[part], -1, PARTITION_BYTES) for part in parts]
    return b"".join([*body, _int32.pack(0), _text("")])


def fetched(answer: bytes) -> Fetched:
    """Read an answer to `fetch`. Raises KafkaProtocolError."""
    try:
        throttle, error, session, topics = _fetched.unpack_from(answer)
        at = _fetched.size
        parts = []
        for _ in range(topics):
            topic, at = _read_text(answer, at)
            (count,) = _int32.unpack_from(answer, at)
            at += _int32.size
            for _ in range(count):
                number, wrong, end, _, _, aborted = _brought.unpack_from(answer, at)
                at += _brought.size + 16 * max(0, aborted)
                _, size = _replica_and_size.unpack_from(answer, at)
                at += _replica_and_size.size
                records = answer[at : at + max(0, size)]
                at += len(records)
                if len(records) < size:
                    raise KafkaProtocolError("an answer to Fetch ends within its records")
                parts.append(Brought(TopicPartition(topic, number), wrong, end, records))
        _refuse_more(answer, at)
    except (struct.error, UnicodeDecodeError) as wrong:
        raise KafkaProtocolError(f"an answer to Fetch cannot be read: {wrong}") from None
    return Fetched(throttle / 1_000, error, session, parts)


def produce(batches: Mapping[TopicPartition, bytes | bytearray], wait: float) -> bytes:
    """Have one batch of records written to each of these partitions, within so many seconds."""
    body: list[bytes | bytearray] = [_produce.pack(-1, ACKS, int(wait * 1_000), len(_by_topic(batches)))]
    for topic, parts in _by_topic(batches).items():
        body += [_text(topic), _int32.pack(len(parts))]
        for part in parts:
            body += [_int32.pack(part.partition), _int32.pack(len(batches[part])), batches[part]]
    return b"".join(body)


def produced(answer: bytes) -> tuple[dict[TopicPartition, int], float]:
    """Read an answer to `produce`: each partition's error, 0 for none, and the seconds to be silent for.

    Raises KafkaProtocolError.
    """
    try:
        (topics,) = _int32.unpack_from(answer)
        at = _int32.size
        errors = {}
        for _ in range(topics):
            topic, at = _read_text(answer, at)
            (count,) = _int32.unpack_from(answer, at)
            at += _int32.size
            for _ in range(count):
                number, error, _, _, _ = _taken.unpack_from(answer, at)
                at += _taken.size
                errors[TopicPartition(topic, number)] = error
        (throttle,) = _int32.unpack_from(answer, at)
        _refuse_more(answer, at + _int32.size)
    except (struct.error, UnicodeDecodeError) as wrong:
        raise KafkaProtocolError(f"an answer to Produce cannot be read: {wrong}") from None
    return errors, throttle / 1_000


def _by_topic(parts: Iterable[TopicPartition]) -> dict[str, list[TopicPartition]]:
    found: dict[str, list[TopicPartition]] = {}
    for part in parts:
        found.setdefault(part.topic, []).append(part)
    return found


def _text(text: str) -> bytes:
    return _int16.pack(len(text)) + text.encode("ascii")  # a topic's name has nothing else


def _refuse_more(answer: bytes, at: int) -> None:
    if at != len(answer):
        raise KafkaProtocolError(f"an answer has {len(answer) - at} bytes too many")


def _read_text(answer: bytes, at: int) -> tuple[str, int]:
    (size,) = _int16.unpack_from(answer, at)
    at += _int16.size
    return answer[at : at + size].decode(), at + max(0, size)
