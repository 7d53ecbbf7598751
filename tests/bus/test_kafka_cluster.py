"""The Kafka bus on brokers that are not one and not open: leaders apart and moving, TLS and passwords."""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING

import pytest
import trio
from kafka import KafkaAdminClient, TopicPartition
from kafka.net.transport import KafkaSSLTransport

from bus import kafka_reader, kafka_writer
from bus.events import Committed
from bus.kafka import KafkaBus
from bus.kafka_brokers import Brokers
from bus.kafka_link import AWAY
from bus.kafka_topics import make_topics
from bus.topics import MESSAGES, TOPICS
from bus.url import KafkaUrl, parse_url
from compose.services import Kafka
from compose.services.ports import HOST, free_port
from tests.bus.conftest import WAIT, admin_do, do, running, told, until_proved, url_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.bus.conftest import Heard

ROOMS = [f"room{number}" for number in range(40)]  # some of them in each partition


class Another(Kafka):
    """A second broker of the first one's cluster."""

    def __init__(self, directory: Path, first: Kafka) -> None:
        super().__init__(directory)
        self.cluster = first.cluster
        self.controller_port = first.controller_port

    def properties(self) -> str:
        given = super().properties()
        for line, becomes in {
            "process.roles=broker,controller": "process.roles=broker",
            "node.id=1": "node.id=2",
            f",CONTROLLER://{HOST}:{self.controller_port}\n": "\n",
        }.items():
            assert line in given
            given = given.replace(line, becomes, 1)
        return given


class Guarded(Kafka):
    """A broker that speaks TLS only, and only with whom it knows."""

    def properties(self) -> str:
        given = super().properties()
        inner = free_port()  # brokers among themselves
        for name in ("listeners", "advertised.listeners"):
            line = f"\n{name}=PLAINTEXT://{HOST}:{self.port}"
            assert line in given
            given = given.replace(line, f"\n{name}=PLAINTEXT://{HOST}:{inner},SASL_SSL://{HOST}:{self.port}")
        login = "org.apache.kafka.common.security"
        return given + (
            "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT\n"
            "inter.broker.listener.name=PLAINTEXT\n"
            "sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512\n"
            f"ssl.keystore.type=PEM\nssl.keystore.location={self.directory}/both.pem\n"
            "listener.name.sasl_ssl.plain.sasl.jaas.config="
            f'{login}.plain.PlainLoginModule required user_belfry="p%:@ss";\n'
            f"listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config={login}.scram.ScramLoginModule required;\n"
            f"listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config={login}.scram.ScramLoginModule required;\n"
        )

    def more_format_options(self) -> Sequence[str]:
        return [f"--add-scram=SCRAM-SHA-{bits}=[name=belfry,password=p%:@ss]" for bits in (256, 512)]

    def prepare(self) -> None:
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
             "-addext", f"subjectAltName=IP:{HOST}", "-keyout", "key.pem", "-out", "cert.pem"],
            cwd=self.directory, check=True, capture_output=True,
        )  # fmt: skip
        both = (self.directory / "key.pem").read_text() + (self.directory / "cert.pem").read_text()
        (self.directory / "both.pem").write_text(both)
        super().prepare()


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Kafka, Another]]:
    with Kafka(tmp_path_factory.mktemp("first")) as first, Another(tmp_path_factory.mktemp("another"), first) as other:
        yield first, other


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    with Guarded(tmp_path_factory.mktemp("guarded")) as broker:
        yield broker


def leaders(url: KafkaUrl) -> dict[int, int]:
    """Which node leads each partition of the messages."""
    brokers = Brokers(url, [url.prefix + topic.name for topic in TOPICS])
    try:
        return {
            number: brokers.channel(TopicPartition(url.prefix + MESSAGES.name, number)).node
            for number in range(MESSAGES.partitions)
        }
    finally:
        brokers.close()


