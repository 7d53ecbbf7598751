"""What dashboards are told as it happens: the newest look at the fleet, and notes; nobody slow is waited for.

A subscriber keeps one look, the newest, and a bounded line of notes: one that stops reading costs what it has, 100 KB,
and misses looks that nobody needs any more.
"""

from __future__ import annotations

from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec
import trio

from tower.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tower.views import Note

SUBSCRIBERS = 200  # dashboards at once: a look of 40 KB each 2 s to each is 4 MB/s
NOTES = 100  # that are kept for who comes later or falls behind; 200 B each
RETRY_MS = 1_000  # after which a browser that lost the stream comes back

_encode = msgspec.json.Encoder().encode


class Subscriber:
    """One dashboard's line."""

    def __init__(self, notes: list[tuple[int, bytes]]) -> None:
        self._look: bytes | None = None
        self._notes: deque[tuple[int, bytes]] = deque(notes, maxlen=NOTES)
        self._wake = trio.Event()
        self._over = False

    def look(self, body: bytes) -> None:
        self._look = body
        self._wake.set()

    def note(self, number: int, body: bytes) -> None:
        self._notes.append((number, body))
        self._wake.set()

    def end(self) -> None:
        self._over = True
        self._wake.set()

    async def next(self) -> bytes:
        """The next piece of the stream, as SSE has it; b"" at its end."""
        while True:
            if self._over:
                return b""
            parts = [b"id: %d\nevent: note\ndata: %b\n\n" % note for note in self._notes]
            self._notes.clear()
            if self._look is not None:
                parts.append(b"event: fleet\ndata: %b\n\n" % self._look)
                self._look = None
            if parts:
                return b"".join(parts)
            self._wake = trio.Event()
            await self._wake.wait()


class Feed:
    """Everybody who watches, and what happened last."""

    def __init__(self) -> None:
        self._watching: set[Subscriber] = set()
        self._recent: deque[tuple[int, bytes]] = deque(maxlen=NOTES)
        self._count = 0
        self._over = False

    def __len__(self) -> int:
        return len(self._watching)

    def refuse_full(self) -> None:
        """Raise Refused when nobody else may subscribe."""
        if len(self._watching) >= SUBSCRIBERS:
            raise Refused("too_many", f"{SUBSCRIBERS} are watching already", retry=10.0)

    @contextmanager
    def subscribe(self, after: int = 0) -> Iterator[Subscriber]:
        """A line of one's own; it begins with the recent notes whose number is above `after`."""
        if after > self._count:
            after = 0  # a number of the tower before this one
        one = Subscriber([note for note in self._recent if note[0] > after])
        if self._over:
            one.end()
        self._watching.add(one)
        try:
            yield one
        finally:
            self._watching.discard(one)

    def look(self, body: bytes) -> None:
        """The fleet looks like this now."""
        for one in self._watching:
            one.look(body)

    def note(self, note: Note) -> None:
        """This happened."""
        self._count += 1
        entry = self._count, _encode(note)
        self._recent.append(entry)
        for one in self._watching:
            one.note(*entry)

    def close(self) -> None:
        """End every stream, and those that begin from now on."""
        self._over = True
        for one in self._watching:
            one.end()
