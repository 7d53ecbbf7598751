"""One client of the audit: it keeps its rooms, positions and unanswered sends over any number of connections.

It does what the wire asks of a good client and tells an observer everything it sees. It repairs nothing that the
server should have kept: a hole, a repeat or a silence is for the checker.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from belfry.audit import frames
from belfry.audit.address import read_address
from belfry.audit.assign import assigned
from belfry.audit.backoff import back_after
from belfry.audit.link import Link
from belfry.audit.observation import Acked, Joined, Observation, Position, Refused, Saw, Sent, Told
from belfry.audit.waits import Ear
from chat import wire
from chat.closing import Return

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from belfry.audit.address import Address
    from belfry.audit.backoff import Backoff
    from belfry.audit.link import Ending
    from belfry.audit.meter import Meter
    from belfry.audit.readers import Readers

UNANSWERED = 50  # sends a client may have waiting; a server takes 60 at once from one that comes back
LIMIT = 50  # messages asked for at a first join
JOIN_TIMEOUT = 20.0  # seconds from a connection to all its rooms joined
WINDOW = 2.0  # seconds to spread the first retry over, before any server said
RETRY = 1.0  # seconds to wait after a temporary refusal that does not say how long


@dataclass(frozen=True, slots=True)
class Account:
    """Who a client is to the server."""

    user: str
    token: str


@dataclass(slots=True)
class _Waiting:
    room: str
    text: str
    since: float  # when it was sent first, by trio's clock


@dataclass(frozen=True, slots=True)
class _Plan:
    """The next attempt: where, with which token, and how many seconds from now."""

    address: Address
    token: str
    delay: float


class Client:
    """`run` it until it is cancelled; `send_nowait` whenever there is something to say."""

    def __init__(
        self,
        name: str,
        account: Account,
        addresses: Sequence[Address],
        rooms: Sequence[str],
        *,
        observe: Callable[[Observation], None],
        backoff: Backoff,
        meter: Meter,
        readers: Readers,
    ) -> None:
        self.name = name
        self.account = account
        self.rooms = list(rooms)
        self.observe = observe
        self.positions: dict[str, Position] = {}
        self.waiting: dict[str, _Waiting] = {}  # by nonce, in the order of sending
        self.link: Link | None = None  # the newest that has all rooms
        self.stopped: str | None = None  # why it will not come back
        self.readers = readers  # of the run; they must run
        self.ear = Ear()
        self.attempts = 0  # connections dialled
        self.reconnects = 0  # connections lost or given up for another
        self._addresses = deque(addresses)  # the first is where it is, the rest other servers of the fleet
        self._backoff = backoff
        self._meter = meter
        self._window = WINDOW
        self._hint: Address | None = None  # where to come back to after a crash, if not where it was
        self._tower: Address | None = None  # who knows where to go when nobody is there
        self._leaving = False
        self._lost_at: float | None = None  # since when it has no connection, after it had one
        self._nursery: trio.Nursery

    # --- for whoever drives it ---------------------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        """Whether it has a connection with all its rooms."""
        return self.link is not None and not self.link.ended.is_set()

    def send_nowait(self, room: str, nonce: str, text: str) -> bool:
        """Send a message, now or when there is a connection; False if too many are unanswered."""
        if len(self.waiting) >= UNANSWERED:
            self._meter.held_back += 1
            return False
        self.observe(Sent(self.name, room, self.account.user, nonce, text))
        self._meter.sent += 1
        now = trio.current_time()
        self._meter.waits.said(text, now)
        self.waiting[nonce] = _Waiting(room, text, now)
        if self.link is not None:
            self._flush(self.link)
        return True

    async def run(self) -> None:
        """Stay connected until cancelled; returns only when told never to come back."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            await self._stay(nursery)
            nursery.cancel_scope.cancel()

    async def leave(self) -> None:
        """Say goodbye, if there is somebody to say it to; `run` returns then."""
        self._leaving = True
        if self.link is not None:
            await self.link.leave()

    # --- coming back -------------------------------------------------------------------------------------------

    async def _stay(self, nursery: trio.Nursery) -> None:
        plan: _Plan | None = _Plan(self._addresses[0], self.account.token, 0.0)
        while plan is not None:
            await trio.sleep(plan.delay)
            self.attempts += 1
            self._meter.attempted(trio.current_time())
            link = Link(self, self.attempts, plan.address, plan.token)
            if await self._opens(nursery, link):
                plan = await self._use(nursery, link)
            else:
                plan = await self._by_the_tower(link, self._after_failure(link, plan))

    async def _opens(self, nursery: trio.Nursery, link: Link) -> bool:
        with trio.move_on_after(JOIN_TIMEOUT) as patience:
            ready: bool = await nursery.start(link.run)
        if patience.cancelled_caught:
            self._meter.errors["join timeout"] += 1
            return False
        return ready

    async def _use(self, nursery: trio.Nursery, link: Link) -> _Plan | None:
        """Be on this link until it ends or is told to move; what to do next."""
        before, self.link = self.link, link
        if self._lost_at is not None:
            self._meter.away.add(trio.current_time() - self._lost_at)
            self._lost_at = None
        self._live_at(link.address)
        self._flush(link)
        if before is not None and not before.ended.is_set():
            nursery.start_soon(before.leave)  # make before break: the new one has everything by now
        await link.changed.wait()
        if self._leaving:
            return None
        self.reconnects += 1
        self._meter.reconnects += 1
        if (moving := link.moving) is not None:
            self._backoff.lasted(link.lasted)
            address = read_address(moving.url) if moving.url else link.address
            return _Plan(address, moving.ticket, moving.not_before_ms / 1000)
        ending = link.ending
        assert ending is not None  # what else could have changed
        if back_after(ending.code) is Return.NEVER:
            self._stop(ending)
            return None
        # Never sooner than the server asked for, and not all of those it asked alike at one moment.
        delay = ending.retry_after + self._backoff.after_end(ending.lasted, self._window)
        return _Plan(self._hint or self._addresses[0], self.account.token, delay)

    def _after_failure(self, link: Link, plan: _Plan) -> _Plan | None:
        ending = link.ending
        assert ending is not None  # a link that is not ready has ended
        self._meter.errors[ending.why.partition(":")[0]] += 1
        delay = ending.retry_after + self._backoff.after_failure()
        never = back_after(ending.code) is Return.NEVER
        if never and plan.token == self.account.token:
            self._stop(ending)
            return None
        if self._addresses[0] == plan.address:
            self._addresses.rotate(-1)
        if never or ending.welcomed:
            # The ticket was refused, or has done its work: positions are the client's own anyway.
            return _Plan(self._addresses[0], self.account.token, delay)
        return _Plan(plan.address if len(self._addresses) == 1 else self._addresses[0], plan.token, delay)

    async def _by_the_tower(self, link: Link, plan: _Plan | None) -> _Plan | None:
        """The same, but to where the tower says, if nobody welcomed us where we were and it says anything."""
        ending = link.ending
        if plan is None or self._tower is None or ending is None or ending.welcomed:
            return plan
        began = trio.current_time()
        address = await assigned(self._tower, self.account.user, self.rooms[0] if self.rooms else "")
        waited = trio.current_time() - began
        return _Plan(address or plan.address, plan.token, max(0.0, plan.delay - waited))

    def _live_at(self, address: Address) -> None:
        """From now on this is where it is: after a crash it comes back here first."""
        if address in self._addresses:
            self._addresses.rotate(-self._addresses.index(address))
        else:
            self._addresses.appendleft(address)

    def _stop(self, ending: Ending) -> None:
        if not self._leaving:
            self.stopped = f"{ending.code} {ending.why}"
            self._meter.stopped.append(f"{self.name}: {self.stopped}")

    # --- what a link tells -------------------------------------------------------------------------------------

    def lost(self, link: Link) -> None:
        """A link is over; during a move there is another one."""
        if link is self.link and not self._leaving:
            self._lost_at = trio.current_time()

    def link_open(self, link: Link) -> None:
        """A websocket is open: say who we are, which rooms, and where we stand in each."""
        resume = {room: self.positions[room] for room in self.rooms if room in self.positions}
        link.asked.update(resume)
        link.post(wire.Hello(link.token, resume, client="belfry-audit"))
        for room in self.rooms:
            if room not in resume:
                link.asked[room] = None
                link.post(wire.Join(room, limit=LIMIT))

    def handle(self, link: Link, frame: frames.ServerFrame) -> None:
        """A frame came."""
        if isinstance(frame, frames.Message):
            self._saw(link, frame.room, link.epochs.get(frame.room, ""), frame.seq, frame.user.id, frame.text)
        elif isinstance(frame, wire.Ack):
            self._acked(link, frame)
        elif isinstance(frame, frames.Joined):
            self._joined(link, frame)
        elif isinstance(frame, wire.Presence):
            if frame.joined or frame.left:
                joined = tuple(user.id for user in frame.joined)
                self.observe(Told(self.name, link.number, frame.room, joined, tuple(frame.left), trio.current_time()))
        elif isinstance(frame, wire.Ping):
            link.post(wire.Pong())
        elif isinstance(frame, wire.Error):
            self._refused(link, frame)
        elif isinstance(frame, wire.Welcome):
            self._window = frame.reconnect.window_ms / 1000
            reconnect = frame.reconnect
            self._hint = read_address(reconnect.url) if reconnect.url else None
            self._tower = read_address(reconnect.tower) if reconnect.tower else None
            link.welcomed(frame)
        elif isinstance(frame, wire.Moving):
            link.move(frame)

    def _saw(self, link: Link, room: str, epoch: str, seq: int, user: str, text: str, *, old: bool = False) -> None:
        self.observe(Saw(self.name, link.number, room, epoch, seq, user, text))
        self._meter.delivered += 1
        if not old:  # else it was said before this client could be waiting for it
            self._meter.waits.heard(self.ear, text, trio.current_time())
        position = self.positions.get(room)
        if position is not None and position[0] == epoch and seq > position[1]:
            self.positions[room] = (epoch, seq)

    def _joined(self, link: Link, joined: frames.Joined) -> None:
        room, epoch = joined.room, joined.epoch
        position = self.positions.get(room)
        after = link.asked.pop(room, position)  # one that nobody asked for tells of a replaced room
        now, user = trio.current_time(), self.account.user
        self.observe(Joined(self.name, link.number, room, epoch, joined.head, after, LIMIT, joined.gap, user, now))
        link.epochs[room] = epoch
        if after is None or joined.gap or after[0] != epoch:
            start = joined.messages[0].seq - 1 if joined.messages else max(0, joined.head - LIMIT)
            if position is None or position[0] != epoch or position[1] < start:
                self.positions[room] = (epoch, start)
        old = after is None or joined.gap
        for message in joined.messages:
            self._saw(link, room, epoch, message.seq, message.user.id, message.text, old=old)
        self._flush(link)
        if not link.asked:
            link.all_joined()

    def _acked(self, link: Link, ack: wire.Ack) -> None:
        self.observe(Acked(self.name, link.number, ack.room, ack.nonce, ack.seq))
        link.posted.discard(ack.nonce)
        waiting = self.waiting.pop(ack.nonce, None)
        if waiting is not None:
            now = trio.current_time()
            self._meter.acked += 1
            self._meter.acks.add(now - waiting.since)
            self._meter.waits.acked(self.ear, now - waiting.since, now)

    def _refused(self, link: Link, error: wire.Error) -> None:
        self._meter.errors[error.code] += 1
        pause = RETRY if error.retry_ms is None else error.retry_ms / 1000
        about = error.ref or ""
        if about in self.waiting:
            if error.temporary:
                self._nursery.start_soon(self._send_again, link, about, pause)
            else:
                self.observe(Refused(self.name, self.waiting.pop(about).room, about, error.code))
        elif about in self.rooms:
            if error.temporary:
                self._nursery.start_soon(self._join_again, link, about, pause)
            else:
                self._lose_room(link, about, error.code)
        elif error.retry_ms is not None:
            link.wait_at_least(pause)

    # --- trying again ------------------------------------------------------------------------------------------

    async def _send_again(self, link: Link, nonce: str, pause: float) -> None:
        await trio.sleep(pause)
        link.posted.discard(nonce)
        self._flush(link)

    async def _join_again(self, link: Link, room: str, pause: float) -> None:
        await trio.sleep(pause)
        if room in self.rooms and not link.ended.is_set():
            link.asked[room] = self.positions.get(room)
            link.post(wire.Join(room, link.asked[room], LIMIT))

    def _lose_room(self, link: Link, room: str, code: str) -> None:
        self._meter.stopped.append(f"{self.name} in {room}: {code}")
        self.rooms.remove(room)
        self.positions.pop(room, None)
        link.asked.pop(room, None)
        if not link.asked:
            link.all_joined()

    def _flush(self, link: Link) -> None:
        """Put every unanswered send on its way that is not yet, where its room is joined."""
        if link.ended.is_set():
            return
        for nonce, waiting in self.waiting.items():
            if nonce not in link.posted and waiting.room in link.epochs:
                link.posted.add(nonce)
                link.post(wire.Send(waiting.room, nonce, waiting.text))
