"""The Kafka bus where the memory one cannot fail: the broker away, topics and records and readers gone wrong."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import trio
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType

from bus import kafka_reader
from bus.events import Asked, Committed, Typing
from bus.kafka import KafkaBus
from bus.kafka_link import AWAY, PING
from bus.kafka_topics import make_topics
from bus.topics import MESSAGES, PRESENCE, TOPICS
from bus.url import KafkaUrl
from compose.services import Kafka
from compose.services.ports import free_port
from tests.bus.conftest import WAIT, running, told, until_proved, url_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bus.events import Event


# A client of kafka-python that is closed while it connects leaves that socket to the garbage collector, which warns.
pytestmark = pytest.mark.filterwarnings("ignore:.*<socket.socket.*raddr=:pytest.PytestUnraisableExceptionWarning")

START = 100.0  # seconds a broker may take to start again; 3 are common, and its own bound is 90


@pytest.fixture(scope="module")
def own_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    with Kafka(tmp_path_factory.mktemp("kafka")) as broker:
        yield broker


@pytest.fixture
def mortal(own_broker: Kafka) -> Kafka:
    """A broker that may be killed and paused; it runs when a test begins."""
    own_broker.resume()
    if not own_broker.is_running:
        own_broker.start()
    return own_broker


class Root(logging.Handler):
    """What a server's log would get."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        self.names.add(record.name)


@pytest.fixture
def root() -> Iterator[Root]:
    handler = Root()
    logging.getLogger().addHandler(handler)
    yield handler
    logging.getLogger().removeHandler(handler)


async def until(true: Callable[[], bool]) -> None:
    with trio.fail_after(WAIT):
        while not true():  # noqa: ASYNC110  # nothing tells of it
            await trio.sleep(0.02)


async def do(work: Callable[..., Any], *arguments: Any) -> Any:
    with trio.fail_after(START):
        return await trio.to_thread.run_sync(work, *arguments)


def alter(url: KafkaUrl, topic: str, **settings: str) -> None:
    admin = KafkaAdminClient(bootstrap_servers=list(url.brokers))
    named = {name.replace("_", "."): value for name, value in settings.items()}
    admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, url.prefix + topic, named)])
    admin.close()


def admin_do(url: KafkaUrl, verb: str, *arguments: Any) -> None:
    admin = KafkaAdminClient(bootstrap_servers=list(url.brokers))
    getattr(admin, verb)(*arguments)
    admin.close()


def send_raw(url: KafkaUrl, topic: str, values: Sequence[bytes], headers: list[tuple[str, bytes]]) -> None:
    """Records as any other program would write them."""
    producer = KafkaProducer(bootstrap_servers=list(url.brokers), batch_size=262_144)
    for value in values:
        producer.send(url.prefix + topic, value=value, headers=headers, partition=0)
    producer.flush(WAIT)
    producer.close(timeout=WAIT)


# --- the broker away ---------------------------------------------------------------------------------------------


async def test_it_runs_and_stops_without_a_broker_and_says_so_once(
    caplog: pytest.LogCaptureFixture, root: Root
) -> None:
    bus = KafkaBus(KafkaUrl((f"127.0.0.1:{free_port()}",)), "s1")
    before = threading.active_count()
    async with running(bus, proved=False) as heard:
        bus.publish(Asked("lobby"))
        await until(lambda: told(caplog, "is away") != [])
        await trio.sleep(2 * (kafka_reader.RETRY + 1.0))  # tries go on, and are not told
        assert bus.quiet() > PING
    assert root.names == {"belfry.bus.kafka"}
    assert len(told(caplog)) == 1
    assert "no broker answers" in told(caplog)[0]
    assert heard.events == []
    assert heard.missed == 0
    # Threads of ours are kept by Trio for others; each client's own must be gone.
    assert not [thread.name for thread in threading.enumerate() if "belfry" in thread.name]
    assert threading.active_count() <= before + 2


async def test_it_finds_a_broker_that_starts_later(mortal: Kafka) -> None:
    await do(mortal.kill)
    one, two = (KafkaBus(url, name) for url in [url_of(mortal)] for name in ("s1", "s2"))
    async with running(one, proved=False), running(two, proved=False) as heard:
        await trio.sleep(1.0)
        await do(mortal.start)
        await until_proved(one)
        await until_proved(two)
        one.publish(Asked("lobby"))
        await heard.until_count(1)
        await heard.until(lambda: heard.missed > 0)


async def test_it_stops_while_the_broker_is_paused(mortal: Kafka) -> None:
    one = KafkaBus(url_of(mortal), "s1")
    async with running(one):
        await do(mortal.pause)
        one.publish(Asked("unheard"))
        await until(lambda: one.quiet() > AWAY)
    two = KafkaBus(one._url, "s2")  # and one that has never seen it awake
    async with running(two, proved=False):
        await trio.sleep(1.5)
    assert not [thread.name for thread in threading.enumerate() if "belfry" in thread.name]
    mortal.resume()


