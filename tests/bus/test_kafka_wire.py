"""Our own Fetch and Produce, held against what the library makes of the same bytes."""

from __future__ import annotations

import random
from io import BytesIO

import pytest
from kafka import TopicPartition
from kafka.errors import KafkaProtocolError
from kafka.protocol.consumer.fetch import FetchRequest, FetchResponse
from kafka.protocol.producer.produce import ProduceRequest, ProduceResponse

from bus.kafka_wire import (
    FETCH,
    FETCH_VERSION,
    PARTITION_BYTES,
    PRODUCE,
    PRODUCE_VERSION,
    fetch,
    fetched,
    framed,
    produce,
    produced,
)

A0, A1, B0 = TopicPartition("a", 0), TopicPartition("a", 1), TopicPartition("b.messages", 0)


def fetch_answer(
    throttle: int = 0, error: int = 0, session: int = 7, **topics: list[tuple[int, int, int, bytes]]
) -> bytes:
    """As the library writes it: for each topic (partition, error, end, records)."""
    responses = [
        FetchResponse.FetchableTopicResponse(
            topic=topic,
            partitions=[
                FetchResponse.FetchableTopicResponse.PartitionData(
                    partition_index=number, error_code=wrong, high_watermark=end, last_stable_offset=end,
                    log_start_offset=0, aborted_transactions=None, preferred_read_replica=-1, records=records,
                )
                for number, wrong, end, records in parts
            ],
        )
        for topic, parts in topics.items()
    ]  # fmt: skip
    answer = FetchResponse(throttle_time_ms=throttle, error_code=error, session_id=session, responses=responses)
    encoded: bytes = answer.encode(version=FETCH_VERSION)
    return encoded


def produce_answer(throttle: int = 0, **topics: list[tuple[int, int]]) -> bytes:
    """As the library writes it: for each topic (partition, error)."""
    responses = [
        ProduceResponse.TopicProduceResponse(
            name=topic,
            partition_responses=[
                ProduceResponse.TopicProduceResponse.PartitionProduceResponse(
                    index=number, error_code=wrong, base_offset=5, log_append_time_ms=-1, log_start_offset=0
                )
                for number, wrong in parts
            ],
        )
        for topic, parts in topics.items()
    ]
    encoded: bytes = ProduceResponse(responses=responses, throttle_time_ms=throttle).encode(version=PRODUCE_VERSION)
    return encoded


def test_a_fetch_is_what_the_library_reads() -> None:
    body = fetch({A0: 5, B0: 2**40, A1: 0}, 0.1, session=7, epoch=3)
    request = FetchRequest.decode(body, version=FETCH_VERSION)
    assert (request.max_wait_ms, request.min_bytes, request.session_id, request.session_epoch) == (100, 1, 7, 3)
    assert (request.isolation_level, list(request.forgotten_topics_data), request.rack_id) == (0, [], "")
    asked = {
        TopicPartition(topic.topic, part.partition): (part.fetch_offset, part.current_leader_epoch)
        for topic in request.topics
        for part in topic.partitions
    }
    assert asked == {A0: (5, -1), A1: (0, -1), B0: (2**40, -1)}
    assert {part.partition_max_bytes for topic in request.topics for part in topic.partitions} == {PARTITION_BYTES}


def test_a_produce_is_what_the_library_reads() -> None:
    request = ProduceRequest.decode(produce({A1: b"one", B0: bytearray(b"two")}, 1.5), version=PRODUCE_VERSION)
    assert (request.acks, request.timeout_ms, request.transactional_id) == (1, 1_500, None)
    written = {
        TopicPartition(topic.name, part.index): bytes(part.records)
        for topic in request.topic_data
        for part in topic.partition_data
    }
    assert written == {A1: b"one", B0: b"two"}


@pytest.mark.parametrize(
    ("request_class", "api", "version"),
    [(FetchRequest, FETCH, FETCH_VERSION), (ProduceRequest, PRODUCE, PRODUCE_VERSION)],
)
def test_a_requests_head_is_what_the_library_reads(request_class: type[FetchRequest], api: int, version: int) -> None:
    request = framed(api, version, 2**31 - 1, b"body")
    assert int.from_bytes(request[:4], "big") == len(request) - 4
    rest = BytesIO(request[4:])
    header = request_class.parse_header(rest, version=version)
    assert (header.request_api_key, header.request_api_version) == (api, version)
    assert (header.correlation_id, header.client_id) == (2**31 - 1, "belfry")
    assert rest.read() == b"body"


def test_an_answer_to_fetch() -> None:
    told = fetched(
        fetch_answer(250, 0, 9, **{"a": [(0, 0, 12, b"records"), (1, 6, -1, b"")], "b.messages": [(0, 0, 3, b"")]})
    )
    assert (told.throttle, told.error, told.session) == (0.25, 0, 9)
    assert [(one.part, one.error, one.end, one.records) for one in told.parts] == [
        (A0, 0, 12, b"records"), (A1, 6, -1, b""), (B0, 0, 3, b""),
    ]  # fmt: skip
    assert fetched(fetch_answer(error=70, session=0)).error == 70


def test_an_answer_to_produce() -> None:
    errors, throttle = produced(produce_answer(40, **{"a": [(0, 0), (1, 10)], "b.messages": [(0, 6)]}))
    assert errors == {A0: 0, A1: 10, B0: 6}
    assert throttle == 0.04


def test_what_is_no_answer_is_refused_and_nothing_else_is_raised() -> None:
    whole = [fetch_answer(a=[(0, 0, 12, b"records" * 9)]), produce_answer(a=[(0, 0), (1, 0)])]
    for answer, read in zip(whole, (fetched, produced), strict=True):
        for size in range(len(answer)):
            with pytest.raises(KafkaProtocolError):
                read(answer[:size])
    dice = random.Random(27)
    refused = 0
    for _ in range(2_000):
        answer = bytearray(dice.choice(whole))
        answer[dice.randrange(len(answer))] = dice.randrange(256)
        for read in (fetched, produced):
            try:
                read(bytes(answer))
            except KafkaProtocolError:
                refused += 1
    assert refused > 2_000  # one of the two is the wrong way of reading it
