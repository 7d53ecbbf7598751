"""Records on their way to the leaders of their partitions: joined to batches, sent in order, settled one by one."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from select import POLLIN
from typing import TYPE_CHECKING

from kafka.errors import KafkaError, for_code
from kafka.record.default_records import DefaultRecordBatchBuilder

from bus.kafka_brokers import wait_for
from bus.kafka_client import REQUEST
from bus.kafka_wire import PRODUCE, PRODUCE_VERSION, produce, produced

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from kafka import TopicPartition

    from bus.kafka_brokers import Brokers, Channel

UNKNOWN = -1  # Kafka's UNKNOWN_SERVER_ERROR
UNBOUNDED = 0x7FFFFFFF  # bytes: what does not fit the builder it would leave out without a word
BATCH_BYTES = 262_144  # of a partition's records in one request; the common 16 KB is half a commit


@dataclass(frozen=True, slots=True)
class Record:
    """What is to be written."""

    part: TopicPartition
    value: bytes
    key: bytes | None
    holds: int  # events
    since: float  # by the monotonic clock; who is too old is worth nothing


Batches = dict["TopicPartition", list[Record]]  # one for each partition in one request


class Sender:
    """Sends records over the brokers' channels. Belongs into one thread, as the brokers do.

    `settled` is called for each record that was taken or refused for good, with the error or None. Of those that were
    not, `unsettled` tells when something was raised.
    """

    def __init__(
        self, brokers: Brokers, headers: list[tuple[str, bytes]], settled: Callable[[Record, KafkaError | None], None]
    ) -> None:
        self._brokers = brokers
        self._headers = headers
        self._settled = settled
        self._line: deque[Record] = deque()
        self._under_way: dict[Channel, deque[Batches]] = {}
        self._silent_until = 0.0  # a broker has asked us to be

    @property
    def under_way(self) -> int:
        """Requests that are not answered yet, as far as `settle` has looked."""
        return sum(map(len, self._under_way.values()))

    @property
    def is_silent(self) -> bool:
        """Whether brokers have asked us to send nothing for now."""
        return time.monotonic() < self._silent_until

    def send(self, records: Iterable[Record]) -> None:
        """Send records, in their order within each partition. Raises KafkaError and OSError."""
        self._line += records
        while self._line:
            batches, later = _cut(self._line)
            requests: dict[Channel, Batches] = {}
            for part, batch in batches.items():
                requests.setdefault(self._brokers.channel(part), {})[part] = batch
            self._line = later
            for channel, request in requests.items():
                self._under_way.setdefault(channel, deque()).append(request)
            for channel, request in requests.items():
                body = produce({part: self._batch(batch) for part, batch in request.items()}, REQUEST)
                channel.ask(PRODUCE, PRODUCE_VERSION, body, REQUEST)

    def settle(self) -> None:
        """Take the answers that have come. Raises KafkaError and OSError, among it what another leader may mend."""
        mend: KafkaError | None = None
        for channel in self.channels():
            for answer in channel.answers():
                errors, throttle = produced(answer)
                self._silent_until = max(self._silent_until, time.monotonic() + throttle if throttle else 0.0)
                for part, batch in self._under_way[channel].popleft().items():
                    number = errors.get(part, UNKNOWN)
                    error = for_code(number)(f"{part.topic}-{part.partition}") if number else None
                    if error is not None and error.retriable:
                        mend = error
                        self._line += batch
                        continue
                    for record in batch:
                        self._settled(record, error)
        if mend is not None:
            raise mend

    def finish(self, seconds: float) -> None:
        """Wait so long for the answers that are still to come. Raises KafkaError and OSError."""
        deadline = time.monotonic() + seconds
        while self.under_way and (left := deadline - time.monotonic()) > 0:
            wait_for(self.channels(), POLLIN, left)
            self.settle()

    def channels(self) -> list[Channel]:
        """Those that answers are to come from."""
        return [channel for channel, requests in self._under_way.items() if requests]

    def unsettled(self) -> list[Record]:
        """All records that were neither taken nor refused for good, oldest first; forgets them."""
        requests = [request for line in self._under_way.values() for request in line]
        under_way = [record for request in requests for batch in request.values() for record in batch]
        found = sorted([*self._line, *under_way], key=lambda record: record.since)
        self._line, self._under_way = deque(), {}
        return found

    def _batch(self, records: list[Record]) -> bytearray:
        builder = DefaultRecordBatchBuilder(2, 0, False, -1, -1, -1, UNBOUNDED)
        for offset, record in enumerate(records):
            builder.append(offset, None, record.key, record.value, self._headers)
        built: bytearray = builder.build()
        return built


def _cut(records: Iterable[Record]) -> tuple[Batches, deque[Record]]:
    """One batch for each partition, and what must wait for the next request."""
    batches: Batches = {}
    sizes: dict[TopicPartition, int] = {}
    later: deque[Record] = deque()
    for record in records:
        size = sizes.get(record.part, 0)
        if size and size + len(record.value) > BATCH_BYTES:
            sizes[record.part] = BATCH_BYTES + 1  # closed: nothing overtakes what waits
            later.append(record)
        else:
            sizes[record.part] = size + max(1, len(record.value))
            batches.setdefault(record.part, []).append(record)
    return batches, later
