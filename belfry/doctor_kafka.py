"""What `belfry doctor` and `belfry bus status` say of the brokers: reached, records, and each topic."""

from __future__ import annotations

from typing import TYPE_CHECKING

from belfry.findings import Check
from bus.records import BYTES
from bus.topics import TOPICS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bus.kafka_topics import Found, Survey
    from bus.topics import Topic
    from bus.url import KafkaUrl

ENVELOPE = 10_000  # bytes around a record's events: headers, keys, the batch


def examine(url: KafkaUrl) -> Iterator[Check]:
    """All checks, one after the other."""
    from kafka.errors import KafkaError

    from bus.kafka_client import why
    from bus.kafka_topics import survey

    try:
        seen = survey(url)
    except (KafkaError, OSError) as error:
        says = f"{why(error)} at {url}"
        yield Check("bus", "fail", says, "start it, or look at --bus; until then servers go on through the database")
        return
    yield Check("bus", "ok", f"{seen.brokers} {'broker' if seen.brokers == 1 else 'brokers'} at {url}")
    yield records(seen)
    for topic in TOPICS:
        yield of_topic(topic, seen, url)


def records(seen: Survey) -> Check:
    """Whether what we send is taken."""
    says = f"up to {seen.largest_record:,} bytes are taken"
    if seen.largest_record >= BYTES + ENVELOPE:
        return Check("bus records", "ok", f"{says}, {BYTES + ENVELOPE:,} are the most we send")
    do = f"set message.max.bytes (broker) and max.message.bytes (topics) to {BYTES + ENVELOPE:,} or more"
    says += "; larger commits reach other servers by the database, up to 5 s later"
    return Check("bus records", "warn", says, do)


def of_topic(topic: Topic, seen: Survey, url: KafkaUrl) -> Check:
    """Whether a topic is there and as it should be."""
    name = f"bus {topic.name}"
    found = seen.found.get(topic.name)
    make = f"`belfry bus make --bus {url}`"
    if found is None:
        return Check(name, "warn", f"{url.prefix}{topic.name} is missing", f"the first server makes it, or {make}")
    if found.leaderless:
        says = f"{found.leaderless} of {found.partitions} partitions have no leader"
        return Check(name, "fail", says, "look at the brokers: one that held them is gone")
    if differs := _differences(found):
        return Check(name, "warn", differs, f"{make} sets it")
    if found.in_sync < found.replicas:
        says = f"{found.in_sync} of {found.replicas} copies are in sync"
        return Check(name, "warn", says, "look at the brokers: one is away or behind")
    partitions = "1 partition" if found.partitions == 1 else f"{found.partitions} partitions"
    says = f"{partitions}, {found.replicas} {'copy' if found.replicas == 1 else 'copies'}"
    if found.replicas == 1 < seen.brokers:
        do = "give it two with kafka-reassign-partitions.sh; default.replication.factor is for new ones"
        return Check(name, "warn", f"{says}: events stop while its broker is away", do)
    return Check(name, "ok", f"{says}, kept {_time(topic.retention)}")


def _differences(found: Found) -> str:
    from bus.kafka_topics import differing

    said = [f"{key} is {found.settings.get(key, 'unset')}, not {found.topic.settings[key]}" for key in differing(found)]
    if found.partitions < found.topic.partitions:
        said.insert(0, f"{found.partitions} partitions, not {found.topic.partitions}")
    return ", ".join(said)


def _time(seconds: int) -> str:
    return f"{seconds // 3_600} h" if seconds >= 3_600 else f"{seconds // 60} min"
