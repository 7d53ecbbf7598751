"""The sending half of the Kafka bus, in one thread: what waits goes out together, pings in between.

What is sent and not taken is sent again over new connections, as long as it is young. A hint needs no more: what comes
twice is dropped by its number, and what is lost the store knows.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import struct
import time
from collections import deque
from select import POLLIN
from typing import TYPE_CHECKING

import trio
from kafka import TopicPartition
from kafka.errors import KafkaError

from bus.kafka_brokers import Brokers, wait_for
from bus.kafka_client import FLUSH, why
from bus.kafka_link import PING
from bus.kafka_produce import Record, Sender
from bus.records import encoded, joined
from bus.topics import CONTROL, ROUTES, TOPICS, partition_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bus.bus import Counts
    from bus.events import Event
    from bus.kafka_link import Link
    from bus.url import KafkaUrl

log = logging.getLogger("belfry.bus.kafka")

ORIGIN = "origin"
WAITING = 10_000  # events while the broker is away: the newest 5 s at 2,000 commits/s; 30 MB of 1,000 messages/s
OLD = 5.0  # seconds after which a hint is worth nothing: the store has told it already
RETRY = 0.5  # seconds between tries to reach a broker
METADATA = 60.0  # seconds between two looks at who leads what and how many partitions there are
UNDER_WAY = 2  # requests not yet taken; what is published meanwhile gathers and goes together
GATHER = 0.003  # seconds from one round to the next, at least: a round costs 0.3 ms here, 1 at the broker
WARN = 60.0  # seconds between two warnings of records that are refused: a busy room has hundreds a second

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
        self._again: list[Record] = []  # sent and not taken
        self._bell: Bell | None = None
        self._pinged = 0.0
        self._sent = 0.0  # when the last round began
        self._due = math.inf  # when the next one may begin
        self._wanted = math.inf  # the same for what was put since we were woken
        self._warned = -WARN
        self.stale = False  # set from the reader's thread: meet the brokers anew

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """While the block runs, `run` may run and `wake` be called."""
        self._bell = Bell()
        try:
            yield
        finally:
            self._bell.close()

    def put(self, event: Event, apart: float) -> bool:
        """Take an event from the event loop; over the bound the oldest is lost. True: `wake` must follow."""
        now = time.monotonic()
        self._counts.lost += len(self._waiting) == WAITING
        self._waiting.append((now, event))
        due = max(now, self._sent + apart)
        self._wanted = min(self._wanted, due)
        return not apart or due < self._due

    def wake(self) -> None:
        """Have what was put sent."""
        assert self._bell is not None
        self._due, self._wanted = min(self._due, self._wanted), math.inf
        self._bell.ring()

    def run(self) -> None:
        """Send until cancelled; runs in its own thread."""
        while True:
            trio.from_thread.check_cancelled()
            self.stale = False
            try:
                brokers = Brokers(self._url, [self._url.prefix + topic.name for topic in TOPICS])
            except (KafkaError, OSError) as error:
                self._link.why = why(error)
                self._rest(RETRY)
                continue
            self._link.ping_acked()
            sender = Sender(brokers, self._headers, self._settle)
            try:
                self._pump(brokers, sender)
            except (KafkaError, OSError) as error:
                log.debug("sending begins anew: %r", error)
                self._link.why = why(error)
            except trio.Cancelled:
                self._say_last_words(brokers, sender)
                raise
            finally:
                brokers.close()
            self._again += [record for record in sender.unsettled() if record.holds]
            self._rest(RETRY)

    def _pump(self, brokers: Brokers, sender: Sender) -> None:
        """Send what waits, until cancelled or stale. Raises KafkaError and OSError."""
        assert self._bell is not None
        looked = time.monotonic()
        while not self.stale:
            # Answers are read when there is something else to do: to wake up for each would double the rounds.
            now = time.monotonic()
            is_due = self._due <= now
            full = sender.channels() if is_due and sender.under_way >= UNDER_WAY else []
            until = self._pinged + PING
            if not is_due or self._may_send(sender):
                until = min(until, self._due)
            wait_for([self._bell, *full], POLLIN, until - now)
            trio.from_thread.check_cancelled()
            self._bell.hush()
            sender.settle()
            if self._link.is_taking:
                if self._may_send(sender) and (self._again or self._due <= time.monotonic()):
                    time.sleep(max(0.0, self._sent + GATHER - time.monotonic()))
                    self._sent = time.monotonic()
                    sender.send(self._records(brokers))
            else:
                self._forget_old()
            self._ping(sender)
            if time.monotonic() - looked > METADATA:
                looked = time.monotonic()
                brokers.refresh()

    def _may_send(self, sender: Sender) -> bool:
        return sender.under_way < UNDER_WAY and not sender.is_silent

    def _say_last_words(self, brokers: Brokers, sender: Sender) -> None:
        """Those of a server that stops."""
        if self._link.is_taking:
            try:
                sender.send(self._records(brokers))
                sender.finish(FLUSH)
            except (KafkaError, OSError) as error:
                log.debug("the last words were not sent: %r", error)

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

    def _records(self, brokers: Brokers) -> list[Record]:
        """What waits, as records; what was sent and not taken comes first. Raises KafkaError."""
        young = time.monotonic() - OLD
        records = [record for record in self._again if record.since > young]
        self._counts.lost += sum(record.holds for record in self._again) - sum(record.holds for record in records)
        self._again = []
        groups: dict[TopicPartition, list[bytes]] = {}
        now = time.monotonic()
        self._due = math.inf  # before they are taken: what is put later wakes us
        while self._waiting:
            since, event = self._waiting.popleft()
            route = ROUTES[type(event)]
            name = self._url.prefix + route.topic.name
            key = route.key(event) if route.key is not None else self._sender
            part = TopicPartition(name, partition_of(key, brokers.partitions(name) or route.topic.partitions))
            if route.topic.kept:
                records += [Record(part, value, key.encode(), 1, since) for value, _ in joined(encoded(event))]
            else:
                groups.setdefault(part, []).extend(encoded(event))
        for part, events in groups.items():
            records += [Record(part, value, None, holds, now) for value, holds in joined(events)]
        return records

    def _ping(self, sender: Sender) -> None:
        now = time.monotonic()
        if now - self._pinged < PING:
            return
        self._pinged = now
        part = TopicPartition(self._url.prefix + CONTROL.name, 0)
        sender.send([Record(part, b"", ping_time.pack(now), 0, now)])

    def _settle(self, record: Record, error: KafkaError | None) -> None:
        if error is not None:
            self._lose(record, error)
        elif not record.holds:
            self._link.ping_acked()

    def _lose(self, record: Record, error: KafkaError) -> None:
        self._counts.lost += record.holds
        if time.monotonic() - self._warned > WARN:
            self._warned = time.monotonic()
            log.warning(
                "the brokers refuse a record (%s); other servers find its messages in the database, "
                "up to 5 s later; `belfry bus status --bus %s` says what to set",
                why(error),
                self._url,
            )


class Bell:
    """What the event loop wakes the sending thread with while that waits for brokers too."""

    def __init__(self) -> None:
        self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def fileno(self) -> int:
        return self._fd

    def ring(self) -> None:
        os.eventfd_write(self._fd, 1)

    def hush(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._fd)

    def close(self) -> None:
        """End it; nobody may ring any more."""
        os.close(self._fd)
