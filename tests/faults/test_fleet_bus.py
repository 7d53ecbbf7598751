"""Kafka dies, hangs, refuses, loses its topics: rooms on several servers go on through the database."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import trio
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType

from bus.topics import MESSAGES, TOPICS
from tests.faults.fleet import lasting

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.faults.conftest import MakeFleet
    from tests.faults.fleet import Fleet

T = TypeVar("T")
ANEW = 60.0  # seconds until topics that were deleted are there again; 1 here


async def test_the_broker_is_killed_and_started_again(make_fleet: MakeFleet) -> None:
    fleet = await make_fleet()
    async with fleet.talking() as talk:
        await fleet.until_on_bus()
        await trio.to_thread.run_sync(fleet.kafka.kill)
        talk.note("kill -9 of the broker", "without Kafka")
        await trio.sleep(lasting(2.0))
        await talk.until_crossed("without Kafka", 500)
        await trio.to_thread.run_sync(fleet.kafka.start)
        for server in fleet.servers:
            await server.until_told("is back")
        talk.note("the broker is back", "with Kafka again")
        await talk.until_crossed("with Kafka again", 500)


async def test_the_broker_hangs_under_load(make_fleet: MakeFleet) -> None:
    """Its sockets stay open and nobody answers: no error tells."""
    fleet = await make_fleet()
    async with fleet.talking() as talk:
        await fleet.until_on_bus()
        fleet.kafka.pause()
        talk.note("SIGSTOP of the broker", "without Kafka")
        await trio.sleep(lasting(10.0))
        await talk.until_crossed("without Kafka", 500)
        fleet.kafka.resume()
        for server in fleet.servers:
            await server.until_told("is back")
        talk.note("the broker is back", "with Kafka again")
        await talk.until_crossed("with Kafka again", 500)


async def test_the_broker_is_away_at_the_start_and_comes_later(make_fleet: MakeFleet) -> None:
    fleet = await make_fleet(start=False)
    await trio.to_thread.run_sync(fleet.kafka.kill)
    await fleet.start()
    async with fleet.talking() as talk:
        await talk.until_crossed("calm", 300)
        await trio.to_thread.run_sync(fleet.kafka.start)
        await fleet.until_on_bus()
        talk.note("the broker has come", "with Kafka")
        await talk.until_crossed("with Kafka", 300)


async def test_the_topics_are_deleted(make_fleet: MakeFleet) -> None:
    fleet = await make_fleet()
    async with fleet.talking() as talk:
        await fleet.until_on_bus()
        names = [f"{fleet.name}.{topic.name}" for topic in TOPICS]
        first = await as_admin(fleet, lambda admin: ids(admin, names))
        await as_admin(fleet, lambda admin: admin.delete_topics(names))
        talk.note("the topics are deleted", "without topics")
        await talk.until_crossed("without topics", 300)
        again: set[str] = set()
        with trio.fail_after(ANEW):  # one of the servers makes them
            while len(again) < len(names) or again & set(first.values()):
                await trio.sleep(0.1)
                again = set((await as_admin(fleet, lambda admin: ids(admin, names))).values())
        await fleet.until_on_bus()
        talk.note("the topics are there again", "with topics again")
        await talk.until_crossed("with topics again", 300)


async def test_the_brokers_take_only_small_records(make_fleet: MakeFleet) -> None:
    fleet = await make_fleet()
    async with fleet.talking() as talk:
        await fleet.until_on_bus()
        name = f"{fleet.name}.{MESSAGES.name}"
        await as_admin(fleet, bound(name, 150))  # bytes; no message fits
        talk.note("the brokers refuse our records", "refused")
        for server in fleet.servers:
            await server.until_told("the brokers refuse a record (MessageSizeTooLargeError")
            await server.until_told(f"`belfry bus status --bus {fleet.bus}` says what to set")
        await talk.until_crossed("refused", 300)
        await as_admin(fleet, bound(name, 1_048_588))
        talk.note("they take them again", "after")
        await talk.until_crossed("after", 300)


async def as_admin(fleet: Fleet, do: Callable[[KafkaAdminClient], T]) -> T:
    def run() -> T:
        admin = KafkaAdminClient(bootstrap_servers=[fleet.kafka.address])
        try:
            return do(admin)
        finally:
            admin.close()

    return await trio.to_thread.run_sync(run)


def ids(admin: KafkaAdminClient, names: list[str]) -> dict[str, str]:
    """Of the topics that are there; one that is made anew has another."""
    return {one["name"]: str(one["topic_id"]) for one in admin.describe_topics(names) if not one["error_code"]}


def bound(topic: str, size: int) -> Callable[[KafkaAdminClient], object]:
    change = ConfigResource(ConfigResourceType.TOPIC, topic, {"max.message.bytes": str(size)})
    return lambda admin: admin.alter_configs([change])