def move(url: KafkaUrl, node: int) -> None:
    """Have one node lead all partitions of the messages."""
    admin = KafkaAdminClient(bootstrap_servers=list(url.brokers))
    parts = [TopicPartition(url.prefix + MESSAGES.name, number) for number in range(MESSAGES.partitions)]
    refused = admin.alter_partition_reassignments({part: [node] for part in parts})
    admin.close()
    assert not any(refused.values()), refused


async def speak_in_all(one: KafkaBus, heard: Heard, seq: int) -> None:
    """Speak in every room until all of it has been heard: what goes while a leader moves may be lost."""
    expected = {(room, seq) for room in ROOMS}

    async def again_and_again() -> None:
        while True:
            for room in ROOMS:
                one.publish(Committed(room, 1, "k3f9", seq, [b"{}"]))
            await trio.sleep(0.5)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(again_and_again)
        await heard.until(
            lambda: {(e.room, e.first_seq) for _, e in heard.events if isinstance(e, Committed)} >= expected
        )
        nursery.cancel_scope.cancel()


# --- several brokers ---------------------------------------------------------------------------------------------


async def test_leaders_apart_are_all_read_and_written(two: tuple[Kafka, Another]) -> None:
    url = url_of(two[0])
    await trio.to_thread.run_sync(make_topics, url)
    assert set((await trio.to_thread.run_sync(leaders, url)).values()) == {1, 2}
    one, other = KafkaBus(url, "s1"), KafkaBus(url, "s2")
    async with running(one), running(other) as heard:
        for commit in range(50):
            for room in ROOMS:
                one.publish(Committed(room, 1, "k3f9", commit, [b"{}"]))
            await trio.sleep(0.01)
        await heard.until_count(50 * len(ROOMS))
    for room in ROOMS:
        seqs = [e.first_seq for _, e in heard.events if isinstance(e, Committed) and e.room == room]
        assert seqs == list(range(50))
    assert (one.counts.lost, other.counts.reconnects) == (0, 0)


async def test_it_follows_leaders_that_move(two: tuple[Kafka, Another]) -> None:
    url = url_of(two[0])
    one, other = KafkaBus(url, "s1"), KafkaBus(url, "s2")
    async with running(one), running(other) as heard:
        await speak_in_all(one, heard, 1)
        for seq, node in enumerate((2, 1), 2):
            await trio.to_thread.run_sync(move, url, node)
            with trio.fail_after(WAIT):
                while set((await trio.to_thread.run_sync(leaders, url)).values()) != {node}:  # noqa: ASYNC110
                    await trio.sleep(0.1)
            await speak_in_all(one, heard, seq)


async def test_one_of_two_brokers_dies_and_comes_back(
    two: tuple[Kafka, Another], caplog: pytest.LogCaptureFixture
) -> None:
    url = url_of(two[0])
    one, other = KafkaBus(url, "s1"), KafkaBus(url, "s2")
    async with running(one), running(other) as heard:
        await speak_in_all(one, heard, 1)
        await trio.to_thread.run_sync(two[1].kill)
        with trio.fail_after(WAIT):  # what only some rooms would hear is no bus: all are looked after by the store
            while not (one.quiet() > AWAY and other.quiet() > AWAY):  # noqa: ASYNC110
                await trio.sleep(0.05)
        await trio.to_thread.run_sync(two[1].start)
        await until_proved(one)
        await until_proved(other)
        await speak_in_all(one, heard, 2)
    assert len(told(caplog, "is away")) >= 2
    assert told(caplog, "kafka-python") == []


