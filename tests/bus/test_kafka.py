"""The Kafka bus where the memory one cannot fail: the broker away, and topics gone wrong."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

import pytest
import trio

from bus import kafka_reader
from bus.events import Asked, Committed
from bus.kafka import KafkaBus
from bus.kafka_link import AWAY, PING
from bus.kafka_topics import make_topics
from bus.topics import MESSAGES, TOPICS
from bus.url import KafkaUrl
from compose.services import Kafka
from compose.services.ports import free_port
from tests.bus.conftest import admin_do, do, running, told, until, until_proved, url_of

if TYPE_CHECKING:
    from collections.abc import Iterator


# A client of kafka-python that is closed while it connects leaves that socket to the garbage collector, which warns.
pytestmark = pytest.mark.filterwarnings("ignore:.*<socket.socket.*raddr=:pytest.PytestUnraisableExceptionWarning")


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


# --- without a broker --------------------------------------------------------------------------------------------


def test_an_outage_keeps_only_what_is_young() -> None:
    bus = KafkaBus(KafkaUrl(("h:1",)), "s1")
    for number in range(20_000):
        bus.publish(Asked(str(number)))
    assert bus.counts.lost == 10_000
    assert bus._writer._waiting[0][1] == Asked("10000")
