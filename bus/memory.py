"""The in-process twin of the Bus: any number of servers in one process."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import trio

from bus.bus import Counts
from bus.topics import CONTROL, ROUTES, SERVERS

if TYPE_CHECKING:
    from collections.abc import Callable

    from bus.bus import Deliver
    from bus.events import Event
    from bus.topics import Topic

QUEUE_EVENTS = 10_000  # a commit of 1,000 messages is one event of at most 4 MB, commonly 0.2 MB: 10 at 1 ms apart


TOWER = (CONTROL, SERVERS)  # what a tower hears: it has no rooms


class Exchange:
    """What the buses of one process share: who listens, and the newest of what is kept for who begins later."""

    def __init__(self) -> None:
        self._buses: set[MemoryBus] = set()
        self._kept: dict[tuple[str, str], tuple[str, Event]] = {}  # (topic, key) -> (origin, event)

    def bus(self, server_id: str) -> MemoryBus:
        """The bus as this server sees it."""
        return MemoryBus(self, server_id)

    def listener(self, name: str, topics: tuple[Topic, ...] = TOWER) -> MemoryBus:
        """The bus for one who is no server, such as a tower: it hears these topics only, and may publish.

        Servers do not count it as somebody with whom they share rooms: a lone one stays as quiet as it was.
        """
        return MemoryBus(self, name, topics)


class MemoryBus:
    """One server's end of an Exchange."""

    def __init__(self, exchange: Exchange, server_id: str, topics: tuple[Topic, ...] | None = None) -> None:
        self.counts = Counts()
        self._exchange = exchange
        self._server_id = server_id
        self._topics = topics  # None is all, as a server hears them
        self._inbox: deque[tuple[str, Event]] = deque(maxlen=QUEUE_EVENTS)
        self._arrived = trio.Event()
        self._lost = False  # whether events fell out of the inbox, unheard

    def publish(self, event: Event, apart: float = 0.0) -> None:
        route = ROUTES[type(event)]
        if route.topic.kept and route.key is not None:
            self._exchange._kept[route.topic.name, route.key(event)] = self._server_id, event
        for other in self._exchange._buses:
            if other is not self and (other._topics is None or route.topic in other._topics):
                if len(other._inbox) == QUEUE_EVENTS:
                    other._lost = True
                    other.counts.skipped += 1
                other._inbox.append((self._server_id, event))
                other._arrived.set()

    def quiet(self) -> float | None:
        if self._topics is not None:
            return 0.0
        return 0.0 if sum(bus._topics is None for bus in self._exchange._buses) > 1 else None

    async def run(
        self,
        deliver: Deliver,
        missed: Callable[[], None],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        self._exchange._buses.add(self)
        self._inbox.extend(
            one
            for (topic, _), one in self._exchange._kept.items()
            if one[0] != self._server_id and (self._topics is None or topic in {one.name for one in self._topics})
        )
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
