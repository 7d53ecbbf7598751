"""The Kafka twin of the Bus: kafka-python in one thread a direction, whole batches crossing into Trio in one hop.

A crossing costs 0.4 ms whatever it carries, so it carries a batch. The server starts, serves and stops with the broker
away: clients are made again and again in their threads, and what cannot be sent is lost, which the store mends.
No consumer group: every server reads every partition by its own assignment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from bus.bus import Counts
from bus.kafka_link import Link
from bus.kafka_reader import Reader
from bus.kafka_writer import Writer

if TYPE_CHECKING:
    from collections.abc import Callable

    from bus.bus import Deliver
    from bus.events import Event
    from bus.url import KafkaUrl


class KafkaBus:
    """One server's end of the Kafka bus. `origin` names this boot of this server; its own events never come back."""

    def __init__(self, url: KafkaUrl, origin: str) -> None:
        self.counts = Counts()
        self._url = url
        self._origin = origin
        self._link = Link(",".join(url.brokers), self.counts)
        self._writer = Writer(url, origin, self._link, self.counts)
        self._published = trio.Event()

    def publish(self, event: Event, apart: float = 0.0) -> None:
        if self._writer.put(event, apart):
            self._published.set()

    def quiet(self) -> float:
        return self._link.quiet()

    async def run(
        self,
        deliver: Deliver,
        missed: Callable[[], None],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        reader = Reader(self._url, self._origin, self._link, self.counts, self._writer, deliver, missed)
        task_status.started()
        with self._writer.listening():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_in_thread, self._writer.run)
                nursery.start_soon(_in_thread, reader.run)
                nursery.start_soon(self._wake)

    async def _wake(self) -> None:
        """Wake the sending thread once for all that a task publishes in a row: a commit's rooms are one round then."""
        while True:
            await self._published.wait()
            self._published = trio.Event()
            self._writer.wake()


async def _in_thread(work: Callable[[], None]) -> None:
    # Its own limiter: the shared one has 40 places, and this thread keeps its place for life. Never abandoned: a
    # cancellation is seen by the thread itself, which then closes what it opened.
    await trio.to_thread.run_sync(work, limiter=trio.CapacityLimiter(1))
