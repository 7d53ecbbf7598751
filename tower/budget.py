"""The fleet's reconnect budget: how many handshakes a second each server is sent, by drains and crashes together. Pure.

Every server says how many it takes. A drain is granted a part of what is free: enough for its deadline, else a
comfortable share, never all, so that a second drain and a crash at the same time find something left. What no drain
holds is for clients that ask where to go (`take`). All of it together stays below what each server said.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

UNLIMITED = 500.0  # handshakes/s assumed of a server that sets no limit: a tenth of what one core was seen to take
DRAINS = 0.9  # of a server's limit, for all drains together; the rest is for people who just come
COMFORT = 0.6  # of what is free, for a drain that is in no hurry: 5,000 over two servers of 500/s take 8 s
USED = 0.7  # of a drain's deadline, in which its clients should be gone; the rest is for the slow ones
SLACK = 2.0  # seconds a grant outlives its plan: clients come a moment after they were told to
CRASH = 10.0  # seconds in which the clients of a crash come back: they spread their first retry, and back off
STEADY = 0.8  # of what is free, as the rate of `take`: with the burst below no second has more than all of it
BURST = 0.2  # seconds' worth that `take` gives at once
LEAST = 1.0  # clients/s of a drain that finds nothing free: it must not stand still
GRANTS = 1_000  # that are remembered; a fleet of 1,000 servers that all leave at once


@dataclass(frozen=True, slots=True)
class Grant:
    """What one drain or crash may send to whom, in handshakes a second, until a moment."""

    rates: dict[str, float]  # server id -> clients a second
    until: float
    crash: bool = False

    @property
    def per_second(self) -> float:
        return sum(self.rates.values())


@dataclass(slots=True)
class _Bucket:
    """What `take` has left for one server."""

    left: float
    then: float


class Budget:
    """Who may be sent how much; `limits` are the servers that take newcomers, as they are now."""

    def __init__(self) -> None:
        self._limits: dict[str, float] = {}
        self._grants: dict[str, Grant] = {}
        self._buckets: dict[str, _Bucket] = {}

    def limits(self, limits: Mapping[str, float]) -> None:
        """Tell anew which servers take newcomers and what each said it takes a second (0: without limit)."""
        self._limits = {id: limit or UNLIMITED for id, limit in limits.items()}
        for id in self._buckets.keys() - self._limits.keys():
            del self._buckets[id]

    def limit(self, id: str) -> float:
        """What a server said it takes a second."""
        return self._limits.get(id, 0.0)

    def free(self, id: str, now: float) -> float:
        """What no drain and no crash holds of a server's limit."""
        self._expire(now)
        held = sum(grant.rates.get(id, 0.0) for grant in self._grants.values())
        return max(self._limits.get(id, 0.0) - held, 0.0)

    def fastest(self, targets: list[str], now: float) -> float:
        """Clients a second that a drain could send to these servers now at most."""
        return sum(self._for_drains(id, now) for id in targets)

    def likely(self, sessions: int, deadline: float, targets: list[str], now: float) -> float:
        """Clients a second that a drain to these servers would be granted now."""
        return max(_pace(sessions, deadline, self.fastest(targets, now)), LEAST)

    def drain(
        self, id: str, sessions: int, deadline: float, asked: float, loads: Mapping[str, int], now: float
    ) -> Grant:
        """Grant a drain its pace and who takes how much of it; again the same for the same `id`.

        `asked` is an operator's clients/s, 0 for whatever is right; `loads` the targets' sessions.
        """
        if (granted := self._grants.get(id)) is not None:
            return granted
        room = {target: self._for_drains(target, now) for target in loads if target in self._limits}
        all_of_it = sum(room.values())
        pace = min(all_of_it, asked) if asked else _pace(sessions, deadline, all_of_it)
        if pace < LEAST and loads:
            # Nothing is free, or next to nothing: one client a second is over the budget of nobody but on paper.
            pace = min(LEAST, asked or LEAST)
            rates = {target: pace / len(loads) for target in loads}
        else:
            rates = _shared(pace, room, loads, sessions)
        grant = Grant(rates, now + (sessions / pace if pace else 0.0) + SLACK)
        self._grant(id, grant)
        return grant

    def crash(self, id: str, sessions: int, loads: Mapping[str, int], now: float) -> Grant:
        """Set aside what the clients of a dead server need, as far as it is free: so much less have new drains."""
        room = {target: self.free(target, now) for target in loads if target in self._limits}
        pace = min(sum(room.values()), sessions / CRASH)
        grant = Grant(_shared(pace, room, loads, sessions), now + CRASH, crash=True)
        self._grant(id, grant)
        return grant

    def adopt(self, id: str, rates: Mapping[str, float], until: float) -> None:
        """Another tower granted this; of two answers the drain follows one, so each server's larger part counts."""
        known = self._grants.get(id)
        if known is None:
            self._grant(id, Grant(dict(rates), until))
        elif not known.crash:
            both = {one: max(known.rates.get(one, 0.0), rates.get(one, 0.0)) for one in known.rates.keys() | rates}
            self._grants[id] = Grant(both, max(known.until, until))

    def release(self, id: str) -> None:
        """A drain is over or was aborted."""
        self._grants.pop(id, None)

    def pace(self, id: str) -> float:
        """Clients a second that a drain was granted; 0 for none."""
        grant = self._grants.get(id)
        return grant.per_second if grant else 0.0

    def take(self, id: str, now: float) -> float:
        """Send one client to a server: 0.0 if it may go now, else the seconds until one may."""
        self._expire(now)
        drains = sum(grant.rates.get(id, 0.0) for grant in self._grants.values() if not grant.crash)
        free = max(self._limits.get(id, 0.0) - drains, 0.0)
        rate, most = free * STEADY, max(free * BURST, 1.0)
        bucket = self._buckets.setdefault(id, _Bucket(most, now))
        bucket.left = min(most, bucket.left + max(now - bucket.then, 0.0) * rate)
        bucket.then = max(bucket.then, now)
        if bucket.left >= 1.0:
            bucket.left -= 1.0
            return 0.0
        return (1.0 - bucket.left) / rate if rate else CRASH

    def _for_drains(self, id: str, now: float) -> float:
        free = self.free(id, now)
        return max(free - (1.0 - DRAINS) * self._limits.get(id, 0.0), 0.0)

    def _grant(self, id: str, grant: Grant) -> None:
        self._grants[id] = grant
        while len(self._grants) > GRANTS:
            del self._grants[next(iter(self._grants))]

    def _expire(self, now: float) -> None:
        for id in [id for id, grant in self._grants.items() if grant.until <= now]:
            del self._grants[id]


def _pace(sessions: int, deadline: float, all_of_it: float) -> float:
    """What a drain needs, or what is comfortable if that is more; never more than there is."""
    return min(all_of_it, max(sessions / max(deadline * USED, 0.1), COMFORT * all_of_it))


def _shared(pace: float, room: Mapping[str, float], loads: Mapping[str, int], sessions: int) -> dict[str, float]:
    """`pace` among the targets: towards equal loads, but nobody more than its room.

    Everybody first gets what evens the loads out; what one has no room for goes to the others by their room.
    """
    if not room or pace <= 0:
        return {}
    level = (sum(loads[id] for id in room) + sessions) / len(room)
    lacks = {id: max(level - loads[id], 0.0) for id in room}
    all_lacks = sum(lacks.values())
    rates = {id: min(room[id], pace * (lacks[id] / all_lacks if all_lacks else 1 / len(room))) for id in room}
    left = pace - sum(rates.values())
    spare = {id: room[id] - rates[id] for id in room}
    all_spare = sum(spare.values())
    if left > 0 and all_spare > 0:
        for id in room:
            rates[id] += min(spare[id], left * spare[id] / all_spare)
    return {id: rate for id, rate in rates.items() if rate > 0}