async def test_with_two_copies_the_bus_comes_back_without_the_dead_broker(
    two: tuple[Kafka, Another], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_reader, "GROWTH", 0.3)  # it looks around again and again, where one does not answer
    monkeypatch.setattr(kafka_writer, "METADATA", 0.3)
    url = url_of(two[0])
    wanted = {
        url.prefix + topic.name: {
            "num_partitions": topic.partitions, "replication_factor": 2, "configs": topic.settings,
        }
        for topic in TOPICS
    }  # fmt: skip
    await do(admin_do, url, "create_topics", wanted)
    one, other = KafkaBus(url, "s1"), KafkaBus(url, "s2")
    async with running(one), running(other) as heard:
        await speak_in_all(one, heard, 1)
        await do(two[1].kill)
        await speak_in_all(one, heard, 2)
        await until_proved(one)
        await trio.sleep(2.0)
        await speak_in_all(one, heard, 3)
    await do(two[1].start)


# --- brokers that are not open -----------------------------------------------------------------------------------


@pytest.mark.parametrize("sasl", ["plain", "scram-sha-256", "scram-sha-512"])
async def test_tls_and_a_password(guarded: Guarded, sasl: str) -> None:
    url = parse_url(
        f"kafka://belfry:p%25%3A%40ss@{guarded.address}?prefix={sasl}.&sasl={sasl}"
        f"&tls=verify&ca={guarded.directory}/cert.pem"
    )
    assert isinstance(url, KafkaUrl)
    one, other = KafkaBus(url, "s1"), KafkaBus(url, "s2")
    bodies = [b"%07d" % number + b"x" * 100_000 for number in range(30)]  # TLS cuts them into many pieces
    async with running(one), running(other) as heard:
        one.publish(Committed("lobby", 1, "k3f9", 5, bodies))
        await heard.until(lambda: len(heard_in_lobby(heard)) == 30)
        await speak_in_all(one, heard, 1)
    assert heard_in_lobby(heard) == bodies
    assert one.counts.lost == 0


def heard_in_lobby(heard: Heard) -> list[bytes]:
    """The lobby's bodies as they came first: where a broker's answer is late, what it has taken is sent once more."""
    found = (event for _, event in heard.events if isinstance(event, Committed) and event.room == "lobby")
    return list(dict.fromkeys(body for event in found for body in event.bodies))


@pytest.mark.parametrize(
    ("who", "options", "why"),
    [
        ("belfry:wrong@", "tls=required&sasl=plain", "SaslAuthenticationFailedError: Authentication failed"),
        (
            "belfry:p%25%3A%40ss@",
            "tls=verify&sasl=plain",
            "KafkaConnectionError: Handshake failed: [SSL: CERTIFICATE_VERIFY_FAILED]",
        ),
        ("belfry:p%25%3A%40ss@", "sasl=plain", "no broker answers"),  # it hangs up on whoever speaks no TLS
    ],
)
async def test_who_is_not_let_in_says_why(
    guarded: Guarded, caplog: pytest.LogCaptureFixture, who: str, options: str, why: str
) -> None:
    url = parse_url(f"kafka://{who}{guarded.address}?{options}")
    assert isinstance(url, KafkaUrl)
    bus = KafkaBus(url, "s1")
    async with running(bus, proved=False) as heard:
        # A broker whose first handshake takes a second has not said why at first; each reason is told.
        await heard.until(lambda: any(f"is away ({why}" in line for line in told(caplog)))


async def test_a_refusal_is_heard_that_came_together_with_the_end_of_the_connection(
    guarded: Guarded, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    receive = KafkaSSLTransport._sock_recv

    def late(transport: KafkaSSLTransport) -> tuple[bytes, Exception | None]:
        time.sleep(0.1)  # the broker says no and hangs up in one
        found: tuple[bytes, Exception | None] = receive(transport)
        return found

    monkeypatch.setattr(KafkaSSLTransport, "_sock_recv", late)
    url = parse_url(f"kafka://belfry:wrong@{guarded.address}?tls=required&sasl=plain")
    assert isinstance(url, KafkaUrl)
    async with running(KafkaBus(url, "s1"), proved=False) as heard:
        why = "SaslAuthenticationFailedError: Authentication failed"
        await heard.until(lambda: any(f"is away ({why}" in line for line in told(caplog)))
