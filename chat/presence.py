"""Who is in a room, told so that nobody flickers. Pure; moments are seconds of any one clock.

A person is here while at least one of their sockets is, on any server. Leaving is told only after a grace, so that a
reconnect is no news; what changed since the last telling is told at once, merged: never one event per member.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

GRACE = 5.0  # seconds between the last socket's end and the telling: a redeploy's or a tunnel's reconnect fits
NAMED = 200  # members up to which names are told; above, only the count: 200 x 50 B = 10 KB a joined


class Presence:
    """The members of one room: here by socket, on other servers by origin, and as last told to the room."""

    __slots__ = ("_changed", "_elsewhere", "_here", "_leaving", "_names", "_told")

    def __init__(self) -> None:
        self._here: dict[str, int] = {}  # user id -> sockets on this server
        self._elsewhere: dict[str, set[str]] = {}  # origin -> user ids
        self._names: dict[str, str] = {}
        self._leaving: dict[str, float] = {}  # user id -> when the grace is over
        self._told: set[str] = set()
        self._changed: set[str] = set()

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
        self._leaving.pop(user_id, None)
        self._names[user_id] = name
        if user_id not in self._told:
            self._changed.add(user_id)

    def _left(self, user_id: str, when: float) -> None:
        if not self._is_here(user_id):
            self._leaving[user_id] = when

    def _is_here(self, user_id: str) -> bool:
        return user_id in self._here or any(user_id in users for users in self._elsewhere.values())

    def due(self) -> float | None:
        """When `changes` will have something to say: 0.0 is at once, None never."""
        if self._changed:
            return 0.0
        return min(self._leaving.values(), default=None)

    def changes(self, now: float) -> tuple[list[tuple[str, str]], list[str]]:
        """(id and name of those who came, ids of those who left) since the last call."""
        for user_id in [u for u, when in self._leaving.items() if when <= now]:
            del self._leaving[user_id]
            self._changed.add(user_id)
        joined, left = [], []
        for user_id in self._changed:
            here = self._is_here(user_id) or user_id in self._leaving
            if here and user_id not in self._told:
                self._told.add(user_id)
                joined.append((user_id, self._names[user_id]))
            elif not here:
                if user_id in self._told:
                    self._told.discard(user_id)
                    left.append(user_id)
                self._names.pop(user_id, None)
        self._changed.clear()
        return joined, left

    @property
    def count(self) -> int:
        """How many people are here, those within their grace too."""
        return len(self._names)

    def members(self, limit: int = NAMED) -> list[tuple[str, str]]:
        """Up to `limit` members as (id, name), by name."""
        return sorted(self._names.items(), key=lambda member: (member[1].casefold(), member[0]))[:limit]
