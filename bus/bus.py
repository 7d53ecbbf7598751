"""The Bus protocol: fast hints from server to server.

Twins: `bus/memory.py` (in one process) and `bus/kafka.py`. What both promise: an event published may be lost, late,
doubled or out of order; when all is well, events of one key (a room) arrive in the order they were published. Who
begins to listen hears what is published from then on, and of kept topics (servers' beats) the newest of each key
(`bus/topics.py`). A server never hears its own events.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import trio

from bus.events import Event

Deliver = Callable[[str, Sequence[Event]], None]  # (origin: the publishing server's id, its events in order)


@dataclass(slots=True)
class Counts:
    """What happened to events; /metrics reads it."""

    lost: int = 0  # events of ours that never left
    received: int = 0  # events of others that were delivered
    skipped: int = 0  # records passed over by a reader too far behind
    unreadable: int = 0  # records of a newer server's, or not ours
    reconnects: int = 0  # times the bus came back after it was away


class Bus(Protocol):
    """How one server speaks to the others."""

    counts: Counts

    def publish(self, event: Event, apart: float = 0.0) -> None:
        """Hand an event over for sending; never blocks, never raises. Over its bound the oldest events are lost.

        It need not be sent before `apart` seconds after whatever was sent last: more may go with it then.
        """

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
