"""The Bus protocol: fast hints from server to server.

Twins: `bus/memory.py` (in one process) and `bus/kafka.py`. What both promise: an event published may be lost, late,
doubled or out of order; when all is well, events of one room arrive in the order they were published. A server never
hears its own events.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import trio

from bus.events import Event

Deliver = Callable[[str, Sequence[Event]], None]  # (origin: the publishing server's id, its events in order)


class Bus(Protocol):
    """How one server speaks to the others."""

    def publish(self, event: Event) -> None:
        """Hand an event over for sending; never blocks, never raises. Over its bound the oldest events are lost."""

    def quiet(self) -> float | None:
        """Seconds for which nothing proved that events still come through; None when there is nobody else to hear."""

    async def run(
        self,
        deliver: Deliver,
        missed: Callable[[], None],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Send and receive until cancelled; started() at once, also while the broker is away.

        `deliver` is called in the event loop, many events at a time; `missed` when events are known to be lost, or may
        be (a reader that begins, or skips). Neither may block or raise.
        """
