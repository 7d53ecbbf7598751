"""Where a client goes: the emptier of two servers drawn at random, and the same one when it asks again soon. Pure.

Two are enough: the fullest server of n then has about log log n more than the mean, where one random one has
log n / log log n (Mitzenmacher, 2001), and unlike "always the emptiest" a wave does not fall onto one server.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator, Sequence

    from tower.budget import Budget
    from tower.fleet import Server

GRACE = 10.0  # seconds in which a user who asks again is sent to the same server: the retries of one reconnect
USERS = 100_000  # whose server is remembered: 200 B each, 20 MB
AT_LEAST = 1.0  # seconds of Retry-After when nobody takes newcomers


@dataclass(frozen=True, slots=True)
class Sent:
    """Where a user was sent last."""

    server: str
    boot: str
    until: float


class Placement:
    """Sends clients to servers."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._sent: OrderedDict[str, Sent] = OrderedDict()
        self._coming: dict[str, tuple[float, int]] = {}  # id -> (its newest beat, how many were sent since)
        self._staying: list[Server] = []
        self._going: list[Server] = []
        self._leaving: set[str] = set()
        self._ready: dict[str, Server] = {}

    def offer(self, servers: Sequence[Server], going: set[str]) -> None:
        """Tell anew who is there; of the ready ones, those that stay are taken before those that are about to go."""
        ready = [server for server in servers if server.state == "ready"]
        self._ready = {server.id: server for server in ready}
        self._leaving = going
        self._staying = [server for server in ready if server.id not in going]
        self._going = [server for server in ready if server.id in going]
        for id in self._coming.keys() - self._ready.keys():
            del self._coming[id]

    @property
    def preferred(self) -> list[Server]:
        """Who is to take clients: the ready ones that stay, or if there are none, those that are about to go."""
        return self._staying or self._going

    def assign(self, user: str, budget: Budget, now: float) -> tuple[Server | None, float]:
        """A server for a client, and 0.0; or nobody, and the seconds after which there may be one."""
        soonest = 60.0
        for server in self._candidates(user, now):
            wait = budget.take(server.id, now)
            if not wait:
                self._send(user, server, now)
                return server, 0.0
            soonest = min(soonest, wait)
        return None, max(AT_LEAST, soonest if self._ready else AT_LEAST)

    def _candidates(self, user: str, now: float) -> Iterator[Server]:
        """Servers in the order in which they are asked; the first nearly always takes the client."""
        sent = self._sent.get(user) if user else None
        if sent is not None and sent.until > now:
            again = self._ready.get(sent.server)
            # One that is about to go keeps nobody: who has not reached it yet is spared a move.
            if again is not None and again.boot == sent.boot and not (self._staying and again.id in self._leaving):
                yield again
        for servers in (self._staying, self._going):
            yield from sorted(self._rng.sample(servers, min(2, len(servers))), key=self._load)
            # Over their budget, both: then whoever has some left, the emptiest first.
            if len(servers) > 2:
                yield from sorted(servers, key=self._load)

    def _load(self, server: Server) -> int:
        made, count = self._coming.get(server.id, (0.0, 0))
        return server.sessions + (count if made == server.beat.made_at else 0)

    def _send(self, user: str, server: Server, now: float) -> None:
        made, count = self._coming.get(server.id, (0.0, 0))
        made_now = server.beat.made_at
        self._coming[server.id] = (made_now, count + 1 if made == made_now else 1)
        if user:
            self._sent[user] = Sent(server.id, server.boot, now + GRACE)
            self._sent.move_to_end(user)
            if len(self._sent) > USERS:
                self._sent.popitem(last=False)
