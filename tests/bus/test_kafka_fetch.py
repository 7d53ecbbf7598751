"""A fetcher's sessions, and what it makes of each answer that a leader may give."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from kafka.errors import CorruptRecordError, KafkaProtocolError, NotLeaderForPartitionError, OffsetOutOfRangeError
from kafka.protocol.consumer.fetch import FetchRequest

from bus.kafka_fetch import Fetcher
from bus.kafka_wire import FETCH_VERSION
from tests.bus.scripted import A0, A1, B0, Cluster, batch
from tests.bus.test_kafka_wire import fetch_answer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bus.scripted import Scripted

NOW = 0.0  # seconds to wait


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    made = Cluster()
    yield made
    made.close()


def asked(leader: Scripted) -> tuple[int, int, dict[tuple[str, int], int]]:
    """The last request: session, epoch, and each partition's offset."""
    request = FetchRequest.decode(leader.asked[-1], version=FETCH_VERSION)
    offsets = {
        (topic.topic, part.partition): part.fetch_offset for topic in request.topics for part in topic.partitions
    }
    return request.session_id, request.session_epoch, offsets


def polled(fetcher: Fetcher, most: int = 500) -> list[tuple[object, list[tuple[int, bytes]]]]:
    return [(news.part, [(one.offset, one.value) for one in news.records]) for news in fetcher.poll(NOW, most)]


def miscounted(records: bytes) -> bytes:
    """A batch that says it holds five."""
    return records[:57] + (5).to_bytes(4, "big") + records[61:]


def test_a_session_names_only_what_has_moved(cluster: Cluster) -> None:
    one, two = cluster.leaders
    fetcher = Fetcher(cluster.brokers, {A0: 5, A1: 0, B0: 7})
    assert polled(fetcher) == []
    assert asked(one) == (0, 0, {A0: 5, A1: 0})
    assert asked(two) == (0, 0, {B0: 7})
    one.answer(fetch_answer(session=33, a=[(0, 0, 6, batch(5, [b"x"])), (1, 0, 0, b"")]))
    assert polled(fetcher) == [(A0, [(5, b"x")])]
    assert len(two.asked) == 1  # whoever is asked is not asked again
    assert polled(fetcher) == []
    assert asked(one) == (33, 1, {A0: 6})
    one.answer(fetch_answer(session=33))
    assert polled(fetcher) == []
    assert polled(fetcher) == []
    assert asked(one) == (33, 2, {})


def test_a_session_that_the_broker_forgot_begins_anew(cluster: Cluster) -> None:
    one, _ = cluster.leaders
    fetcher = Fetcher(cluster.brokers, {A0: 5, A1: 0})
    polled(fetcher)
    one.answer(fetch_answer(session=33, a=[(0, 0, 6, batch(5, [b"x"]))]))
    polled(fetcher)
    for error in (70, 71):
        polled(fetcher)
        one.answer(fetch_answer(error=error, session=0))
        assert polled(fetcher) == []
        polled(fetcher)
        assert asked(one) == (0, 0, {A0: 6, A1: 0})
        one.answer(fetch_answer(session=34))
        polled(fetcher)


def test_a_broker_that_has_no_session_for_us_is_asked_for_all_each_time(cluster: Cluster) -> None:
    one, _ = cluster.leaders
    fetcher = Fetcher(cluster.brokers, {A0: 5, A1: 0})
    for _ in range(3):
        polled(fetcher)
        assert asked(one) == (0, 0, {A0: 5, A1: 0})
        one.answer(fetch_answer(session=0, a=[(0, 0, 5, b""), (1, 0, 0, b"")]))
        polled(fetcher)


def test_records_before_our_offset_are_left_out_and_gaps_are_passed(cluster: Cluster) -> None:
    one, _ = cluster.leaders
    fetcher = Fetcher(cluster.brokers, {A0: 5})
    polled(fetcher)
    cut = batch(20, [b"cut off"])[:-3]
    batches = batch(3, [b"3", b"4", b"5"]) + batch(6, [b"6"], gap=4) + batch(11, [b"11"])
    one.answer(fetch_answer(session=33, a=[(0, 0, 21, batches + cut)]))
    assert polled(fetcher) == [(A0, [(5, b"5"), (6, b"6"), (11, b"11")])]
    polled(fetcher)
    assert asked(one)[2] == {A0: 12}


def test_much_comes_in_bounded_turns_and_nobody_is_asked_meanwhile(cluster: Cluster) -> None:
    one, _ = cluster.leaders
    fetcher = Fetcher(cluster.brokers, {A0: 0, A1: 0})
    polled(fetcher)
    values = [b"%d" % number for number in range(10)]
    one.answer(fetch_answer(session=33, a=[(0, 0, 10, batch(0, values)), (1, 0, 10, batch(0, values))]))
    turns = [polled(fetcher, 4) for _ in range(5)]
    assert [[len(records) for _, records in turn] for turn in turns] == [[4], [4], [2, 2], [4], [4]]
    assert polled(fetcher, 4) == []  # only now is the end seen
    assert len(one.asked) == 1
    polled(fetcher)
    assert asked(one)[2] == {A0: 10, A1: 10}


def test_what_is_skipped_is_not_given_out(cluster: Cluster) -> None:
    one, _ = cluster.leaders
    fetcher = Fetcher(cluster.brokers, {A0: 0, A1: 0})
    polled(fetcher)
    values = [b"%d" % number for number in range(10)]
    one.answer(fetch_answer(session=33, a=[(0, 0, 900, batch(0, values)), (1, 0, 10, batch(0, values))]))
    assert [len(records) for _, records in polled(fetcher, 4)] == [4]
    fetcher.skip(A0, 900)
    assert [part for part, _ in polled(fetcher)] == [A1]
    polled(fetcher)
    assert asked(one)[2] == {A0: 900, A1: 10}


def test_a_broker_that_asks_for_silence_gets_it(cluster: Cluster) -> None:
    one, two = cluster.leaders
    fetcher = Fetcher(cluster.brokers, {A0: 0, B0: 0})
    polled(fetcher)
    one.answer(fetch_answer(throttle=3_600_000, session=33))
    two.answer(fetch_answer(session=44))
    polled(fetcher)
    polled(fetcher)
    assert (len(one.asked), len(two.asked)) == (1, 2)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (fetch_answer(a=[(0, 6, -1, b"")]), NotLeaderForPartitionError),
        (fetch_answer(a=[(0, 1, -1, b"")]), OffsetOutOfRangeError),
        (fetch_answer(error=6), NotLeaderForPartitionError),
        (fetch_answer(a=[(0, 0, 9, miscounted(batch(0, [b"one"])))]), CorruptRecordError),
        (b"", KafkaProtocolError),
    ],
)
def test_all_else_is_raised(cluster: Cluster, answer: bytes, error: type[Exception]) -> None:
    fetcher = Fetcher(cluster.brokers, {A0: 0})
    polled(fetcher)
    cluster.leaders[0].answer(answer)
    with pytest.raises(error):
        polled(fetcher)
