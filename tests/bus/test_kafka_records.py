"""Records on the Kafka bus: large ones, many, refused ones, unreadable ones, and more than a reader wants."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import msgspec
import trio
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType

from bus import kafka_reader
from bus.events import Asked, Committed, Typing
from bus.kafka import KafkaBus
from bus.topics import MESSAGES, PRESENCE
from tests.bus.conftest import WAIT, do, running, told, until, until_proved

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytest

    from bus.events import Event
    from bus.url import KafkaUrl


def alter(url: KafkaUrl, topic: str, **settings: str) -> None:
    admin = KafkaAdminClient(bootstrap_servers=list(url.brokers))
    named = {name.replace("_", "."): value for name, value in settings.items()}
    admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, url.prefix + topic, named)])
    admin.close()


def send_raw(url: KafkaUrl, topic: str, values: Sequence[bytes], headers: list[tuple[str, bytes]]) -> None:
    """Records as any other program would write them."""
    producer = KafkaProducer(bootstrap_servers=list(url.brokers), batch_size=262_144)
    for value in values:
        producer.send(url.prefix + topic, value=value, headers=headers, partition=0)
    producer.flush(WAIT)
    producer.close(timeout=WAIT)


async def test_a_commit_larger_than_a_record_comes_in_parts(kafka_url: KafkaUrl) -> None:
    one, two = KafkaBus(kafka_url, "s1"), KafkaBus(kafka_url, "s2")
    bodies = [b"%07d" % number + b"x" * 100_000 for number in range(30)]
    async with running(one), running(two) as heard:
        one.publish(Committed("lobby", 1, "k3f9", 5, bodies))
        await heard.until(lambda: sum(len(e.bodies) for _, e in heard.events if isinstance(e, Committed)) == 30)
    parts = [event for _, event in heard.events if isinstance(event, Committed)]
    assert len(parts) > 1
    assert [body for part in parts for body in part.bodies] == bodies
    assert [part.first_seq for part in parts] == [
        5 + sum(len(p.bodies) for p in parts[:at]) for at in range(len(parts))
    ]


async def test_much_at_once_arrives_whole_and_in_order(kafka_url: KafkaUrl) -> None:
    one, two = KafkaBus(kafka_url, "s1"), KafkaBus(kafka_url, "s2")
    async with running(one), running(two) as heard:
        for seq in range(1, 5_001):  # 5 MB in many requests
            one.publish(Committed("lobby", 1, "k3f9", seq, [b"x" * 1_000]))
        await heard.until_count(5_000)
    assert [event.first_seq for _, event in heard.events if isinstance(event, Committed)] == list(range(1, 5_001))
    assert one.counts.lost == 0


async def test_a_writer_that_meets_the_brokers_anew_loses_nothing(kafka_url: KafkaUrl) -> None:
    one, two = KafkaBus(kafka_url, "s1"), KafkaBus(kafka_url, "s2")
    async with running(one), running(two) as heard:
        for seq in range(1, 301):
            one._writer.stale = seq in (100, 200)  # as the reader has it where pings do not come back
            one.publish(Committed("lobby", 1, "k3f9", seq, [b"{}"]))
            await trio.sleep(0.005)
        await heard.until(
            lambda: {e.first_seq for _, e in heard.events if isinstance(e, Committed)} >= {*range(1, 301)}
        )
    assert one.counts.lost == 0


def written(url: KafkaUrl, topic: str) -> int:
    """Records in a topic so far."""
    consumer = KafkaConsumer(bootstrap_servers=list(url.brokers), group_id=None)
    try:
        name = url.prefix + topic
        return sum(
            consumer.end_offsets([TopicPartition(name, at) for at in consumer.partitions_for_topic(name)]).values()
        )
    finally:
        consumer.close()


async def test_what_is_published_in_a_row_is_one_record(kafka_url: KafkaUrl) -> None:
    one, two = KafkaBus(kafka_url, "s1"), KafkaBus(kafka_url, "s2")
    async with running(one), running(two) as heard:
        before = await do(written, kafka_url, MESSAGES.name)
        for commit in range(20):
            for room in range(4):  # between a commit's rooms their members are written to
                one.publish(Committed(f"room{room}", 1, "k3f9", commit + 1, [b"{}"]))
                time.sleep(0.002)  # noqa: ASYNC251  # writes let other threads have a turn
            await heard.until_count(4 * (commit + 1))
        records = await do(written, kafka_url, MESSAGES.name) - before
    assert 20 <= records < 30  # the writer may have woken by itself meanwhile, for a ping
    assert [event.room for _, event in heard.events] == [f"room{room}" for room in range(4)] * 20


async def test_what_may_wait_goes_together(kafka_url: KafkaUrl) -> None:
    one, two = KafkaBus(kafka_url, "s1"), KafkaBus(kafka_url, "s2")
    async with running(one), running(two) as heard:
        before = await do(written, kafka_url, MESSAGES.name)
        one.publish(Committed("lobby", 1, "k3f9", 1, [b"{}"]), 3.0)
        await heard.until_count(1)  # nothing was sent for so long: it goes at once
        for seq in range(2, 22):
            one.publish(Committed("lobby", 1, "k3f9", seq, [b"{}"]), 3.0)
            await trio.sleep(0.02)
        await heard.until_count(21)  # nothing else is said
        assert await do(written, kafka_url, MESSAGES.name) - before <= 3  # where we paused for long, one more


async def test_what_may_wait_goes_with_what_may_not_and_before_the_end(kafka_url: KafkaUrl) -> None:
    one, two = KafkaBus(kafka_url, "s1"), KafkaBus(kafka_url, "s2")
    async with running(two) as heard:
        async with running(one):
            one.publish(Asked("lobby"))
            await heard.until_count(1)
            for seq in range(1, 6):
                one.publish(Committed("lobby", 1, "k3f9", seq, [b"{}"]), 1_000.0)
                await trio.sleep(0.1)  # pings go out meanwhile
            assert len(heard.events) == 1
            one.publish(Asked("lobby"))
            await heard.until_count(7)
            one.publish(Committed("lobby", 1, "k3f9", 6, [b"{}"]), 1_000.0)
        await heard.until_count(8)
    assert [event.first_seq for _, event in heard.events if isinstance(event, Committed)] == list(range(1, 7))


async def test_the_library_brings_no_thread_of_its_own(kafka_url: KafkaUrl) -> None:
    def clients_threads() -> list[str]:
        return [thread.name for thread in threading.enumerate() if "kafka-io" in thread.name]

    async with running(KafkaBus(kafka_url, "s1")):
        assert clients_threads() == []
        consumer = await do(lambda: KafkaConsumer(bootstrap_servers=list(kafka_url.brokers)))
        assert clients_threads() != []  # so they are named as we think
        await do(consumer.close)


async def test_a_record_the_broker_refuses_is_counted_told_once_and_the_next_arrives(
    kafka_url: KafkaUrl, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = KafkaBus(kafka_url, "s1"), KafkaBus(kafka_url, "s2")
    async with running(one), running(two) as heard:
        await do(lambda: alter(kafka_url, MESSAGES.name, max_message_bytes="10000"))
        one.publish(Committed("lobby", 1, "k3f9", 1, [b"x" * 50_000]))  # the broker refuses it
        one.publish(Committed("lobby", 1, "k3f9", 2, [b"x" * 2_000_000]))  # the library does
        await until(lambda: one.counts.lost == 2)
        one.publish(Committed("lobby", 1, "k3f9", 3, [b"{}"]))
        await heard.until_count(1)
    assert heard.events == [("s1", Committed("lobby", 1, "k3f9", 3, [b"{}"]))]
    (line,) = told(caplog, "refuse a record")
    assert "MessageSizeTooLarge" in line
    assert f"`belfry bus status --bus {kafka_url}`" in line


async def test_records_that_cannot_be_read_are_one_line(kafka_url: KafkaUrl, caplog: pytest.LogCaptureFixture) -> None:
    two = KafkaBus(kafka_url, "s2")
    newer = msgspec.msgpack.encode([{"t": "x"}, {"type": "not yet known", "room": "r"}, msgspec.Raw(_packed("r1"))])
    strange = [newer, b"\xc1", b"GET / HTTP/1.1", b"", b"\x91" * 5_000, b"\xdd\xff\xff\xff\xff", _packed_list("\ud800")]
    async with running(two) as heard:
        await do(send_raw, kafka_url, PRESENCE.name, strange, [("origin", b"s9")])
        await do(send_raw, kafka_url, PRESENCE.name, [_packed_list("nobody's")], [])
        await do(send_raw, kafka_url, PRESENCE.name, [_packed_list("last")], [("origin", b"\xff"), ("more", b"")])
        await heard.until(lambda: ("\ufffd", Typing("last", "u", "U")) in heard.events)
    assert heard.events == [("s9", Typing("r1", "u", "U")), ("\ufffd", Typing("last", "u", "U"))]
    assert two.counts.unreadable == 7  # of the nine one was empty and one good
    assert len(told(caplog, "cannot be read")) == 1


def _packed(room: str) -> bytes:
    return msgspec.msgpack.encode(Typing(room.replace("\ud800", "?"), "u", "U")).replace(b"?", b"\xed\xa0\x80"[:1])


def _packed_list(room: str) -> bytes:
    return msgspec.msgpack.encode([msgspec.Raw(_packed(room))])


async def test_a_reader_far_behind_skips_and_says_that_it_missed(
    kafka_url: KafkaUrl, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(kafka_reader, "LAG", 1_000)
    two = KafkaBus(kafka_url, "s2")
    told_all = threading.Event()
    heard: list[str] = []
    missed = 0

    def deliver(origin: str, events: Sequence[Event]) -> None:
        heard.extend(event.room for event in events)
        assert told_all.wait(WAIT)  # the whole event loop stands still, as after a SIGSTOP

    def miss() -> None:
        nonlocal missed
        missed += 1

    def tell() -> None:
        headers = [("origin", b"s9")]
        send_raw(kafka_url, PRESENCE.name, [_packed_list("first")], headers)
        time.sleep(0.5)  # seconds: until the reader is stuck with it
        send_raw(kafka_url, PRESENCE.name, [_packed_list("old")] * 5_000, headers)
        told_all.set()

    with trio.fail_after(2 * WAIT):
        async with trio.open_nursery() as nursery:
            await nursery.start(lambda task_status: two.run(deliver, miss, task_status=task_status))
            await until_proved(two)
            missed = 0
            thread = threading.Thread(target=tell)
            thread.start()
            await until(lambda: two.counts.skipped > 0)
            await until(lambda: missed > 0)
            thread.join()
            one = KafkaBus(kafka_url, "s1")
            async with running(one):
                one.publish(Asked("new"))
                await until(lambda: heard[-1] == "new")
            nursery.cancel_scope.cancel()
    assert two.counts.skipped > 3_000
    assert len(heard) < 2_000
    assert told(caplog, "behind in") != []
