"""The twins of the Bus, each behind one fixture, so that one test file runs both; and what is heard on one."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
from typing import TYPE_CHECKING, Any, Protocol

import pytest
import trio
from kafka import KafkaAdminClient

from bus.memory import Exchange
from bus.open import open_bus
from bus.url import KafkaUrl, parse_url

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from bus.bus import Bus
    from bus.events import Event
    from compose.services import Kafka

START = 100.0  # seconds a broker may take to start again; 3 are common, and its own bound is 90
WAIT = 120.0  # seconds no step comes near to
PROVED = 0.5  # seconds without a proof within which a bus counts as up, as the hub has it

_numbers = itertools.count()


class Heard:
    """What one server was told, and how often that something was missed."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Event]] = []
        self.missed = 0
        self._news = trio.Event()

    def deliver(self, origin: str, events: Sequence[Event]) -> None:
        self.events += [(origin, event) for event in events]
        self._rouse()

    def miss(self) -> None:
        self.missed += 1
        self._rouse()

    def _rouse(self) -> None:
        self._news.set()
        self._news = trio.Event()

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait until it is so; what is heard wakes us."""
        with trio.fail_after(WAIT):
            while not true():
                news = self._news
                with trio.move_on_after(0.05):  # seconds; not everything that is waited for is heard
                    await news.wait()

    async def until_count(self, count: int) -> None:
        await self.until(lambda: len(self.events) >= count)


async def until_proved(bus: Bus) -> None:
    """Wait until events come through."""
    with trio.fail_after(WAIT):
        while (quiet := bus.quiet()) is not None and quiet > PROVED:  # noqa: ASYNC110  # nothing tells of it
            await trio.sleep(0.02)


@contextlib.asynccontextmanager
async def running(bus: Bus, *, proved: bool = True) -> AsyncIterator[Heard]:
    """A server on the bus while the block runs; within it, events come through."""
    heard = Heard()
    with trio.fail_after(6 * WAIT):
        async with trio.open_nursery() as nursery:
            await nursery.start(lambda task_status: bus.run(heard.deliver, heard.miss, task_status=task_status))
            if proved:
                await until_proved(bus)
            yield heard
            nursery.cancel_scope.cancel()


class Fleet(Protocol):
    """Makes the ends of one bus."""

    def __call__(self, origin: str) -> Bus: ...


@pytest.fixture
def kafka_url(kafka_server: Kafka) -> KafkaUrl:
    """The broker all tests share, with topics of the test's own."""
    return url_of(kafka_server)


def url_of(server: Kafka) -> KafkaUrl:
    url = parse_url(f"{server.url}?prefix=t{os.getpid()}-{next(_numbers)}.")
    assert isinstance(url, KafkaUrl)
    return url


@pytest.fixture(params=["memory", "kafka"])
def fleet(request: pytest.FixtureRequest) -> Fleet:
    """Ends of one bus, of each kind."""
    if request.param == "memory":
        return Exchange().bus
    url: KafkaUrl = request.getfixturevalue("kafka_url")
    return lambda origin: open_bus(url, origin)


@pytest.fixture(autouse=True)
def _hears_info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="belfry.bus.kafka")


def told(caplog: pytest.LogCaptureFixture, words: str = "") -> list[str]:
    """What the Kafka bus told people, in lines that have these words."""
    # By name: pytest listens to loggers that do not propagate too.
    ours = (record.getMessage() for record in caplog.records if record.name == "belfry.bus.kafka")
    return [line for line in ours if words in line]


async def until(true: Callable[[], bool]) -> None:
    with trio.fail_after(WAIT):
        while not true():  # noqa: ASYNC110  # nothing tells of it
            await trio.sleep(0.02)


async def do(work: Callable[..., Any], *arguments: Any) -> Any:
    with trio.fail_after(START):
        return await trio.to_thread.run_sync(work, *arguments)


def admin_do(url: KafkaUrl, verb: str, *arguments: Any) -> None:
    admin = KafkaAdminClient(bootstrap_servers=list(url.brokers))
    getattr(admin, verb)(*arguments)
    admin.close()
