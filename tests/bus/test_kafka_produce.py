"""Records on their way: how they are joined and cut, and what becomes of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from kafka.errors import MessageSizeTooLargeError, NotLeaderForPartitionError
from kafka.protocol.producer.produce import ProduceRequest
from kafka.record import MemoryRecords

from bus import kafka_produce
from bus.kafka_produce import Record, Sender
from bus.kafka_wire import PRODUCE_VERSION
from tests.bus.scripted import A0, A1, B0, Cluster
from tests.bus.test_kafka_wire import produce_answer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kafka import TopicPartition
    from kafka.errors import KafkaError

    from tests.bus.scripted import Scripted


class Told:
    """What became of records."""

    def __init__(self) -> None:
        self.cluster = Cluster()
        self.settled: list[tuple[bytes, type[KafkaError] | None]] = []
        self.sender = Sender(self.cluster.brokers, [("origin", b"s1/k3f9")], self.note)

    def note(self, record: Record, error: KafkaError | None) -> None:
        self.settled.append((record.value, error and type(error)))


@pytest.fixture
def told() -> Iterator[Told]:
    made = Told()
    yield made
    made.cluster.close()


def record(part: TopicPartition, value: bytes, since: float = 0.0, key: bytes | None = None) -> Record:
    return Record(part, value, key, 1, since)


def written(leader: Scripted) -> list[dict[tuple[str, int], list[Any]]]:
    """The records of each request."""
    return [
        {
            (topic.name, part.index): [
                one for batch in iter(MemoryRecords(bytes(part.records)).next_batch, None) for one in batch
            ]
            for topic in ProduceRequest.decode(body, version=PRODUCE_VERSION).topic_data
            for part in topic.partition_data
        }
        for body in leader.asked
    ]


def values(leader: Scripted) -> list[dict[tuple[str, int], list[bytes]]]:
    return [{part: [one.value for one in records] for part, records in one.items()} for one in written(leader)]


def test_each_leader_gets_its_records_in_one_request(told: Told) -> None:
    told.sender.send([record(A0, b"1", key=b"k"), record(B0, b"2"), record(A1, b"3"), record(A0, b"4")])
    one, two = told.cluster.leaders
    assert values(one) == [{A0: [b"1", b"4"], A1: [b"3"]}]
    assert values(two) == [{B0: [b"2"]}]
    (first, second) = written(one)[0][A0]
    assert (first.key, second.key) == (b"k", None)
    assert first.headers == second.headers == [("origin", b"s1/k3f9")]
    assert told.sender.under_way == 2
    one.answer(produce_answer(a=[(0, 0), (1, 0)]))
    told.sender.settle()
    assert told.settled == [(b"1", None), (b"4", None), (b"3", None)]
    assert (told.sender.under_way, told.sender.channels()) == (1, [two])


def test_what_is_large_goes_in_several_requests_and_nothing_overtakes(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_produce, "BATCH_BYTES", 100)
    sent = [b"%02d" % number + b"x" * size for number, size in enumerate([50, 40, 90, 1, 500, 1])]
    told.sender.send([*(record(A0, value) for value in sent), record(A1, b"aside")])
    requests = values(told.cluster.leaders[0])
    assert [value for request in requests for value in request.get(A0, [])] == sent
    assert [len(request[A0]) for request in requests] == [2, 2, 1, 1]
    assert requests[0][A1] == [b"aside"]
    told.cluster.leaders[0].answer(*(produce_answer(a=[(0, 0), (1, 0)]) for _ in requests))
    told.sender.finish(60.0)
    assert told.sender.under_way == 0
    assert {value for value, _ in told.settled} == {*sent, b"aside"}


def test_a_record_that_is_refused_for_good_is_told(told: Told) -> None:
    told.sender.send([record(A0, b"large"), record(A1, b"small")])
    told.cluster.leaders[0].answer(produce_answer(a=[(0, 10), (1, 0)]))
    told.sender.settle()
    assert told.settled == [(b"large", MessageSizeTooLargeError), (b"small", None)]
    assert told.sender.unsettled() == []


def test_what_another_leader_may_take_is_kept_in_order(told: Told) -> None:
    told.sender.send([record(A0, b"1", 1.0), record(A1, b"2", 2.0)])
    told.sender.send([record(B0, b"3", 3.0), record(A0, b"4", 4.0)])
    told.cluster.leaders[0].answer(produce_answer(a=[(0, 6), (1, 0)]))
    with pytest.raises(NotLeaderForPartitionError):
        told.sender.settle()
    assert told.settled == [(b"2", None)]
    assert [one.value for one in told.sender.unsettled()] == [b"1", b"3", b"4"]
    assert told.sender.unsettled() == []


def test_a_leader_that_is_not_there_costs_no_record(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(part: TopicPartition) -> None:
        raise NotLeaderForPartitionError

    monkeypatch.setattr(told.cluster, "channel", nobody)
    with pytest.raises(NotLeaderForPartitionError):
        told.sender.send([record(A0, b"1"), record(A1, b"2")])
    assert [one.value for one in told.sender.unsettled()] == [b"1", b"2"]


def test_brokers_may_ask_for_silence(told: Told) -> None:
    told.sender.send([record(A0, b"1")])
    assert not told.sender.is_silent
    told.cluster.leaders[0].answer(produce_answer(3_600_000, a=[(0, 0)]))
    told.sender.settle()
    assert told.sender.is_silent


def test_the_wait_for_the_last_answers_ends(told: Told) -> None:
    told.sender.send([record(A0, b"1")])
    told.sender.finish(0.05)
    assert [one.value for one in told.sender.unsettled()] == [b"1"]
