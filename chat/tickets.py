"""Tickets that were used: each opens one session on this server, however often it is shown. Pure.

Only this server remembers: a ticket shown to two servers opens a session on each, as the token it stands for would.
What the memory ends is a ticket read off somewhere and shown again later, where its owner already is.
"""

from __future__ import annotations

from collections import deque

# A ticket lives for a minute behind its moment; at 500 handshakes a second that is 30,000. 200 B each: 20 MB at most.
KEPT = 100_000


class UsedTickets:
    """The ids of tickets that opened a session here, until they expire. Moments are Unix seconds."""

    __slots__ = ("_kept", "_order", "_used")

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._used: set[str] = set()
        self._order: deque[tuple[float, str]] = deque()  # as they came, which is nearly as they expire

    def __len__(self) -> int:
        return len(self._used)

    def use(self, ticket: str, expires_at: float, now: float) -> bool:
        """Whether this ticket is shown for the first time; from now on it is used.

        When the memory is full of tickets that are still good, no further one is taken: their clients have a token too.
        """
        while self._order and self._order[0][0] <= now:
            self._used.discard(self._order.popleft()[1])
        if ticket in self._used or len(self._used) >= self._kept:
            return False
        self._used.add(ticket)
        self._order.append((expires_at, ticket))
        return True
