"""What is new in many partitions, whoever leads them: one request at a time to each leader, in a session of its own.

A session is the broker's memory of what a reader reads: a request names only the partitions whose offsets have moved,
and an answer only those with news. Whatever goes wrong is raised; who reads begins anew, from its own offsets.
"""

from __future__ import annotations

import math
import time
from collections import deque
from dataclasses import dataclass, field
from itertools import islice
from select import POLLIN
from typing import TYPE_CHECKING, Any

from kafka.errors import KafkaError, for_code
from kafka.record import MemoryRecords

from bus.kafka_brokers import wait_for
from bus.kafka_client import REQUEST
from bus.kafka_wire import FETCH, FETCH_VERSION, fetch, fetched

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from kafka import TopicPartition

    from bus.kafka_brokers import Brokers, Channel
    from bus.kafka_wire import Brought

WAIT = 0.1  # seconds that a broker waits for a first record before it answers
SESSION_LOST = (70, 71)  # Kafka's FETCH_SESSION_ID_NOT_FOUND and INVALID_FETCH_SESSION_EPOCH: begin another


@dataclass(slots=True)
class News:
    """Records of one partition, in order."""

    part: TopicPartition
    end: int  # the offset that the next record to be written will have, when the broker answered
    records: list[Any]


@dataclass(slots=True)
class _Session:
    """What one leader is asked."""

    channel: Channel
    parts: set[TopicPartition]
    moved: set[TopicPartition]  # those whose offsets it does not know yet
    id: int = 0
    epoch: int = 0
    is_asked: bool = False
    silent_until: float = 0.0  # it has asked us to be
    unread: deque[tuple[Brought, Iterator[Any]]] = field(default_factory=deque)


class Fetcher:
    """Reads partitions from the offsets that it is given. Belongs into one thread."""

    def __init__(self, brokers: Brokers, offsets: Mapping[TopicPartition, int]) -> None:
        """Raises KafkaError and OSError, as all that follows."""
        self._next = dict(offsets)
        sessions: dict[int, _Session] = {}
        for part in offsets:
            channel = brokers.channel(part)
            session = sessions.setdefault(channel.node, _Session(channel, set(), set()))
            session.parts.add(part)
            session.moved.add(part)
        self._sessions = list(sessions.values())

    def skip(self, part: TopicPartition, offset: int) -> None:
        """Go on in a partition from there; what came of it and was not given out is dropped."""
        self._next[part] = offset
        for session in self._sessions:
            if part in session.parts:
                session.moved.add(part)
                session.unread = deque(one for one in session.unread if one[0].part != part)

    def poll(self, seconds: float, most: int) -> list[News]:
        """At most so many records, those that came before first; waits so long for them, or a bit less."""
        if not any(session.unread for session in self._sessions):
            self._exchange(seconds)
        news = []
        for session in self._sessions:
            while session.unread and most > 0:
                brought, records = session.unread[0]
                taken = list(islice(records, most))
                if len(taken) < most:
                    session.unread.popleft()
                most -= len(taken)
                if taken:
                    news.append(News(brought.part, brought.end, taken))
        return news

    def _exchange(self, seconds: float) -> None:
        """Ask who is not asked, and take the answers of who has answered."""
        now = time.monotonic()
        for session in self._sessions:
            if not session.is_asked and session.silent_until <= now:
                self._ask(session)
        asked = [session for session in self._sessions if session.is_asked]
        until = min((session.silent_until for session in self._sessions if not session.is_asked), default=math.inf)
        wait_for([session.channel for session in asked], POLLIN, min(seconds, until - now))
        for session in asked:
            for answer in session.channel.answers():
                self._take(session, answer)

    def _ask(self, session: _Session) -> None:
        offsets = {part: self._next[part] for part in session.moved}
        body = fetch(offsets, WAIT, session.id, session.epoch)
        session.channel.ask(FETCH, FETCH_VERSION, body, WAIT + REQUEST)
        session.moved = set()
        session.is_asked = True

    def _take(self, session: _Session, answer: bytes) -> None:
        told = fetched(answer)
        session.is_asked = False
        session.silent_until = time.monotonic() + told.throttle if told.throttle else 0.0
        if told.error in SESSION_LOST:
            session.id = session.epoch = 0
            session.moved = set(session.parts)
            return
        if told.error:
            raise for_code(told.error)("in an answer to Fetch")
        session.id = told.session
        session.epoch = session.epoch % 0x7FFFFFFF + 1 if told.session else 0
        for brought in told.parts:
            if brought.error:
                raise for_code(brought.error)(f"{brought.part.topic}-{brought.part.partition}")
            if brought.records:
                session.unread.append((brought, self._records(session, brought)))
        if not told.session:  # it has no room for one, and remembers nothing
            session.moved = set(session.parts)

    def _records(self, session: _Session, brought: Brought) -> Iterator[Any]:
        """The records from where we are; a batch may begin before, and has gaps where it was compacted."""
        part = brought.part
        batches = MemoryRecords(brought.records)
        while batches.has_next():
            batch = batches.next_batch()
            if batch.magic < 2:
                raise KafkaError(f"{part.topic} has records of before Kafka 0.11")
            if not batch.is_control_batch:
                begin = self._next[part]
                yield from (record for record in batch if record.offset >= begin)
            self._next[part] = batch.next_offset
            session.moved.add(part)
