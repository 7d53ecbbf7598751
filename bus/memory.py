"""The in-process twin of the Bus: any number of servers in one process."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import trio

from bus.bus import Counts
from bus.topics import ROUTES

if TYPE_CHECKING:
    from collections.abc import Callable

    from bus.bus import Deliver
    from bus.events import Event

QUEUE_EVENTS = 10_000  # a commit of 1,000 messages is one event of at most 4 MB, commonly 0.2 MB: 10 at 1 ms apart


class Exchange:
    """What the buses of one process share: who listens, and the newest of what is kept for who begins later."""

    def __init__(self) -> None:
        self._buses: set[MemoryBus] = set()
        self._kept: dict[tuple[str, str], tuple[str, Event]] = {}  # (topic, key) -> (origin, event)

    def bus(self, server_id: str) -> MemoryBus:
        """The bus as this server sees it."""
        return MemoryBus(self, server_id)


class MemoryBus:
    """One server's end of an Exchange."""

    def __init__(self, exchange: Exchange, server_id: str) -> None:
        self.counts = Counts()
        self._exchange = exchange
        self._server_id = server_id
        self._inbox: deque[tuple[str, Event]] = deque(maxlen=QUEUE_EVENTS)
        self._arrived = trio.Event()
        self._lost = False  # whether events fell out of the inbox, unheard

    def publish(self, event: Event) -> None:
        route = ROUTES[type(event)]
        if route.topic.kept:
            self._exchange._kept[route.topic.name, route.key(event)] = self._server_id, event
        for other in self._exchange._buses:
            if other is not self:
                if len(other._inbox) == QUEUE_EVENTS:
                    other._lost = True
                    other.counts.skipped += 1
                other._inbox.append((self._server_id, event))
                other._arrived.set()

    def quiet(self) -> float | None:
        return 0.0 if len(self._exchange._buses) > 1 else None

    async def run(
        self,
        deliver: Deliver,
        missed: Callable[[], None],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        self._exchange._buses.add(self)
        self._inbox.extend(one for one in self._exchange._kept.values() if one[0] != self._server_id)
        if self._inbox:
            self._arrived.set()
        task_status.started()
        try:
            while True:
                await self._arrived.wait()
                self._arrived = trio.Event()
                if self._lost:
                    self._lost = False
                    missed()
                while self._inbox:
                    origin, event = self._inbox.popleft()
                    self.counts.received += 1
                    deliver(origin, [event])
        finally:
            self._exchange._buses.discard(self)
