"""All sessions of one server, what they share, and the pulse that looks after the quiet ones."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

import trio

from chat import wire
from chat.budget import Budget
from chat.closing import EXPIRED, NO_PONG, REPLACED, Closing
from chat.errors import Refused
from chat.frames import text_frame
from chat.others import Others, own_url
from chat.revocations import Revocations
from chat.tickets import UsedTickets
from chat.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from chat.committer import Committer
    from chat.config import Config
    from chat.hub import Hub
    from chat.metrics import Metrics
    from chat.session import Session
    from chat.tokens import Identity, Tokens

log = logging.getLogger("belfry.chat.sessions")

PULSE = 1.0  # seconds between looks at all sessions: 0.1 us each, 1 ms for 10,000
PONG_PATIENCE = 2.0  # heartbeats without a byte before a client is closed 4002

PING = text_frame(wire.encode(wire.Ping()))


class Sessions:
    """The registry of sessions: by socket and by user."""

    def __init__(self, config: Config, tokens: Tokens, hub: Hub, committer: Committer, metrics: Metrics) -> None:
        self.config = config
        self.tokens = tokens
        self.hub = hub
        self.committer = committer
        self.metrics = metrics
        self.revocations = Revocations(hub.store, hub.publish, self.close_user, hub.quiet)
        self.now = trio.current_time
        self.draining = False  # no websocket comes in any more
        self.direct = True  # whether clients come to where this server listens, as far as their requests tell
        self.others = Others(config.server_id, own_url(config))
        self.budget = Budget(config.limits.handshakes_per_second)
        self.coming = Turns()  # for each step of those who come in
        self._used = UsedTickets()
        self.frozen = False  # while the sockets are between two processes: nobody is closed or pinged
        self._all: dict[Session, None] = {}  # in the order they came
        self._by_user: dict[str, list[Session]] = {}
        self._empty = trio.Event()
        metrics.gauges["sessions"] = lambda: len(self._all)
        metrics.gauges["handshakes_busiest_second"] = lambda: self.budget.most
        limits = config.limits
        self._reconnect = wire.Reconnect(int(config.reconnect_window * 1_000), config.public_url, config.tower)
        self._limits = wire.Limits(
            limits.text_chars, limits.frame_bytes, limits.rooms_per_session, limits.send_rate, limits.send_burst
        )

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Session]:
        return iter(self._all)

    def __contains__(self, session: Session) -> bool:
        return session in self._all

    def identify(self, token: str) -> Identity:
        """Who this token or ticket names; a ticket is good once. Raises Refused("bad_token")."""
        identity = self.tokens.verify(token)
        if identity.ticket and not self._used.use(identity.ticket, identity.ticket_until, time.time()):
            raise Refused("bad_token", "the ticket was used before")
        return identity

    def origins(self) -> Collection[str]:
        """The pages that may connect: the allowed ones, and those of the fleet's own servers."""
        return {*self.config.origins, *self.others.origins}

    def came_to(self, host: str | None) -> None:
        """A client came in, and this is where it thinks that it is."""
        port = (host or "").rpartition(":")[2]
        if self.direct and port.isdigit() and int(port) != self.config.port and self.config.port:
            self.direct = False
            log.debug("a client came by way of %s: there is a proxy", host)

    def welcome(self, user: wire.User) -> bytes:
        """The frame that answers a good hello."""
        config = self.config
        heartbeat_ms = int(config.heartbeat * 1_000)
        return text_frame(
            wire.encode(wire.Welcome(user, config.server_id, heartbeat_ms, self._reconnect, self._limits))
        )

    def enter(self, session: Session) -> None:
        """A session said hello; its user's oldest gives way if there are too many."""
        self._all[session] = None
        mine = self._by_user.setdefault(session.user.id, [])
        mine.append(session)
        limit = self.config.limits.sessions_per_user
        if limit:  # not the oldest alone: it may be closing already, for another that came in the same moment
            for session in mine[:-limit]:
                session.close(REPLACED)

    def adopt(self, session: Session) -> None:
        """A session that said hello to the process before this one: its limits were kept there."""
        self._all[session] = None
        self._by_user.setdefault(session.user.id, []).append(session)

    def disown(self, session: Session) -> None:
        """Forget a session that stays with the process before this one, or went to the next."""
        if self._all.pop(session, self) is None:
            mine = self._by_user[session.user.id]
            mine.remove(session)
            if not mine:
                del self._by_user[session.user.id]
            if not self._all:
                self._empty.set()

    def leave(self, session: Session) -> None:
        """A session ended, whether it had said hello or not."""
        if session in self._all:
            self.disown(session)
            session.leave_all()

    def close_user(self, user_id: str, closing: Closing) -> int:
        """Close all sessions of a user; how many there were."""
        mine = list(self._by_user.get(user_id, ()))
        for session in mine:
            session.close(closing)
        return len(mine)

    async def pulse(self) -> None:
        """Ping who is quiet, close who is gone or whose token has expired, until cancelled."""
        heartbeat = self.config.heartbeat
        while True:
            await trio.sleep(PULSE)
            if self.frozen:
                continue
            now, wall = self.now(), time.time()
            for session in list(self._all):
                quiet = now - session.heard
                if session.expires_at <= wall:
                    session.close(EXPIRED)
                elif not heartbeat or quiet < heartbeat:
                    continue
                elif quiet >= heartbeat * PONG_PATIENCE:
                    session.close(NO_PONG)
                elif not session.pinged:
                    session.pinged = True
                    session.outbox.post(PING)

    # --- drain -------------------------------------------------------------------------------------------------

    def send_away(self, closing: Closing) -> None:
        """Close everybody who is here now, without waiting."""
        for session in list(self._all):
            session.close(closing)

    async def close_all(self, closing: Closing) -> None:
        """Close whoever is here still, and wait until nobody is."""
        self.send_away(closing)
        await self.wait_empty()

    async def wait_empty(self) -> None:
        """Wait until no session is left."""
        await trio.lowlevel.checkpoint()
        while self._all:
            self._empty = trio.Event()
            await self._empty.wait()
