"""Presence as the audit's clients were told it: who was said to have left a room though it was there. Pure.

A server promises that nobody flickers in a planned stop: to say that somebody left, it waits `GRACE` for them to come
back. So a telling is judged by what its subject was doing. It was away for as long as the grace: then it is true, a
departure. It was not: then it is a flap, whether it is taken back later or not.

A flap breaks a promise when all that happened was planned. When a server dies or stands still, the others cannot know
that its clients have not heard of it yet; their telling is false, and cannot be helped. The sign of it is a connection
that ended without `moving` before it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from chat.peers import LEASE
from chat.presence import GRACE

if TYPE_CHECKING:
    from belfry.audit.observation import Closed, Joined, Told

AWAY = 0.8 * GRACE  # seconds without a connection that excuse a telling: the server's clock began before ours
LATE = LEASE + GRACE + 5.0  # seconds after its return in which a telling may still come: rooms of 5,000 wait 2.5 s
EXAMPLES = 5


class _Member:
    """One user in one room."""

    __slots__ = ("away_since", "excused_until", "links", "told_at", "told_left")

    def __init__(self) -> None:
        self.links: set[tuple[str, int]] = set()  # connections that are in the room
        self.away_since: float | None = None  # since when it has none
        self.excused_until = -math.inf  # its last long absence may be told until then
        self.told_left: set[str] = set()  # clients that believe it gone by this flap
        self.told_at = 0.0  # when this flap was heard first


class Flaps:
    """Fold joins, ends and tellings in; `count` says how often somebody was falsely said to have left."""

    def __init__(self) -> None:
        self._members: dict[tuple[str, str], _Member] = {}  # (room, user)
        self._rooms_of: dict[tuple[str, int], list[tuple[str, str]]] = {}  # (client, link) -> what it is in
        self.count = 0
        self.departures = 0  # tellings that were true, as often as somebody heard one
        self.unplanned = 0  # connections that ended in a room without a word before
        self.examples: list[str] = []

    def joined(self, joined: Joined) -> None:
        """A client is in a room by this connection."""
        if not joined.user:
            return
        key = (joined.room, joined.user)
        link = (joined.client, joined.link)
        member = self._members.get(key)
        if member is None:
            member = self._members[key] = _Member()
        if member.away_since is not None:
            if joined.at - member.away_since >= AWAY:
                member.excused_until = joined.at + LATE
            member.away_since = None
        if link not in member.links:
            member.links.add(link)
            self._rooms_of.setdefault(link, []).append(key)

    def closed(self, closed: Closed) -> None:
        """A connection ended."""
        link = (closed.client, closed.link)
        rooms = self._rooms_of.pop(link, ())
        if rooms and not closed.planned:  # who was in no room yet cannot be missed in one
            self.unplanned += 1
        for key in rooms:
            member = self._members[key]
            member.links.discard(link)
            if not member.links:
                member.away_since = closed.at

    def told(self, told: Told) -> None:
        """A client was told who came and went."""
        for user in told.joined:
            member = self._members.get((told.room, user))
            if member is not None:
                member.told_left.discard(told.client)
        for user in told.left:
            member = self._members.get((told.room, user))
            if member is not None:
                self._left(told, user, member)

    def _left(self, told: Told, user: str, member: _Member) -> None:
        away = member.away_since
        if told.at <= member.excused_until or (away is not None and told.at - away >= AWAY):
            self.departures += 1
            return
        if member.told_left and told.client not in member.told_left and told.at - member.told_at < GRACE:
            member.told_left.add(told.client)  # the same flap, heard by one more
            return
        member.told_left, member.told_at = {told.client}, told.at
        self.count += 1
        if len(self.examples) < EXAMPLES:
            where = "connected all the time" if away is None else f"away for {told.at - away:.1f} s only"
            self.examples.append(f"{told.client} was told that {user} left {told.room}; it was {where}")
