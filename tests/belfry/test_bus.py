"""`belfry bus` and what doctor says of brokers: found, made, mended, each with what to do."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from belfry.cli import main
from belfry.doctor_kafka import of_topic, records
from bus.kafka_topics import Found, Survey, survey
from bus.topics import MESSAGES, SERVERS, TOPICS
from bus.url import KafkaUrl, parse_url
from compose.services.ports import free_port

if TYPE_CHECKING:
    from compose.services import Kafka

# A client of kafka-python that is closed while it connects leaves that socket to the garbage collector, which warns.
pytestmark = pytest.mark.filterwarnings("ignore:.*<socket.socket.*raddr=:pytest.PytestUnraisableExceptionWarning")

URL = KafkaUrl(("h:9092",))
GOOD = Found(MESSAGES, 4, 2, 2, 0, MESSAGES.settings)


def of(found: Found, brokers: int = 3) -> str:
    check = of_topic(MESSAGES, Survey(brokers, {"messages": found}, 1_048_588), URL)
    return f"{check.level} {check.says}; {check.do}"


def test_topics() -> None:
    assert of(GOOD).startswith("ok 4 partitions, 2 copies, kept 10 min")
    assert of(replace(GOOD, replicas=1, in_sync=1), 1).startswith("ok")
    assert "kafka-reassign-partitions" in of(replace(GOOD, replicas=1, in_sync=1))
    assert of(replace(GOOD, in_sync=1)).startswith("warn 1 of 2 copies are in sync")
    assert of(replace(GOOD, leaderless=1)).startswith("fail 1 of 4 partitions have no leader")
    few = of(replace(GOOD, partitions=1, settings=MESSAGES.settings | {"retention.ms": "1"}))
    assert few.startswith(
        "warn 1 partitions, not 4, retention.ms is 1, not 600000; `belfry bus make --bus kafka://h:9092`"
    )
    missing = of_topic(MESSAGES, Survey(1, {}, 1), URL)
    assert (missing.level, "belfry bus make" in missing.do) == ("warn", True)


def test_the_order_of_policies_is_no_difference() -> None:
    settings = SERVERS.settings | {"cleanup.policy": "delete,compact"}
    check = of_topic(SERVERS, Survey(1, {"servers": Found(SERVERS, 1, 1, 1, 0, settings)}, 1), URL)
    assert check.level == "ok"


def test_records() -> None:
    assert records(Survey(1, {}, 1_048_588)).level == "ok"
    small = records(Survey(1, {}, 100_000))
    assert small.level == "warn"
    assert "message.max.bytes" in small.do


def test_a_real_broker_is_found_wanting_and_mended(kafka_server: Kafka, capsys: pytest.CaptureFixture[str]) -> None:
    from kafka import KafkaAdminClient

    bus = f"{kafka_server.url}?prefix=wanting."
    admin = KafkaAdminClient(bootstrap_servers=[kafka_server.address])
    admin.create_topics({"wanting.messages": {"num_partitions": 1, "configs": {"retention.ms": "5000"}}})
    admin.close()
    assert main(["bus", "status", "--bus", bus, "--json"]) == 1
    levels = {check["name"]: check["level"] for check in json.loads(capsys.readouterr().out)["checks"]}
    assert levels == {
        "bus": "ok", "bus records": "ok", "bus messages": "warn", "bus presence": "warn", "bus control": "warn",
        "bus servers": "warn",
    }  # fmt: skip
    assert main(["bus", "make", "--bus", bus]) == 0
    said = capsys.readouterr().err
    assert "made wanting.presence" in said
    assert "gave wanting.messages 4 partitions, it had 1" in said
    assert "set retention.ms of wanting.messages to 600000" in said
    assert main(["bus", "make", "--bus", bus]) == 0
    assert "nothing to do" in capsys.readouterr().err
    assert main(["bus", "status", "--bus", bus]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2 + len(TOPICS)
    url = parse_url(bus)
    assert isinstance(url, KafkaUrl)
    assert survey(url).found["servers"].settings["cleanup.policy"] in ("compact,delete", "delete,compact")


def test_no_broker_is_one_line_with_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    bus = f"kafka://127.0.0.1:{free_port()}"
    assert main(["bus", "status", "--bus", bus]) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("fail  bus          no broker answers at kafka://127.0.0.1:")
    assert main(["bus", "make", "--bus", bus]) == 1
    assert capsys.readouterr().err == f"belfry: {bus}: no broker answers\n"
