"""The operator's verbs: whether one may be done to a server now, and in plain words what it will do. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tower.errors import Refused
from tower.fleet import GONE
from tower.notes import people

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tower.budget import Budget
    from tower.fleet import Server

VERBS = ("cordon", "uncordon", "drain", "abort")
DEADLINE = 25.0  # seconds; a server's own default, for the words when the operator names none
AFTER = "it is cordoned then, to be stopped or uncordoned"
MOST = 3_600.0  # seconds of a drain: over an hour it is a cordon


@dataclass(frozen=True, slots=True)
class Wish:
    """What an operator asks for; 0 is whatever is right."""

    verb: str
    per_second: float = 0.0  # clients a second
    deadline: float = 0.0  # seconds
    force: bool = False


def decide(
    id: str, wish: Wish, servers: Mapping[str, Server], targets: list[Server], budget: Budget, now: float
) -> str:
    """What the verb will do, in words. Raises Refused.

    `targets` are the servers that would take clients, the one itself perhaps among them.
    """
    if not (math.isfinite(wish.per_second) and 0 <= wish.per_second <= 1_000_000):
        raise Refused("bad_request", "per_second is clients a second, from 0 (whatever is right) to 1,000,000")
    if not (math.isfinite(wish.deadline) and 0 <= wish.deadline <= MOST):
        raise Refused("bad_request", f"deadline is seconds, from 0 (the server's own) to {MOST:,.0f}")
    server = servers.get(id)
    if server is None:
        there = ", ".join(list(servers)[:10]) or "none yet"
        raise Refused("server_missing", f'no server "{id[:64]}" was heard of; there are: {there}')
    if server.state in GONE:
        gone = "has stopped" if server.state == "stopped" else "fell silent"
        raise Refused("server_gone", f"{id} {gone} {_ago(now - server.seen_at)} ago")
    others = [target for target in targets if target.id != id]
    match wish.verb:
        case "cordon":
            return _cordon(server, wish, others)
        case "uncordon":
            if server.state != "cordoned":
                raise Refused("wrong_state", f"{id} is {server.state}, not cordoned")
            return f"{id} takes newcomers again"
        case "abort":
            if server.state != "draining":
                raise Refused("wrong_state", f"{id} is {server.state}, not draining")
            beat = server.beat
            left = max(beat.to_move - beat.moved, 0) if beat.to_move else server.sessions
            return f"{id}'s drain ends: the {people(left)} still there stay"
        case "drain":
            return _drain(server, wish, others, budget, now)
    raise Refused("bad_request", f"there are {', '.join(VERBS)}")


def _cordon(server: Server, wish: Wish, others: list[Server]) -> str:
    if server.state not in ("ready", "starting"):
        raise Refused("wrong_state", f"{server.id} is {server.state} already")
    if not others and not wish.force:
        raise Refused("last_server", f"{server.id} is the last server that takes newcomers; --force cordons it")
    rest = _names(others) if others else "nobody"
    return f"{server.id} keeps its {people(server.sessions)}; newcomers go to {rest}"


def _drain(server: Server, wish: Wish, others: list[Server], budget: Budget, now: float) -> str:
    if server.state == "draining":
        raise Refused("wrong_state", f"{server.id} is draining already; abort that first")
    count = server.sessions
    if not others:
        if not wish.force:
            raise Refused(
                "last_server", f"{server.id} is the last server that takes clients; start another, or give --force"
            )
        return f"{people(count)} will be told to come back to the same address: nobody else takes them; {AFTER}"
    if not count:
        return f"nobody is on {server.id}; {AFTER}"
    fastest = budget.fastest([target.id for target in others], now)
    if wish.per_second > fastest:
        raise Refused(
            "too_fast",
            f"{wish.per_second:,.0f} a second is more than {_names(others)} can take now; "
            f"give at most {math.floor(fastest):,}",
        )
    pace = wish.per_second or fastest
    if wish.deadline and (pace <= 0 or count / pace > wish.deadline):
        need = f"a deadline of at least {math.ceil(count / pace)} s" if pace > 0 else "a later moment"
        slow = f"at {pace:,.0f} a second {people(count)} need longer than {wish.deadline:g} s: give {need}"
        if wish.per_second and fastest * wish.deadline >= count:
            slow += f", or a rate of at least {math.ceil(count / wish.deadline):,}"
        raise Refused("too_fast", slow)
    likely = wish.per_second or budget.likely(count, wish.deadline or DEADLINE, [one.id for one in others], now)
    return f"{people(count)} will be moved over about {_about(count / likely)} to {_names(others)}; {AFTER}"


def _names(servers: list[Server]) -> str:
    names = [server.id for server in servers]
    if len(names) > 4:
        return f"{', '.join(names[:3])} and {len(names) - 3} others"
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _about(seconds: float) -> str:
    return f"{math.ceil(seconds):,} s"


def _ago(seconds: float) -> str:
    return f"{seconds / 60:,.0f} min" if seconds >= 120 else f"{max(seconds, 0):.0f} s"
