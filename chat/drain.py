"""The plan of a planned stop: when each client moves, and where to. Pure.

Everybody has a moment of their own, evenly inside the window: with n clients in w seconds n / w move in every second,
so the busiest second is the mean one, give or take one client. Where several servers take them, each gets its share in
every stretch of the window, not one after the other: of any first n clients no server has a whole client more or less
than its share of n (Tijdeman's chairman assignment: The chairman assignment problem, Discrete Math. 32, 1980).

With nobody to take over, a stop is a restart: clients come back by themselves, and all the plan does is spread them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bus.events import Target
from chat.others import can_go_to

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CLOSING_SHARE = 0.2  # of the deadline, kept for closing handshakes and the last commit
CLOSING_MAX = 5.0  # seconds; a longer deadline needs no longer end
GRACE = 3.0  # seconds a client has from its moment until it is closed 1012: a slow phone's two handshakes
GRACE_SHARE = 0.6  # of the time kept for closing, at most
MOST_TARGETS = 100  # of one answer that are looked at; a larger fleet is served by any hundred of it


@dataclass(frozen=True, slots=True)
class DrainPlan:
    """`sessions` clients leave one after the other, evenly, inside `window` seconds, to `targets`."""

    sessions: int
    window: float
    grace: float = 0.0  # seconds from its moment until a client that is still here is closed
    targets: tuple[Target, ...] = ()  # none: to the address they have
    slack: float = 0.0  # seconds by which everything may be later and still be inside the deadline

    def moment(self, index: int) -> float:
        """Seconds from the start of the drain at which client `index` (from 0) moves."""
        return self.window * index / self.sessions

    def urls(self) -> Iterator[str | None]:
        """Where each client goes, in the order of their moments; None is the address it has. Without end."""
        count = len(self.targets)
        if count <= 1:
            url = self.targets[0].url if count else None
            while True:
                yield url
        slack = 1.0 - 1.0 / (2 * count - 2)  # how far a server may be behind or ahead of its share, in clients
        given = [0] * count
        served = 0
        while True:
            served += 1
            # Of those that may have one more by now, the one that must have it soonest.
            may = [i for i, to in enumerate(self.targets) if to.share * served - given[i] >= 1.0 - slack - 1e-9]
            chosen = min(may, key=lambda i: (given[i] + slack) / self.targets[i].share)
            given[chosen] += 1
            yield self.targets[chosen].url


def plan_drain(
    sessions: int, deadline: float, pace: float, *, taken_over: bool = False, targets: Sequence[Target] = ()
) -> DrainPlan:
    """As slow as `pace` (clients a second; 0: all at once) asks for, as fast as `deadline` (seconds) needs.

    `taken_over`: others are there to go to, so that each client has time to go by itself before it is closed.
    """
    closing = min(CLOSING_MAX, deadline * CLOSING_SHARE)
    grace = min(GRACE, closing * GRACE_SHARE) if taken_over else 0.0
    longest = deadline - closing
    window = sessions / pace if pace else 0.0
    window = min(window, longest)
    return DrainPlan(sessions, window, grace, tuple(targets), slack=longest - window)


def fastest(deadline: float, sessions: int) -> float:
    """Clients a second that a deadline asks for."""
    longest = deadline - min(CLOSING_MAX, deadline * CLOSING_SHARE)
    return sessions / longest if longest > 0 else math.inf


def sound(targets: Sequence[Target], own_url: str) -> tuple[Target, ...]:
    """What of a tower's answer makes sense: places to go, not here, each once; shares that add up to 1."""
    good: dict[str, Target] = {}
    for target in targets[:MOST_TARGETS]:
        fits = target.url != own_url and can_go_to(target.url) and math.isfinite(target.share) and target.share > 1e-6
        if fits and target.share <= 1.0:
            good.setdefault(target.url, target)
    total = sum(target.share for target in good.values())
    return tuple(Target(target.url, target.share / total) for target in good.values())


def evenly(urls: Sequence[str]) -> tuple[Target, ...]:
    """The same share for each of these addresses."""
    some = urls[:MOST_TARGETS]
    return tuple(Target(url, 1.0 / len(some)) for url in some)
