"""The budget of websocket handshakes: how many a second come in, and when those who do not shall ask again. Pure.

A token bucket would let a second's worth through at once and as many again while it refills: twice what was promised in
that second. So what is counted is the last second itself, and LATE more: in no second, wherever it begins, do more than
`per_second` come in, nor do clients see more answers in one, though some are longer on their way than others.

Those refused each get a turn of their own in a queue that moves at SHARE of the budget. With R a second and n refused
at one moment, the k-th is told to come back after k / (SHARE x R) seconds. Retry-After is in whole seconds, rounded up,
and clients add up to a second of their own (`chat/web/belfry/backoff.js`, `belfry/audit/backoff.py`): every group that
was told the same second arrives evenly over the second behind it, so that what comes back is never more than SHARE x R
a second, whenever it was refused; the rest of R is for those who come for the first time. 3,000 clients of a killed
server at two survivors of 500 a second each: over the crash's window of 2 s 2,000 get in, 1,000 are refused, 500 at
each, whose turns take 500 / 400 = 1.3 s: in about five seconds all are back. Turns that nobody takes cost nobody
anything.

Moments are seconds of any one clock.
"""

from __future__ import annotations

import math
from collections import deque

LATE = 0.1  # seconds; 500 let in within a second were up to 512 in one as clients saw the answers; with half of it 514
SHARE = 0.8  # of the budget, for those who were refused before
LONGEST = 60.0  # seconds; who would have to wait longer is told to look again then


class Budget:
    """Counts handshakes of the last second and LATE; `per_second` of 0 is without limit."""

    __slots__ = ("_next_turn", "_peak", "_per_second", "_taken", "most")

    def __init__(self, per_second: int) -> None:
        self._per_second = per_second
        self._taken: deque[float] = deque()  # when the last ones came in: as many as came in, 8 B each
        self._next_turn = 0.0
        self._peak = 0
        self.most = 0  # that ever came in within so long

    def take(self, now: float) -> bool:
        """Let one in, if there is room for it."""
        self._forget(now)
        if self._per_second and len(self._taken) >= self._per_second:
            return False
        self._taken.append(now)
        self._peak = max(self._peak, len(self._taken))
        self.most = max(self.most, self._peak)
        return True

    def full(self, now: float) -> bool:
        """Whether the next one would be refused."""
        self._forget(now)
        return bool(self._per_second) and len(self._taken) >= self._per_second

    def turn(self, now: float) -> int:
        """Give one that is refused a turn; the whole seconds until then, at least 1."""
        if not self._per_second:
            return 1
        at = max(self._next_turn, now)
        if at - now > LONGEST:
            return int(LONGEST)
        self._next_turn = at + 1.0 / (SHARE * self._per_second)
        return max(1, math.ceil(at - now))

    def peak(self) -> int:
        """The most that came in within a second and LATE since this was asked last."""
        peak, self._peak = self._peak, 0
        return peak

    def _forget(self, now: float) -> None:
        while self._taken and now - self._taken[0] >= 1.0 + LATE:
            self._taken.popleft()
