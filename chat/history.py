"""Pages of rooms' histories: read from the store once, however many ask, and kept a while for those who come later.

After a crash or a long sleep a whole office comes back at once, each a little further behind than memory reaches. What
they missed is the same for all, and it never changes again: a page that lies wholly below a room's head is read by the
first who needs it while the others wait for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from chat.live_room import body_of
from db.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chat.live_room import LiveRoom
    from chat.metrics import Metrics
    from db.store import Store

PAGE = 100  # messages: aligned, so that whoever is about as far behind needs the same; 20 KB at 200 B, and
# 1 to 2 ms of the event loop to take the rows apart, in which nobody else has a turn
RUN = 2  # pages read, one after the other, for one who needs both: most who need one are that far behind
KEEP_BYTES = 16_777_216  # of all pages kept: 80,000 messages of 200 B, the last 4,000 of 20 rooms
KEEP = 30.0  # seconds without a reader: a wave of resumes is over long before

Key = tuple[int, str, int]  # room id, epoch, which page


class _Page:
    """The bodies of one page, and when they were last read."""

    __slots__ = ("bodies", "bytes", "used_at")

    def __init__(self, bodies: list[bytes]) -> None:
        self.bodies = bodies
        self.bytes = sum(map(len, bodies))
        self.used_at = 0.0


class _Reading:
    """A read of pages under way, and how it ended for those who wait for it."""

    __slots__ = ("done", "error")

    def __init__(self) -> None:
        self.done = trio.Event()
        self.error: StoreUnavailable | None = None


class History:
    """What lies behind the rooms' windows."""

    def __init__(self, store: Store, metrics: Metrics) -> None:
        self._store = store
        self._metrics = metrics
        self._pages: dict[Key, _Page] = {}  # the one used longest ago first
        self._bytes = 0
        self._reading: dict[Key, _Reading] = {}
        self._one = trio.Semaphore(1)  # reading: the rows of several reads would all be taken apart in one turn

    async def after(self, live: LiveRoom, seq: int, until: int) -> Sequence[bytes]:
        """Bodies behind position `seq`, at least one, at most RUN pages and none above `until` but to fill a page.

        `until` is at most the room's head. Raises StoreUnavailable.
        """
        await trio.lowlevel.checkpoint()
        order = live.order
        number = seq // PAGE
        whole = order.head // PAGE  # pages below this number lie wholly below the head
        if number >= whole:
            return await self._read(live, seq, until)
        key = (order.id, order.epoch, number)
        while key not in self._pages:
            reading = self._reading.get(key)
            if reading is not None:
                await reading.done.wait()
                if reading.error is not None:
                    raise StoreUnavailable(str(reading.error)) from reading.error
            else:
                await self._fill(live, number, min(whole, -(-until // PAGE)))
        found: list[bytes] = []
        now = trio.current_time()
        for at in range(number, number + RUN):
            key = (order.id, order.epoch, at)
            page = self._pages.pop(key, None)
            if page is None:
                break
            self._pages[key] = page
            page.used_at = now
            found += page.bodies[seq % PAGE :] if at == number else page.bodies
            if (at + 1) * PAGE >= until:
                break
        return found

    def forget_old(self, now: float) -> None:
        """Drop the pages that nobody has read for KEEP."""
        while self._pages:
            key, page = next(iter(self._pages.items()))
            if now - page.used_at <= KEEP:
                break
            self._drop(key)

    async def _fill(self, live: LiveRoom, first: int, end: int) -> None:
        """Read pages from `first` on, up to `end` or to one that is there or on its way, in one go."""
        order = live.order
        keys: list[Key] = []
        for number in range(first, max(first + 1, min(end, first + RUN))):
            key = (order.id, order.epoch, number)
            if key in self._pages or key in self._reading:
                break
            keys.append(key)
        reading = _Reading()
        self._reading.update(dict.fromkeys(keys, reading))
        try:
            bodies: list[bytes] = []
            async with self._one:
                for key in keys:
                    bodies += await self._read(live, key[2] * PAGE, (key[2] + 1) * PAGE)
            now = trio.current_time()
            for at, key in enumerate(keys):
                page = self._pages[key] = _Page(bodies[at * PAGE : (at + 1) * PAGE])
                page.used_at = now
                self._bytes += page.bytes
            # Never the one that was asked for: whoever waits for it would read it again, and again.
            while self._bytes > KEEP_BYTES and len(self._pages) > len(keys):
                self._drop(next(iter(self._pages)))
        except StoreUnavailable as error:
            reading.error = error  # cancelled instead, it is another's turn to read
            raise
        finally:
            for key in keys:
                del self._reading[key]
            reading.done.set()

    async def _read(self, live: LiveRoom, seq: int, until: int) -> list[bytes]:
        self._metrics.store_reads += 1
        rows = await self._store.messages_after(live.order.id, seq, until - seq)
        if len(rows) != until - seq:
            raise StoreUnavailable(f"history of {live.order.name} ends at {seq + len(rows)}, below its head")
        return list(map(body_of, rows))

    def _drop(self, key: Key) -> None:
        self._bytes -= self._pages.pop(key).bytes