@pytest.mark.parametrize("how", ["kill", "pause"])
async def test_it_comes_back_with_the_broker(
    mortal: Kafka, caplog: pytest.LogCaptureFixture, root: Root, how: str
) -> None:
    url = url_of(mortal)
    one, two = KafkaBus(url, "s1"), KafkaBus(url, "s2")
    async with running(one), running(two) as heard:
        await heard.until(lambda: heard.missed > 0)
        missed, before = heard.missed, two.counts.reconnects
        caplog.clear()
        await do(mortal.kill if how == "kill" else mortal.pause)
        await until(lambda: two.quiet() > AWAY and one.quiet() > AWAY)
        await until(lambda: len(told(caplog, "is away")) >= 2)
        one.publish(Asked("meanwhile"))
        await do(mortal.start if how == "kill" else mortal.resume)
        await until_proved(one)
        await until_proved(two)
        await heard.until(lambda: heard.missed > missed)
        one.publish(Asked("after"))
        await heard.until(lambda: ("s1", Asked("after")) in heard.events)
    # How often on a machine so slow that it goes away by itself is not ours to say; that each is told once, TestLink's.
    assert len(told(caplog, "is back, after")) >= 2
    assert two.counts.reconnects > before
    assert root.names == {"belfry.bus.kafka"}
    assert told(caplog, "kafka-python") == []


# --- topics ------------------------------------------------------------------------------------------------------


async def test_missing_topics_are_made_as_the_table_has_them(kafka_url: KafkaUrl) -> None:
    async with running(KafkaBus(kafka_url, "s1")), running(KafkaBus(kafka_url, "s2")):
        counts = await do(make_topics, kafka_url)
    assert counts == {topic: topic.partitions for topic in TOPICS}


async def test_a_topic_that_is_refused_is_one_line_with_the_command(
    kafka_url: KafkaUrl, caplog: pytest.LogCaptureFixture
) -> None:
    # To Kafka "a.b" and "a_b" are one name in its metrics, so it refuses the second.
    in_the_way = kafka_url.prefix.replace(".", "_") + "messages"
    await do(admin_do, kafka_url, "create_topics", {in_the_way: {}})
    bus = KafkaBus(kafka_url, "s1")
    async with running(bus, proved=False):
        await until(lambda: told(caplog, "is away") != [])
        (line,) = told(caplog, "is away")
        assert f"{kafka_url.prefix}messages is missing" in line
        assert f"belfry bus make --bus {kafka_url}" in line
        await do(admin_do, kafka_url, "delete_topics", [in_the_way])
        await until_proved(bus)


async def test_topics_that_are_deleted_under_it_are_made_anew(
    kafka_url: KafkaUrl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_reader, "LOST", 1.0)
    monkeypatch.setattr(kafka_reader, "GROWTH", 0.5)
    one, two = KafkaBus(kafka_url, "s1"), KafkaBus(kafka_url, "s2")
    async with running(one) as told_one, running(two) as heard:
        await until(lambda: told_one.missed > 0 and heard.missed > 0)
        before = told_one.missed, heard.missed
        await do(admin_do, kafka_url, "delete_topics", [kafka_url.prefix + topic.name for topic in TOPICS])
        await until(lambda: told_one.missed > before[0] and heard.missed > before[1])  # both have begun anew
        await until_proved(one)
        await until_proved(two)
        one.publish(Asked("lobby"))
        await heard.until_count(1)


async def test_more_partitions_are_read_too(kafka_url: KafkaUrl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_reader, "GROWTH", 0.2)
    one, two = KafkaBus(kafka_url, "s1"), KafkaBus(kafka_url, "s2")
    async with running(one), running(two) as heard:
        missed = heard.missed
        await do(admin_do, kafka_url, "create_partitions", {kafka_url.prefix + MESSAGES.name: 6})
        await heard.until(lambda: heard.missed > missed)  # it began anew
        third = KafkaBus(kafka_url, "s3")  # knows of all six
        async with running(third):
            rooms = {f"room{number}" for number in range(50)}  # some of them in each of the six

            async def again_and_again() -> None:
                while True:  # who begins anew hears what comes from then on: which is when, nobody tells
                    for room in rooms:
                        third.publish(Committed(room, 1, "k3f9", 1, [b"{}"]))
                    await trio.sleep(0.3)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(again_and_again)
                await heard.until(lambda: {event.room for _, event in heard.events} >= rooms)
                nursery.cancel_scope.cancel()


# --- records -----------------------------------------------------------------------------------------------------


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


# --- without a broker --------------------------------------------------------------------------------------------


def test_an_outage_keeps_only_what_is_young() -> None:
    bus = KafkaBus(KafkaUrl(("h:1",)), "s1")
    for number in range(20_000):
        bus.publish(Asked(str(number)))
    assert bus.counts.lost == 10_000
    assert bus._writer._waiting[0][1] == Asked("10000")
