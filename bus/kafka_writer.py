"""The sending half of the Kafka bus, in one thread: what waits goes out together, pings in between."""

from __future__ import annotations

import logging
import struct
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

import trio
from kafka import KafkaProducer
from kafka.errors import KafkaError

from bus.kafka_client import close_producer, made, why
from bus.kafka_link import PING
from bus.records import encoded, joined
from bus.topics import CONTROL, ROUTES, partition_of

if TYPE_CHECKING:
    from bus.bus import Counts
    from bus.events import Event
    from bus.kafka_link import Link
    from bus.topics import Topic
    from bus.url import KafkaUrl

log = logging.getLogger("belfry.bus.kafka")

ORIGIN = "origin"
WAITING = 10_000  # events while the broker is away: the newest 5 s at 2,000 commits/s; 30 MB of 1,000 messages/s
OLD = 5.0  # seconds after which a hint is worth nothing: the store has told it already
RETRY = 0.5  # seconds between tries to reach a broker
BLOCK_MS = 500  # longest a send may wait for metadata
DELIVERY_MS = 5_000  # longest the library keeps trying to send a record
UNDER_WAY = 2  # rounds not yet taken; what is published meanwhile gathers and goes together
GATHER = 0.003  # seconds from one round to the next, at least: a round costs 0.6 ms of a core, and each reader as much
WARN = 60.0  # seconds between two warnings of records that are refused: a busy room has hundreds a second
BATCH_BYTES = 262_144  # of a partition's records in one request; the common 16 KB is half a commit

ping_time = struct.Struct(">d")


class Writer:
    """What this server tells the others."""

    def __init__(self, url: KafkaUrl, origin: str, link: Link, counts: Counts) -> None:
        self._url = url
        self._sender = origin.partition("/")[0]  # whatever the boot: a successor goes on where it took over
        self._headers = [(ORIGIN, origin.encode())]
        self._link = link
        self._counts = counts
        self._waiting: deque[tuple[float, Event]] = deque(maxlen=WAITING)
        self._wake = threading.Event()
        self._pinged = 0.0
        self._sent = 0.0  # when the last round began
        self._under_way = 0  # records
        self._warned = -WARN
        self.stale = False  # set from the reader's thread: make another producer

    def put(self, event: Event) -> None:
        """Take an event from the event loop; over the bound the oldest is lost. `wake` must follow."""
        self._counts.lost += len(self._waiting) == WAITING
        self._waiting.append((time.monotonic(), event))

    def wake(self) -> None:
        """Have what was put sent."""
        self._wake.set()

    def run(self) -> None:
        """Send until cancelled; runs in its own thread."""
        while True:
            trio.from_thread.check_cancelled()
            try:
                producer = made(
                    KafkaProducer,
                    self._url,
                    # A hint needs no promise. Idempotence has one that hurts: a record over the broker's bound is
                    # fatal to the producer. What is sent twice after a fault is dropped by its number.
                    enable_idempotence=False,
                    acks=1,
                    linger_ms=0,
                    batch_size=BATCH_BYTES,
                    max_block_ms=BLOCK_MS,
                    delivery_timeout_ms=DELIVERY_MS,
                    allow_auto_create_topics=False,
                    metrics_enabled=False,
                )
            except (KafkaError, OSError) as error:
                self._link.why = why(error)
                self._rest(RETRY)
                continue
            self.stale = False
            self._under_way = 0
            self._link.ping_acked()
            try:
                self._pump(producer)
            finally:
                if self._link.is_taking:
                    self._send_waiting(producer)  # the last words of a server that stops
                close_producer(producer, flush=self._link.is_taking)

    def _pump(self, producer: KafkaProducer) -> None:
        """Send what waits, until cancelled or stale."""
        while not self.stale:
            self._wake.wait(max(0.0, self._pinged + PING - time.monotonic()))
            self._wake.clear()
            trio.from_thread.check_cancelled()
            if self._link.is_taking:
                if self._under_way < UNDER_WAY and self._waiting:
                    time.sleep(max(0.0, self._sent + GATHER - time.monotonic()))
                    self._sent = time.monotonic()
                    self._send_waiting(producer)
            else:
                self._forget_old()
                self._rest(PING / 3)
            self._ping(producer)

    def _rest(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            trio.from_thread.check_cancelled()
            time.sleep(min(left, 0.05))
        self._forget_old()

    def _forget_old(self) -> None:
        oldest = time.monotonic() - OLD
        while self._waiting and self._waiting[0][0] < oldest:
            self._waiting.popleft()
            self._counts.lost += 1

    def _send_waiting(self, producer: KafkaProducer) -> None:
        groups: dict[tuple[Topic, int], list[bytes]] = {}
        while self._waiting:
            _, event = self._waiting.popleft()
            route = ROUTES[type(event)]
            key = route.key(event) if route.key is not None else self._sender
            try:
                count = len(producer.partitions_for(self._url.prefix + route.topic.name))
            except KafkaError as error:  # the topic is missing, or no metadata within BLOCK_MS
                self._lose(error, 1)
                continue
            partition = partition_of(key, count)
            if route.topic.kept:
                for record in encoded(event):
                    self._send(producer, route.topic, partition, *next(joined([record])), key=key.encode())
            else:
                groups.setdefault((route.topic, partition), []).extend(encoded(event))
        for (topic, partition), events in groups.items():
            for value, holds in joined(events):
                self._send(producer, topic, partition, value, holds)

    def _send(
        self, producer: KafkaProducer, topic: Topic, partition: int, value: bytes, holds: int, key: bytes | None = None
    ) -> None:
        name = self._url.prefix + topic.name
        try:
            sent = producer.send(name, value=value, key=key, headers=self._headers, partition=partition)
        except (KafkaError, ValueError) as error:  # too large; a partition the library has not heard of
            self._lose(error, holds)
        else:
            self._under_way += 1
            sent.add_errback(self._lose, holds)
            sent.add_both(self._landed)

    def _ping(self, producer: KafkaProducer) -> None:
        now = time.monotonic()
        if now - self._pinged < PING:
            return
        self._pinged = now
        try:
            sent = producer.send(
                self._url.prefix + CONTROL.name, value=b"", key=ping_time.pack(now), headers=self._headers, partition=0
            )
        except (KafkaError, ValueError) as error:
            self._link.why = why(error)
        else:
            sent.add_callback(self._link.ping_acked)

    def _landed(self, _: object) -> None:
        # In the library's thread; a count that another thread spoilt is made good by the next producer, and one that
        # is too high only until then: pings go out whatever it says.
        self._under_way -= 1
        if self._waiting:
            self._wake.set()

    def _lose(self, *told: object) -> None:
        # The library appends the error to what was given with the callback, and direct calls give it first.
        self._counts.lost += sum(one for one in told if isinstance(one, int))
        log.debug("events were not sent: %r", told)
        for error in told:
            # What may go better by itself is the outage's, which has a line of its own.
            if isinstance(error, KafkaError) and not error.retriable and time.monotonic() - self._warned > WARN:
                self._warned = time.monotonic()
                log.warning(
                    "the brokers refuse a record (%s); other servers find its messages in the database, "
                    "up to 5 s later; `belfry bus status --bus %s` says what to set",
                    why(error),
                    self._url,
                )
