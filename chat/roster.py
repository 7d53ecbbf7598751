"""Presence between rooms, servers and members: what changed is gathered for a tick and told once, never one by one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import trio

from bus.events import Asked, Members
from chat import wire
from chat.fanout import fan_out
from chat.frames import text_frame
from chat.peers import Peers
from chat.presence import NAMED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bus.events import Event
    from chat.live_room import LiveRoom
    from chat.session import Session

TICK = 0.1  # seconds between tellings in a small room
SERVERS_TICK = 0.3  # seconds between tellings to other servers: while thousands move, each room has news all the time
TICK_PER_MEMBER = 0.000_5  # and longer in large ones: 5,000 members are told each 2.5 s


class Roster:
    """Who is in the live rooms, here and on other servers, and who is still to be told."""

    def __init__(self, publish: Callable[[Event], None], quiet: Callable[[], float | None]) -> None:
        self._publish = publish
        self._quiet = quiet
        self._dirty: set[LiveRoom] = set()
        self._news: set[LiveRoom] = set()
        self.peers = Peers()
        self.held = False  # whether nothing may be told now

    def enter(self, live: LiveRoom, session: Session) -> None:
        """A socket joined here."""
        if live.presence.enter(session.user.id, session.user.name):
            live.news[session.user.id] = session.user.name
            self._news.add(live)
        self._changed(live)

    def leave(self, live: LiveRoom, session: Session) -> None:
        """A socket left here."""
        if live.presence.leave(session.user.id, trio.current_time()):
            live.news[session.user.id] = None
            self._news.add(live)
        self._changed(live)

    def taken_over(self, live: LiveRoom) -> None:
        """The room's sockets came from another process: tell what it had not told yet; who stayed there is leaving."""
        now = trio.current_time()
        live.presence.doubt(now)
        for origin in live.presence.origins():
            self.peers.heard(origin, now)  # a lease begins, as when they are heard of first
        self._changed(live)

    def settled(self, live: LiveRoom) -> bool:
        """Whether there is nothing left to tell of this room."""
        return live not in self._dirty and live not in self._news

    def forget(self, live: LiveRoom) -> None:
        """The room is gone."""
        self._dirty.discard(live)
        self._news.discard(live)

    def members_json(self, live: LiveRoom) -> bytes | None:
        """The members as they go into `joined`; None where they are too many to name."""
        if live.presence.count > NAMED:
            return None
        if live.members_named != live.presence.named:
            live.members_named = live.presence.named
            live.members_json = wire.encode([wire.User(i, n) for i, n in live.presence.members()])
        return live.members_json

    # --- other servers -----------------------------------------------------------------------------------------

    def ask(self, live: LiveRoom) -> None:
        """Ask the other servers who is in this room there."""
        if self._quiet() is not None:
            self._publish(Asked(live.order.name, bool(live.presence.origins())))

    def asked(self, live: LiveRoom, *, doubt: bool = False) -> None:
        """Another server asks who is here: everybody, at once; nobody, if it thinks that there may be somebody."""
        here = live.presence.here()
        if here or doubt:
            self._publish(Members(live.order.name, here, [], whole=True, made_at=time.time()))

    def asked_of_none(self, room: str) -> None:
        """The same for a room that nobody here is in."""
        self._publish(Members(room, [], [], whole=True, made_at=time.time()))

    def heard(self, origin: str, live: LiveRoom, members: Members) -> None:
        """Another server tells who came and went there, or all who are there."""
        now = trio.current_time()
        if members.whole:
            live.presence.set_elsewhere(origin, members.joined, now)
        for user_id, name in members.joined:
            live.presence.enter_elsewhere(origin, user_id, name)
        for user_id in members.left:
            live.presence.leave_elsewhere(origin, user_id, now)
        self._changed(live)

    def drop(self, origin: str, rooms: Iterable[LiveRoom], grace: float = 0.0) -> None:
        """A boot is over: its members leave all rooms together, unless they come elsewhere within the grace.

        After a planned stop they are on their way, and what tells of their arrival may be later than what tells of the
        stop; after a lease's end they had their time.
        """
        self.peers.ended(origin)
        now = trio.current_time()
        for live in rooms:
            if live.presence.drop_origin(origin, now + grace):
                self._changed(live)

    def _changed(self, live: LiveRoom) -> None:
        self._dirty.add(live)

    # --- tellings ----------------------------------------------------------------------------------------------

    async def tick(self) -> None:
        """Tell what changed, until cancelled."""
        told = -SERVERS_TICK
        while True:
            await trio.sleep(TICK)
            if self.held:
                continue
            now = trio.current_time()
            if now - told >= SERVERS_TICK:
                self._tell_servers()
                told = now
            for live in list(self._dirty):
                if self.held:
                    break
                if live in self._dirty and self._tell_members(live, now):
                    await trio.lowlevel.checkpoint()  # a frame to each member: 0.5 ms for 50, and 20 rooms are 10 ms

    def _tell_servers(self) -> None:
        news, self._news = self._news, set()
        for live in news:
            joined = [(user_id, name) for user_id, name in live.news.items() if name is not None]
            left = [user_id for user_id, name in live.news.items() if name is None]
            live.news = {}
            self._publish(Members(live.order.name, joined, left, made_at=time.time()))

    def _tell_members(self, live: LiveRoom, now: float) -> bool:
        """Tell the members here if it is time to; whether there was something to tell."""
        due = live.presence.due()
        if due is None:
            self._dirty.discard(live)
            return False
        if now < max(due, live.presence_due):
            return False
        joined, left = live.presence.changes(now)
        live.presence_due = now + TICK_PER_MEMBER * len(live.members)
        if not joined and not left:
            return False
        count = live.presence.count
        if count > NAMED:
            joined, left = [], []
        users = [wire.User(user_id, name) for user_id, name in joined]
        fan_out(live.members.values(), text_frame(wire.encode(wire.Presence(live.order.name, users, left, count))))
        return True
