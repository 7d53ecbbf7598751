"""The receiving half of the Kafka bus, in one thread: whole batches into the event loop, a bounded slice at a time."""

from __future__ import annotations

import logging
import time
from collections import deque
from itertools import groupby
from typing import TYPE_CHECKING, Any

import trio
from kafka import TopicPartition
from kafka.errors import KafkaError

from bus.events import Committed
from bus.kafka_brokers import Brokers
from bus.kafka_client import why
from bus.kafka_fetch import Fetcher
from bus.kafka_topics import ends_of, make_topics
from bus.kafka_writer import ORIGIN, ping_time
from bus.records import decoded
from bus.topics import TOPICS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bus.bus import Counts, Deliver
    from bus.events import Event
    from bus.kafka_link import Link
    from bus.kafka_writer import Writer
    from bus.topics import Topic
    from bus.url import KafkaUrl

log = logging.getLogger("belfry.bus.kafka")

POLL = 0.25  # seconds at most of one poll: how soon a stop is noticed
GATHER = 0.002  # seconds at least in which more may come before the next poll, whose price does not depend on it
SHARE = 0.25  # of a core, for polls: each costs 0.2 ms, more where much came
GATHER_MOST = 0.016  # seconds
ALONE_MOST = 0.032  # seconds, for who hears nothing but itself, again and again
POLL_RECORDS = 500  # in one poll: 15 ms of Python, in which the event loop wants its turns
LAG = 20_000  # records behind the end, over which we skip to it: a second of reading, and the store has them all
SLICE = 0.01  # seconds of the event loop at a time; a crossing costs 0.4 ms
RUN = 32  # events in one call of `deliver`, at 25 us commonly: the clock is looked at in between
RETRY = 0.5  # seconds between tries to reach a broker
LOST = 10.0  # seconds of silence after which our own connections are suspected
GROWTH = 10.0  # seconds between looks whether a topic has more partitions
WARN = 60.0  # seconds between two warnings of records that cannot be read: a rolling upgrade has thousands

Run = tuple[str, list["Event"]]


