"""A room as an ordering machine: messages in by any order, out in the one order, once. Pure.

The number decides, not the way a message came: our own commits, the bus and the store all call `offer`. What is
ahead of a hole is kept until the hole is filled; `missing` says which numbers to read from the store. The newest
messages stay in a window, encoded, so that a wave of resumes costs the store nothing.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

WINDOW_MESSAGES = 500  # 500 x 200 B = 100 KB a live room
WINDOW_BYTES = 524_288  # and never more than this, when the messages are long
EARLY_MESSAGES = 2_000  # kept ahead of a hole: 0.4 MB commonly; what is dropped is read from the store


class Room:
    """The order of one room: what has been delivered, what waits for a hole, and the window of the newest."""

    __slots__ = ("_early", "_window", "_window_bytes", "epoch", "head", "id", "known", "name")

    def __init__(self, name: str, room_id: int, epoch: str, head: int, recent: Iterable[bytes]) -> None:
        self.name = name
        self.id = room_id
        self.epoch = epoch
        self.head = head  # the number of the newest delivered message
        self._window: deque[bytes] = deque()  # the bodies of head - len + 1 .. head
        self._window_bytes = 0
        self._early: dict[int, bytes] = {}
        self.known = head  # the highest number heard of; above `head` something is missing
        self._grow(list(recent))

    @property
    def window_start(self) -> int:
        """The lowest position from which `since` can answer: one below the oldest message of the window."""
        return self.head - len(self._window)

    def offer(self, first_seq: int, bodies: Sequence[bytes]) -> Sequence[bytes]:
        """Take a run of messages numbered from `first_seq`; return the bodies that follow the old head, in order.

        Repeats are dropped. The numbers of what is returned are old head + 1 .. new head.
        """
        head = self.head
        if first_seq == head + 1 and not self._early:  # the common case
            self.head = head + len(bodies)
            self._grow(bodies)
            return bodies
        for seq, body in enumerate(bodies, first_seq):
            if seq > head:
                self._early.setdefault(seq, body)
        self.expect(first_seq + len(bodies) - 1)
        ready = []
        while (body_or_none := self._early.pop(self.head + 1, None)) is not None:
            self.head += 1
            ready.append(body_or_none)
        if len(self._early) > EARLY_MESSAGES:
            for seq in sorted(self._early)[EARLY_MESSAGES:]:
                del self._early[seq]
        self._grow(ready)
        return ready

    def expect(self, seq: int) -> None:
        """Hear that this number exists: until it is delivered, it is missing."""
        self.known = max(self.known, seq)

    def jump(self, head: int) -> None:
        """Go on from a head that was delivered by another process; what is before it has left the window."""
        self.head = head
        self.known = max(self.known, head)
        self._window.clear()
        self._window_bytes = 0
        self._early = {seq: body for seq, body in self._early.items() if seq > head}

    def missing(self) -> tuple[int, int] | None:
        """The first hole as (first, last) number, None if all that is known of was delivered."""
        if self._early:
            return self.head + 1, min(self._early) - 1
        return (self.head + 1, self.known) if self.known > self.head else None

    def since(self, seq: int) -> list[bytes] | None:
        """The bodies after position `seq` up to the head; None when the window does not reach back so far."""
        behind = self.head - seq
        if behind < 0 or behind > len(self._window):
            return None
        return list(islice(self._window, len(self._window) - behind, None))

    def _grow(self, bodies: Sequence[bytes]) -> None:
        window = self._window
        window.extend(bodies)
        self._window_bytes += sum(map(len, bodies))
        while len(window) > WINDOW_MESSAGES or (self._window_bytes > WINDOW_BYTES and len(window) > 1):
            self._window_bytes -= len(window.popleft())
