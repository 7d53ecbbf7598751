"""Who is in a room, told so that nobody flickers. Pure; moments are seconds of any one clock.

A person is here while at least one of their sockets is, on any server. Leaving is told only after a grace, so that a
reconnect is no news; what changed since the last telling is told at once, merged: never one event per member.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterable

GRACE = 5.0  # seconds between the last socket's end and the telling: a redeploy's or a tunnel's reconnect fits
NAMED = 200  # members up to which names are told; above, only the count: 200 x 50 B = 10 KB a joined


class PresenceState(Struct, frozen=True):
    """What another process needs to tell a room's presence on without a flicker; who is here it counts by itself."""

    names: dict[str, str]  # user id -> name, of everybody who counts
    told: list[str]
    leaving: dict[str, float]  # user id -> seconds until the grace is over
    elsewhere: dict[str, list[str]]  # origin -> user ids


class Presence:
    """The members of one room: here by socket, on other servers by origin, and as last told to the room."""

    __slots__ = ("_away", "_changed", "_elsewhere", "_here", "_leaving", "_names", "_told", "named", "version")

    def __init__(self) -> None:
        self._here: dict[str, int] = {}  # user id -> sockets on this server
        self._elsewhere: dict[str, set[str]] = {}  # origin -> user ids
        self._names: dict[str, str] = {}
        self._leaving: dict[str, float] = {}  # user id -> when the grace is over
        self._away: dict[str, float] = {}  # the same of those who are nowhere: `due` is asked far too often to look
        self._told: set[str] = set()
        self._changed: set[str] = set()
        self.version = 0  # grows with everything that `state` would tell differently
        self.named = 0  # grows with everything that `members` would tell differently

    def enter(self, user_id: str, name: str) -> bool:
        """A socket of this user joined here; True if it is the user's first here."""
        sockets = self._here.get(user_id, 0)
        self._here[user_id] = sockets + 1
        self._arrived(user_id, name)
        return not sockets

    def leave(self, user_id: str, now: float, grace: float = GRACE) -> bool:
        """A socket of this user left; True if it was the user's last here."""
        sockets = self._here[user_id] - 1
        if sockets:
            self._here[user_id] = sockets
            return False
        del self._here[user_id]
        self._left(user_id, now + grace)
        return True

    def enter_elsewhere(self, origin: str, user_id: str, name: str) -> None:
        """The user is on another server's boot."""
        self._elsewhere.setdefault(origin, set()).add(user_id)
        self._arrived(user_id, name)

    def leave_elsewhere(self, origin: str, user_id: str, now: float) -> None:
        """The user's last socket on that boot is gone."""
        users = self._elsewhere.get(origin)
        if users is not None and user_id in users:
            users.discard(user_id)
            if not users:
                del self._elsewhere[origin]
            self._left(user_id, now + GRACE)

    def set_elsewhere(self, origin: str, users: Iterable[tuple[str, str]], now: float) -> None:
        """All users on that boot: who was there and is not among them has left."""
        left = self._elsewhere.get(origin, set()) - {user_id for user_id, _ in users}
        for user_id in left:
            self.leave_elsewhere(origin, user_id, now)

    def drop_origin(self, origin: str, now: float) -> bool:
        """A server's boot is over: all its users left, at once and together; False if it had none."""
        users = self._elsewhere.pop(origin, None)
        for user_id in users or ():
            self._left(user_id, now)
        return bool(users)

    def here(self) -> list[tuple[str, str]]:
        """The users with a socket on this server, as (id, name)."""
        return [(user_id, self._names[user_id]) for user_id in self._here]

    def _arrived(self, user_id: str, name: str) -> None:
        self.version += 1
        self._leaving.pop(user_id, None)
        self._away.pop(user_id, None)
        if self._names.get(user_id) != name:
            self._names[user_id] = name
            self.named += 1
        if user_id not in self._told:
            self._changed.add(user_id)

    def _left(self, user_id: str, when: float) -> None:
        """A socket ended, or an origin did; whichever grace lasts longest counts, also while another origin has them.

        That one may be an old boot whose end is still to be heard of, and its end takes nobody's grace away.
        """
        self.version += 1
        self._leaving[user_id] = max(when, self._leaving.get(user_id, when))
        self._look_for(user_id)

    def _look_for(self, user_id: str) -> None:
        when = self._leaving.get(user_id)
        if when is None or self._is_here(user_id):
            self._away.pop(user_id, None)
        else:
            self._away[user_id] = when

    def _is_here(self, user_id: str) -> bool:
        return user_id in self._here or any(user_id in users for users in self._elsewhere.values())

    # --- handed from process to process ------------------------------------------------------------------------

    def state(self, now: float) -> PresenceState:
        """Everything but the sockets here, for the process that takes them over."""
        return PresenceState(
            dict(self._names),
            list(self._told),
            {user_id: when - now for user_id, when in self._leaving.items()},
            {origin: list(users) for origin, users in self._elsewhere.items()},
        )

    def restore(self, state: PresenceState, now: float) -> None:
        """Go on from there; the sockets here are counted by `adopt`, before or after."""
        self._names = dict(state.names)
        self.named += 1
        self._told = set(state.told)
        self._leaving = {user_id: now + left for user_id, left in state.leaving.items()}
        self._elsewhere = {origin: set(users) for origin, users in state.elsewhere.items()}
        self._changed = set(self._names) ^ self._told
        for user_id in self._leaving:
            self._look_for(user_id)

    def adopt(self, user_id: str, sockets: int = 1) -> None:
        """Count sockets that were counted before, in another process: no news. Negative: it was too many."""
        count = self._here.get(user_id, 0) + sockets
        if count > 0:
            self._here[user_id] = count
        else:
            self._here.pop(user_id, None)
        self._look_for(user_id)

    def origins(self) -> list[str]:
        """The other servers' boots that have somebody here."""
        return list(self._elsewhere)

    def doubt(self, now: float) -> None:
        """Who is nowhere after a handover (a socket that stayed behind) is leaving, and has the usual grace."""
        for user_id in self._names:
            if user_id not in self._leaving and not self._is_here(user_id):
                self._left(user_id, now + GRACE)

    # -----------------------------------------------------------------------------------------------------------

    def due(self) -> float | None:
        """When `changes` will have something to say: 0.0 is at once, None never."""
        if self._changed:
            return 0.0
        return min(self._away.values(), default=None)

    def changes(self, now: float) -> tuple[list[tuple[str, str]], list[str]]:
        """(id and name of those who came, ids of those who left) since the last call."""
        for user_id in [u for u, when in self._leaving.items() if when <= now]:
            del self._leaving[user_id]
            self._away.pop(user_id, None)
            self._changed.add(user_id)
        joined, left = [], []
        self.version += bool(self._changed)
        for user_id in self._changed:
            here = self._is_here(user_id) or user_id in self._leaving
            if here and user_id not in self._told:
                self._told.add(user_id)
                joined.append((user_id, self._names[user_id]))
            elif not here:
                if user_id in self._told:
                    self._told.discard(user_id)
                    left.append(user_id)
                if self._names.pop(user_id, None) is not None:
                    self.named += 1
        self._changed.clear()
        return joined, left

    @property
    def count(self) -> int:
        """How many people are here, those within their grace too."""
        return len(self._names)

    def members(self, limit: int = NAMED) -> list[tuple[str, str]]:
        """Up to `limit` members as (id, name), by name."""
        return sorted(self._names.items(), key=lambda member: (member[1].casefold(), member[0]))[:limit]
