"""What this server does not know of its rooms yet: holes in their order, and heads that moved elsewhere.

The bus is a hint. A hole is seen by the numbers and filled from the store, once for all members; and a head that moved
without a word is found by a look at all live rooms' heads: one query, rarely while the bus works, often while it does
not.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Protocol

import trio

from chat.live_room import body_of
from chat.patience import LEAST, Patience
from chat.room import WINDOW_MESSAGES
from db.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from chat.live_room import LiveRoom
    from chat.metrics import Metrics
    from db.store import Store

HOLES = 16  # of a room, remembered until the bus tells of them: one that was filled meanwhile says how late it is
HEADS_TICK = 0.25  # seconds
HEADS_OFTEN = 0.5  # seconds between looks at the rooms' heads while the bus is down: bounds the latency without it
HEADS_RARELY = 5.0  # seconds while it works: finds the last message of a room whose event was lost
BUS_QUIET = 0.5  # seconds without a proof after which the bus counts as down
REACH_PATIENCE = 5.0  # seconds
REACH_TICK = 0.03  # seconds


class Rooms(Protocol):
    """The rooms whose gaps are looked after."""

    def lives(self) -> Iterable[LiveRoom]:
        """All rooms in memory."""

    def peek(self, name: str) -> LiveRoom | None:
        """The room if it is in memory."""

    def offer(self, live: LiveRoom, first_seq: int, bodies: Sequence[bytes]) -> None:
        """Take messages from the store into the room's order and deliver what follows."""

    def gone(self, live: LiveRoom) -> None:
        """The store does not have the room any more."""


class Gaps:
    """Fills holes and watches heads for all rooms of one server."""

    def __init__(self, rooms: Rooms, store: Store, metrics: Metrics, quiet: Callable[[], float | None]) -> None:
        self._rooms = rooms
        self._store = store
        self._metrics = metrics
        self._quiet = quiet
        self._holes: set[LiveRoom] = set()
        self._hole_seen = trio.Event()
        self._heads_wanted = trio.Event()
        self._heads_asked = trio.Event()  # set when the next query has been answered
        self._heads_known = False  # whether the last query was answered
        self._patience = Patience()

    def watch(self, live: LiveRoom) -> None:
        """Look after the room if something is missing in it."""
        hole = live.order.missing()
        if hole is None:
            return
        if hole[0] not in live.holes:
            live.holes[hole[0]] = trio.current_time()
            if len(live.holes) > HOLES:
                del live.holes[next(iter(live.holes))]
        if not live.filling:
            self._holes.add(live)
            self._hole_seen.set()

    def told(self, live: LiveRoom, first_seq: int) -> None:
        """The bus tells of messages from this number on, in time or not."""
        if (since := live.holes.pop(first_seq, None)) is not None:
            self._patience.told(trio.current_time() - since)

    def expect(self, live: LiveRoom, seq: int) -> None:
        """This number is committed: if it does not come by itself, it is read from the store."""
        live.order.expect(seq)
        self.watch(live)

    def look(self) -> None:
        """Look at all heads now: events were lost, or may have been."""
        self._heads_wanted.set()

    def forget(self, live: LiveRoom) -> None:
        """The room is gone."""
        self._holes.discard(live)

    def bus_works(self) -> bool:
        """Whether the bus proved lately that it carries events."""
        quiet = self._quiet()
        return quiet is None or quiet <= BUS_QUIET

    async def history(self, live: LiveRoom, after: int, limit: int) -> list[bytes]:
        """Up to `limit` bodies after a position, from the store."""
        self._metrics.store_reads += 1
        rows = await self._store.messages_after(live.order.id, after, limit)
        return list(map(body_of, rows))

    async def reach(self, live: LiveRoom, seq: int) -> None:
        """Wait until the room's head is at `seq`, if the store knows that number; a server ahead of us gave it out.

        Raises StoreUnavailable when the store cannot say so.
        """
        asked = self._heads_asked
        self._heads_wanted.set()
        await asked.wait()
        if not self._heads_known:
            raise StoreUnavailable("the rooms' heads could not be read")
        patience = trio.current_time() + REACH_PATIENCE
        # Looked at again and again: an Event to be set by every message would cost every room for this rare case.
        while live.order.head < seq <= live.order.known:
            if trio.current_time() > patience:
                raise StoreUnavailable(f"message {seq} of {live.order.name} was not found")
            await trio.sleep(REACH_TICK)

    # --- tasks -------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Fill and watch, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_heads)
            while True:
                await self._hole_seen.wait()
                self._hole_seen = trio.Event()
                holes, self._holes = self._holes, set()
                for live in holes:
                    live.filling = True
                    nursery.start_soon(self._fill, live)

    async def _watch_heads(self) -> None:
        asked_at = trio.current_time()
        while True:
            with trio.move_on_after(HEADS_TICK):
                await self._heads_wanted.wait()
            now = trio.current_time()
            if not self._heads_wanted.is_set():
                if self._quiet() is None:
                    continue
                if now - asked_at < (HEADS_RARELY if self.bus_works() else HEADS_OFTEN):
                    continue
            asked_at = now
            self._heads_wanted = trio.Event()
            asked, self._heads_asked = self._heads_asked, trio.Event()
            await self._ask_heads()
            asked.set()

    async def _ask_heads(self) -> None:
        rooms = {live.order.id: live for live in self._rooms.lives() if live.members or live.pins}
        if not rooms:
            return
        self._metrics.head_checks += 1
        try:
            heads = await self._store.heads(list(rooms))
        except StoreUnavailable:
            self._heads_known = False
            return
        self._heads_known = True
        for room_id, live in rooms.items():
            if room_id in heads:
                self.expect(live, heads[room_id])
            elif self._rooms.peek(live.order.name) is live:
                self._rooms.gone(live)

    async def _fill(self, live: LiveRoom) -> None:
        """Read what is missing from the store, once for all members; patient first, since most holes close alone."""
        rest = empty = 0.0  # seconds until the store is asked again, and since it last had nothing
        try:
            while (hole := live.order.missing()) is not None and self._rooms.peek(live.order.name) is live:
                first, last = hole
                works = self.bus_works()
                since = live.holes.get(first, 0.0)
                patience = since + (self._patience.seconds if works else LEAST) - trio.current_time()
                if max(patience, rest) > 0:
                    await trio.sleep(max(patience, rest))
                    rest = 0.0
                    continue  # it may have closed alone, and another have opened
                # A bus that works tells of what is behind the hole, or has.
                limit = min(last - first + 1, WINDOW_MESSAGES) if works else WINDOW_MESSAGES
                try:
                    bodies = await self.history(live, first - 1, limit)
                except StoreUnavailable:
                    rest = random.uniform(0.5, 1.0)  # seconds; many rooms must not ask at one moment
                    continue
                if bodies:
                    self._metrics.gap_fills += 1
                    self._metrics.gap_filled_messages += len(bodies)
                    if first + len(bodies) <= last:
                        live.holes.pop(first, None)
                        live.holes[first + len(bodies)] = since  # what is left of a long hole has waited as long
                    self._rooms.offer(live, first, bodies)
                    empty = 0.0
                else:
                    rest = empty = min(2 * empty + LEAST, 1.0)  # seconds; the store does not know it yet, or never
        finally:
            live.filling = False
