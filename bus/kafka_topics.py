"""The fleet's topics on a broker: made where they are missing, looked at, mended. Blocks; belongs into a thread."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kafka import KafkaAdminClient, KafkaConsumer
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import KafkaError, LeaderNotAvailableError, TopicAlreadyExistsError, for_code

from bus.kafka_client import REQUEST, made, why
from bus.topics import TOPICS, Topic

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kafka import TopicPartition

    from bus.url import KafkaUrl

_MISSING = 3  # Kafka's UNKNOWN_TOPIC_OR_PARTITION


class TopicsMissing(KafkaError):  # type: ignore[misc]  # the library has no types
    """Topics are missing and the broker does not let us make them; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Found:
    """A topic as the broker has it."""

    topic: Topic
    partitions: int
    replicas: int  # the fewest of its partitions
    in_sync: int  # the fewest of its partitions
    leaderless: int  # partitions without a leader
    settings: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Survey:
    """What there is on the brokers."""

    brokers: int
    found: dict[str, Found]  # by the topic's name without prefix
    largest_record: int  # bytes, the least that any broker or topic takes


def make_topics(url: KafkaUrl) -> dict[Topic, int]:
    """Make the topics that are missing; how many partitions each has. Raises KafkaError, among it TopicsMissing."""
    with _admin(url) as admin:
        there = _described(admin, url)
        missing = [topic for topic in TOPICS if topic.name not in there]
        if missing:
            _create(admin, url, missing)
        return {topic: there[topic.name].partitions if topic.name in there else topic.partitions for topic in TOPICS}


def ends_of(url: KafkaUrl, parts: list[TopicPartition]) -> tuple[dict[TopicPartition, int], dict[TopicPartition, int]]:
    """The offsets of each partition's oldest record and of the one to be written next. Raises KafkaError."""
    consumer = made(KafkaConsumer, url, group_id=None, allow_auto_create_topics=False, metrics_enabled=False)
    try:
        first = consumer.beginning_offsets(parts, timeout_ms=int(REQUEST * 1_000))
        return first, consumer.end_offsets(parts, timeout_ms=int(REQUEST * 1_000))
    except KeyError as part:  # the library's way to say that the partition's leader did not answer
        raise LeaderNotAvailableError(f"nobody leads {part}") from None
    finally:
        consumer.close(autocommit=False, timeout_ms=0)


def survey(url: KafkaUrl) -> Survey:
    """Everything `belfry doctor` wants to know. Raises KafkaError."""
    with _admin(url) as admin:
        brokers = [broker["broker_id"] for broker in admin.describe_cluster()["brokers"]]
        there = _described(admin, url)
        asked = [ConfigResource(ConfigResourceType.BROKER, str(broker), ["message.max.bytes"]) for broker in brokers]
        asked += [ConfigResource(ConfigResourceType.TOPIC, url.prefix + name, None) for name in there]
        told = admin.describe_configs(asked, config_filter="all")
        largest = [int(one["message.max.bytes"]["value"]) for one in told["broker"].values()]
        found = {}
        for name, one in there.items():
            settings = {key: str(value["value"]) for key, value in told["topic"][url.prefix + name].items()}
            largest.append(int(settings["max.message.bytes"]))
            found[name] = Found(one.topic, one.partitions, one.replicas, one.in_sync, one.leaderless, settings)
        return Survey(len(brokers), found, min(largest))


def mend(url: KafkaUrl) -> list[str]:
    """Make what is missing and set what differs; what was done, one line each. Raises KafkaError.

    Partitions are only ever added, and replicas are left as they are: moving them is the operators' own decision.
    """
    seen = survey(url)
    done = []
    with _admin(url) as admin:
        missing = [topic for topic in TOPICS if topic.name not in seen.found]
        if missing:
            _create(admin, url, missing)
            done += [f"made {url.prefix}{topic.name}" for topic in missing]
        for name, found in seen.found.items():
            if found.partitions < found.topic.partitions:
                admin.create_partitions({url.prefix + name: found.topic.partitions})
                done.append(f"gave {url.prefix}{name} {found.topic.partitions} partitions, it had {found.partitions}")
            wrong = differing(found)
            if wrong:
                wanted = {key: found.topic.settings[key] for key in wrong}
                admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, url.prefix + name, wanted)])
                done += [f"set {key} of {url.prefix}{name} to {value}" for key, value in wanted.items()]
    return done


def differing(found: Found) -> list[str]:
    """The settings of a topic that are not as the table has them."""
    return [
        key
        for key, value in found.topic.settings.items()
        if _canonical(found.settings.get(key, "")) != _canonical(value)
    ]


def _canonical(value: str) -> str:
    return ",".join(sorted(value.split(",")))  # of cleanup.policy; numbers have no comma


@contextmanager
def _admin(url: KafkaUrl) -> Iterator[KafkaAdminClient]:
    admin = made(KafkaAdminClient, url)
    try:
        yield admin
    finally:
        admin.close()


def _described(admin: KafkaAdminClient, url: KafkaUrl) -> dict[str, Found]:
    by_name = {url.prefix + topic.name: topic for topic in TOPICS}
    found = {}
    for told in admin.describe_topics(list(by_name)):
        if told["error_code"] == _MISSING:
            continue
        if told["error_code"]:
            raise for_code(told["error_code"])(told["name"])
        topic, partitions = by_name[told["name"]], told["partitions"]
        found[topic.name] = Found(
            topic,
            len(partitions),
            min((len(one["replica_nodes"]) for one in partitions), default=0),
            min((len(one["isr_nodes"]) for one in partitions), default=0),
            sum(one["leader_id"] < 0 for one in partitions),
        )
    return found


def _create(admin: KafkaAdminClient, url: KafkaUrl, topics: list[Topic]) -> None:
    wanted: dict[str, dict[str, Any]] = {
        url.prefix + topic.name: {
            "num_partitions": topic.partitions,
            "replication_factor": -1,
            "configs": topic.settings,
        }
        for topic in topics
    }
    if admin.describe_cluster()["controller_id"] < 0:  # creating would wait for one, for 30 s
        raise KafkaError("the cluster has no controller now")
    answer = admin.create_topics(wanted, timeout_ms=int(REQUEST * 500), raise_errors=False)
    for told in answer["topics"]:
        error = for_code(told["error_code"])
        if told["error_code"] and error is not TopicAlreadyExistsError:  # another server was quicker
            reason = told["error_message"] or why(error())
            raise TopicsMissing(
                f"the topic {told['name']} is missing and the broker does not let this server make it ({reason}); "
                f"`belfry bus make --bus {url}` makes it, as a user who may"
            )