class Reader:
    """What the other servers tell this one."""

    def __init__(
        self,
        url: KafkaUrl,
        origin: str,
        link: Link,
        counts: Counts,
        writer: Writer,
        deliver: Deliver,
        missed: Callable[[], None],
    ) -> None:
        self._url = url
        self._origin = origin.encode()
        self._link = link
        self._counts = counts
        self._writer = writer
        self._deliver = deliver
        self._missed = missed
        self._names = {url.prefix + topic.name: topic for topic in TOPICS}
        self._next: dict[TopicPartition, int] = {}  # offsets to read next, which outlive the connections
        self._brokers: Brokers | None = None
        self._fetcher: Fetcher | None = None
        self._looked = 0.0  # when we last looked around
        self._idle = False  # whether the last poll brought nothing: a loop that stood still has all of it before it
        self._alone = 0  # polls in a row that brought nothing but our own records
        self._warned = -WARN

    def run(self) -> None:
        """Deliver until cancelled; runs in its own thread."""
        try:
            while True:
                trio.from_thread.check_cancelled()
                try:
                    began = self._fetcher is None
                    if began:
                        self._begin()
                    elif time.monotonic() - self._looked > GROWTH:
                        self._look_around()
                    before = time.thread_time()
                    records, skipped = self._poll()
                    cost = time.thread_time() - before
                except (KafkaError, OSError) as error:
                    self._link.why = why(error)
                    self._drop()
                    self._link.look()
                    self._rest()
                    continue
                came = time.monotonic()
                runs = deque(self._sorted(records))
                gathers = is_hot(runs)
                self._alone = self._alone + 1 if records and not runs else 0
                while runs:
                    trio.from_thread.run_sync(_deliver_slice, self._deliver, runs)
                if records:
                    time.sleep(rest(self._alone, cost, time.monotonic() - came, gathers=gathers))
                back = self._link.look()
                if began or skipped or back:
                    trio.from_thread.run_sync(self._missed)
        finally:
            self._drop()

    def _rest(self) -> None:
        until = time.monotonic() + RETRY
        while (left := until - time.monotonic()) > 0:
            trio.from_thread.check_cancelled()
            time.sleep(min(left, 0.05))

    def _drop(self) -> None:
        brokers, self._brokers, self._fetcher = self._brokers, None, None
        if brokers is not None:
            brokers.close()

    def _begin(self) -> None:
        """Make the topics and place us: where we were, else at the end, of kept topics at the begin."""
        topics = make_topics(self._url)
        trio.from_thread.check_cancelled()
        partitions = {
            TopicPartition(self._url.prefix + topic.name, number): topic
            for topic, count in topics.items()
            for number in range(count)
        }
        first, ends = ends_of(self._url, list(partitions))
        trio.from_thread.check_cancelled()
        self._next = {
            part: start(topic, self._next.get(part), first[part], ends[part]) for part, topic in partitions.items()
        }
        self._brokers = Brokers(self._url, self._names)
        self._fetcher = Fetcher(self._brokers, self._next)
        self._looked = time.monotonic()

    def _poll(self) -> tuple[list[tuple[TopicPartition, Any]], bool]:
        """Records that arrived, and whether others were skipped."""
        assert self._fetcher is not None
        found: list[tuple[TopicPartition, Any]] = []
        skipped = False
        batches = self._fetcher.poll(POLL, POLL_RECORDS)
        for news in batches:
            part = news.part
            self._next[part] = news.records[-1].offset + 1
            behind = news.end - self._next[part]
            if behind > LAG and not self._names[part.topic].kept:
                self._next[part] += behind
                self._fetcher.skip(part, self._next[part])
                behind += len(news.records)
                self._counts.skipped += behind
                skipped = True
                log.warning("%d records behind in %s: skipped, the database has what they said", behind, part.topic)
            else:
                found += [(part, record) for record in news.records]
        self._idle = not batches
        return found, skipped

    def _look_around(self) -> None:
        """Begin anew when topics have more partitions, or when a broker answers but our pings do not come back."""
        assert self._brokers is not None
        self._looked = time.monotonic()
        if self._idle and self._link.quiet() > LOST:
            make_topics(self._url)  # raises when the broker is away
            if self._link.quiet() > LOST:
                self._writer.stale = True
                raise KafkaError("a broker answers, but our records do not come back")
        self._brokers.refresh()
        if sum(self._brokers.partitions(name) for name in self._names) > len(self._next):
            raise KafkaError("a topic has more partitions than before")

    def _sorted(self, records: Iterable[tuple[TopicPartition, Any]]) -> Iterable[Run]:
        """The events of others in order, cut into runs of one origin; our pings are noted."""
        found: list[tuple[str, Event]] = []
        for part, record in records:
            origin = next((value for name, value in record.headers if name == ORIGIN), b"")
            if origin == self._origin:
                if not record.value and record.key and len(record.key) == ping_time.size:
                    self._link.ping_heard(ping_time.unpack(record.key)[0])
                continue
            if not record.value:
                continue
            events, wrong = decoded(record.value)
            if wrong or not origin:
                self._unreadable(part, record.offset, wrong or "it names no origin")
            if origin:
                name = origin.decode(errors="replace")
                found += [(name, event) for event in events]
        self._counts.received += len(found)
        for begin in range(0, len(found), RUN):
            for name, run in groupby(found[begin : begin + RUN], key=lambda one: one[0]):
                yield name, [event for _, event in run]

    def _unreadable(self, part: TopicPartition, offset: int, wrong: str) -> None:
        self._counts.unreadable += 1
        if time.monotonic() - self._warned > WARN:
            self._warned = time.monotonic()
            log.warning("a record in %s at %d cannot be read, %s; more are counted", part.topic, offset, wrong)


def start(topic: Topic, were: int | None, first: int, end: int) -> int:
    """The offset to begin at."""
    if were is not None and first <= were <= end:
        return were
    return first if topic.kept else end


def rest(alone: int, cost: float, took: float, *, gathers: bool) -> float:
    """Seconds until the next poll.

    The last one cost so many of a core, what it brought took so many to be taken in, and `alone` polls in a row brought
    nothing but our own. `gathers`: what comes meanwhile is likely to go out in the same writes, which saves more the
    later the loop is; else it does not, and a loop that is late shall not be later for it.
    """
    if alone:
        return min(GATHER * (1 << min(alone, 8)), ALONE_MOST)
    return min(max(GATHER, cost / SHARE - cost - took, took if gathers else 0.0), GATHER_MOST)


def is_hot(runs: Iterable[Run]) -> bool:
    """Whether rooms have two commits and more each in one batch, which go out as one write to each member."""
    rooms = [event.room for _, events in runs for event in events if isinstance(event, Committed)]
    return len(rooms) >= 2 * len(set(rooms)) > 0


def _deliver_slice(deliver: Deliver, runs: deque[Run]) -> None:
    """Deliver for SLICE; in the event loop."""
    until = time.perf_counter() + SLICE
    while runs and time.perf_counter() < until:
        deliver(*runs.popleft())
