"""Bus addresses: what they mean, and one line for what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from bus.url import BadUrl, BusUrl, KafkaUrl, MemoryUrl, parse_url


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("memory:", MemoryUrl()),
        ("kafka://h", KafkaUrl(("h:9092",))),
        ("kafka://h:1,i:2,h:1/", KafkaUrl(("h:1", "i:2"))),
        ("kafka://[::1]:7,10.0.0.1", KafkaUrl(("[::1]:7", "10.0.0.1:9092"))),
        ("kafka://h?prefix=east.", KafkaUrl(("h:9092",), "east.")),
        ("kafka://me:p%40%2F%3F:w@h", KafkaUrl(("h:9092",), user="me", password="p@/?:w")),
        ("kafka://me:w@h?sasl=plain&tls=required", KafkaUrl(("h:9092",), user="me", password="w", sasl="PLAIN",
                                                            tls="required")),
        ("kafka://h?tls=verify&ca=/etc/ca.pem", KafkaUrl(("h:9092",), tls="verify", ca=Path("/etc/ca.pem"))),
    ],
)  # fmt: skip
def test_good_ones(text: str, means: BusUrl) -> None:
    assert parse_url(text) == means


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "memory:"),
        ("memory", "no bus is reached by 'memory'"),
        ("memory://x", "no bus is reached by 'memory'"),
        ("rabbit://h", "no bus is reached by 'rabbit'"),
        ("kafka:h:1", "kafka://host:port"),
        ("kafka://", "not host or host:port"),
        ("kafka://h:", "not host or host:port"),
        ("kafka://h:0", "not host or host:port"),
        ("kafka://h:65536", "not host or host:port"),
        ("kafka://h,,i", "not host or host:port"),
        ("kafka://h/topic", "not host or host:port"),
        ("kafka://:hunter2@h", "no user before it"),
        ("kafka://me:hunter2@h:x", "not host or host:port"),
        ("kafka://me:hunter2@h?tls=yes", "tls in a Kafka URL"),
        ("kafka://me:hunter2@h?ca=/x", "stands beside tls=verify"),
        ("kafka://me:hunter2@h?sasl=gssapi", "sasl in a Kafka URL is"),
        ("kafka://h?sasl=plain", "needs a user"),
        ("kafka://h?prefix=a/b", "prefix in a Kafka URL"),
        ("kafka://h?prefix=", "prefix in a Kafka URL"),
        ("kafka://me:hunter2?x@h", "only prefix=NAME"),
    ],
)
def test_bad_ones_are_one_line_without_the_password(text: str, words: str) -> None:
    with pytest.raises(BadUrl) as told:
        parse_url(text)
    assert words in str(told.value)
    assert "\n" not in str(told.value)
    assert "hunter2" not in str(told.value)


def test_shown_without_the_password() -> None:
    url = parse_url("kafka://me:hunter2@h:1,i?prefix=east.")
    assert str(url) == "kafka://me:***@h:1,i:9092?prefix=east."
    assert "hunter2" not in repr(url)
    assert str(MemoryUrl()) == "memory:"
