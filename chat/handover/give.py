"""Giving the living sockets to the successor: the side of the process that ends.

The conversation, G the giver and T the taker, over one channel:

    G serves   G Offer      T Accept, or Decline          each knows the other's language
               G Told...    G AllTold    T Ready          rooms and clients with their sockets, as of a moment ago
    G frozen   G Changes... G Over       T Taken          what is different now; the store's lock changes hands
               G Go                                       from here on the sockets are T's
    T serves   T Settled                                  G lets go of its descriptors and ends

Nobody reads or writes a client's socket between the freeze and Go, so that span is the longest any client waits: it
holds the commit that is in flight, what changed since a moment ago, and nothing else. Told costs the clients nothing:
it is made in slices, and the kernel keeps both processes' descriptors of a socket apart.

Whoever breaks off before Go, the giver serves on (`_take_back`): it has forgotten nothing, and the taker has touched
no socket. A taker that hears Back forgets everything; one that hears nothing more after Over knows that the giver is
dead, and serves. A taker that dies between Go and Settled may have written half a frame anywhere: its clients are told
to reconnect (1012), resume by their positions, and lose nothing.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
import trio

from chat.closing import MOVED
from chat.handover import record
from chat.handover.channel import ChannelBroken

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from chat.door import Connection, Door
    from chat.handover.channel import Channel
    from chat.handover.lock import StoreLock
    from chat.live_room import LiveRoom
    from chat.server import ChatServer
    from chat.session import Session

log = logging.getLogger("belfry.chat.handover")

TOLD_TIMEOUT = 20.0  # seconds until the successor has everything; 5,000 clients take it half of one
FROZEN_TIMEOUT = 3.0  # seconds without anybody served, at most; 5,000 clients take 0.1
SETTLE_TIMEOUT = 5.0  # seconds after Go in which the successor says that it lives
LOCK_PATIENCE = (
    0.5  # seconds; a successor that ends lets go of the store's lock at once, one that hangs when it is killed
)
GOODBYE = 2.5  # seconds for the closing handshakes of those that were sent away; a session's own wait is 2
SLICE = 200  # clients put into one message between two checkpoints: 1 ms


class HandoverFailed(Exception):
    """It was broken off before anything was given; the giver serves on. str() says why, in one line."""


@dataclass(frozen=True, slots=True)
class Given:
    """How it went."""

    moved: int  # sockets that the successor has
    left_behind: int  # clients that were told to reconnect
    settled: bool  # False: the successor died right after, and all were told to reconnect
    stall_ms: float


@dataclass(slots=True)
class _Known:
    """What the successor was told of a client or a room, to tell it only the difference later."""

    key: int
    rooms: tuple[str, ...]


@dataclass(slots=True)
class _Plan:
    """Everything that has to be told at the end, made in one piece: nothing may move between its parts."""

    changes: list[tuple[record.Changes, list[int]]] = field(default_factory=list)
    sessions: list[Session] = field(default_factory=list)
    strangers: list[Connection] = field(default_factory=list)
    left: list[Connection] = field(default_factory=list)


@dataclass(slots=True)
class _Part:
    """One Changes on its way, and the descriptors that go with it."""

    changes: record.Changes
    late: list[int] = field(default_factory=list)
    strangers: list[int] = field(default_factory=list)


def _with_room(parts: list[_Part]) -> _Part:
    """The part that takes one more socket."""
    if len(parts[-1].late) + len(parts[-1].strangers) >= record.SOCKETS_A_PART:
        parts.append(_Part(_changes()))
    return parts[-1]


def fingerprint(live: LiveRoom) -> tuple[int, ...]:
    """Differs when anything that RoomState tells of the room differs."""
    return (live.order.id, live.order.head, live.order.known, live.presence.version, live.marks_version,
            len(live.marks_dirty))  # fmt: skip


class Giver:
    """One attempt to give everything to the process at the other end of a channel."""

    def __init__(self, server: ChatServer, door: Door, channel: Channel, lock: StoreLock) -> None:
        self._server = server
        self._door = door
        self._channel = channel
        self._lock = lock
        self._sessions: dict[Session, _Known] = {}
        self._rooms: dict[str, tuple[int, ...]] = {}  # name -> fingerprint as told
        self._heads: dict[str, int] = {}
        self._keys = 0
        self._released = False

    async def give(self) -> Given:
        """Give, and wait until the successor lives. Raises HandoverFailed when nothing was given."""
        try:
            with trio.fail_after(TOLD_TIMEOUT):
                await self._tell()
        except (ChannelBroken, msgspec.MsgspecError) as error:
            raise HandoverFailed(f"the successor ended while it was told: {error}") from None
        except trio.TooSlowError:
            await self._say_back()
            raise HandoverFailed(f"the successor was not ready within {TOLD_TIMEOUT:g} s") from None
        except HandoverFailed:
            await self._say_back()
            raise
        except Exception:
            failed = _mistake()
            await self._say_back()
            raise failed from None
        frozen_at = time.monotonic()
        plan = None
        try:
            with trio.fail_after(FROZEN_TIMEOUT):
                await self._freeze()
                plan = self._plan()
                await self._hand(plan, frozen_at)
        except BaseException as error:
            # Cancelled too, and our own mistakes: until Go they are ours, whatever happens.
            with trio.CancelScope(shield=True):
                await self._take_back(plan)
            if isinstance(error, (ChannelBroken, msgspec.MsgspecError)):
                raise HandoverFailed(f"the successor ended while it took over: {error}") from None
            if isinstance(error, trio.TooSlowError):
                raise HandoverFailed(f"the successor did not take over within {FROZEN_TIMEOUT:g} s") from None
            if isinstance(error, Exception):
                raise _mistake() from None
            raise
        self._server.hub.silence()
        return await self._let_go(plan)

    # --- while everybody is served -----------------------------------------------------------------------------

    async def _tell(self) -> None:
        server = self._server
        sessions = [one for one in self._door.sessions() if one.greeted and not one.closing]
        config = server.config
        rooms = len(server.hub)
        await self._say(
            record.Offer(record.FORMAT, config.version, config.server_id, config.boot, len(sessions), rooms)
        )
        answer = await self._hear()
        if isinstance(answer, record.Decline):
            raise HandoverFailed(f"the successor declined: {answer.why}")
        for rooms_part in record.parts_of_rooms(self._room_states()):
            await self._say(record.Told(rooms=rooms_part))
        for at in range(0, len(sessions), SLICE):
            part = [one for one in sessions[at : at + SLICE] if not one.closing]  # some left since
            states = [self._state(one) for one in part]
            await self._say(record.Told(sessions=states), [one.websocket.sock.fileno() for one in part])
        await self._say(record.AllTold())
        if not isinstance(await self._hear(), record.Ready):
            raise HandoverFailed("the successor said something else than that it is ready")

    def _room_states(self) -> Iterator[record.RoomState]:
        for live in list(self._server.hub.lives()):
            if self._server.hub.peek(live.order.name) is live:
                yield self._room_state(live)

    def _room_state(self, live: LiveRoom) -> record.RoomState:
        order = live.order
        self._rooms[order.name] = fingerprint(live)
        self._heads[order.name] = order.head
        window = order.since(order.window_start) or []
        presence = live.presence.state(trio.current_time())
        return record.RoomState(
            order.name, order.id, order.epoch, order.head, order.known, window, live.marks, list(live.marks_dirty),
            presence,
        )  # fmt: skip

    def _state(self, session: Session) -> record.SessionState:
        self._keys += 1
        rooms = tuple(session.rooms)
        self._sessions[session] = _Known(self._keys, rooms)
        identity = session.identity
        return record.SessionState(
            self._keys, identity.user_id, identity.name, session.expires_at, identity.admin, list(rooms)
        )

    # --- while nobody is -------------------------------------------------------------------------------------

    async def _freeze(self) -> None:
        """Stop reading, and wait until everything that was read is done: committed, acked, answered."""
        server = self._server
        server.sessions.frozen = server.beats.held = True
        self._door.freeze()
        server.readers.freeze()
        for _ in range(2):  # those that were woken with bytes take one turn, what they wake another
            await trio.lowlevel.checkpoint()
        await server.committer.wait_idle()
        for _ in range(2):  # the same for those that waited for an ack
            await trio.lowlevel.checkpoint()

    def _plan(self) -> _Plan:
        """What is different now. Not a checkpoint: rooms and outboxes are of one moment."""
        server, plan = self._server, _Plan()
        server.hub.hold()
        parts = [_Part(self._room_changes())]
        unchanged = dict(self._sessions)
        gone: list[record.SessionChange] = []
        for connection in self._door.connections():
            session = connection.session
            if session is not None and session.greeted:
                known = unchanged.pop(session, None)
                if session.closing or not server.readers.waiting(session.websocket.sock):
                    plan.left.append(connection)
                    if known is not None:
                        gone.append(record.SessionChange(known.key, gone=True))
                    continue
                plan.sessions.append(session)
                self._session_change(session, known, parts)
            elif connection.idle or (
                session is not None and not session.closing and server.readers.waiting(session.websocket.sock)
            ):
                plan.strangers.append(connection)
                part = _with_room(parts)
                part.changes.strangers.append(_stranger(connection))
                part.strangers.append(connection.sock.fileno())
            else:
                plan.left.append(connection)
        gone += [record.SessionChange(known.key, gone=True) for known in unchanged.values()]
        parts[0].changes.sessions.extend(gone)
        plan.changes = [(part.changes, part.late + part.strangers) for part in parts]
        return plan

    def _session_change(self, session: Session, known: _Known | None, parts: list[_Part]) -> None:
        unsent, unread = session.outbox.hold(), session.websocket.unread()
        if known is None:
            state = self._state(session)
            change = record.SessionChange(state.key, unread=unread, unsent=unsent)
            part = _with_room(parts)
            part.changes.late.append(record.LateSession(state, change))
            part.late.append(session.websocket.sock.fileno())
            return
        rooms = tuple(session.rooms)
        if unsent or unread or rooms != known.rooms:
            told = None if rooms == known.rooms else list(rooms)
            parts[-1].changes.sessions.append(record.SessionChange(known.key, False, told, unread, unsent))

    def _room_changes(self) -> record.Changes:
        changes, now = _changes(), trio.current_time()
        gone = dict(self._rooms)
        for live in self._server.hub.lives():
            order = live.order
            told = gone.pop(order.name, None)
            if told is None or told[0] != order.id:  # new, or another one of that name
                changes.new_rooms.append(self._room_state(live))
            elif told != (mark := fingerprint(live)):
                bodies = order.since(self._heads[order.name])
                marks = live.marks if told[4] != mark[4] else None
                presence = live.presence.state(now) if told[3] != mark[3] else None
                dirty = list(live.marks_dirty)
                changes.rooms.append(
                    record.RoomChange(order.name, order.head, order.known, bodies, marks, dirty, presence)
                )
        changes.gone_rooms.extend(gone)
        return changes

    async def _hand(self, plan: _Plan, frozen_at: float) -> None:
        for changes, descriptors in plan.changes:
            await self._say(changes, descriptors)
        self._released = True
        self._lock.release()
        server = self._server
        left = sum(one.session is not None and not one.session.over for one in plan.left)
        await self._say(record.Over(frozen_at, left, server.state == "cordoned", server.sessions.direct))
        if not isinstance(await self._hear(), record.Taken):
            raise ChannelBroken("the successor said something else than that it has taken over")
        with trio.CancelScope(shield=True):  # not cut in two: one message that fits into the socket's buffer
            await self._say(record.Go())

    async def _take_back(self, plan: _Plan | None) -> None:
        """Serve on, as if nothing had been."""
        server = self._server
        await self._say_back()
        self._channel.close()
        if self._released:
            with trio.move_on_after(LOCK_PATIENCE) as patience:
                await self._lock.take()
            if patience.cancelled_caught:
                # A successor that hangs has it. It writes nothing before Go, so nobody has to wait for its end.
                self._door.spawn(self._lock.take)
        for session in plan.sessions if plan is not None else ():
            session.outbox.release()
        for stranger in plan.strangers if plan is not None else ():
            if stranger.session is not None:
                stranger.session.outbox.release()
        server.hub.release()
        self._door.thaw()
        server.readers.thaw()
        server.sessions.frozen = server.beats.held = False

    async def _say_back(self) -> None:
        with trio.move_on_after(1.0), contextlib.suppress(ChannelBroken):  # dead is as good as told
            await self._say(record.Back())

    # --- when the successor serves -----------------------------------------------------------------------------

    async def _let_go(self, plan: _Plan) -> Given:
        left = 0
        for connection in plan.left:
            connection.release()
            if connection.session is not None and not connection.session.over:
                connection.session.close(MOVED)
                left += 1
        settled = None
        try:
            with trio.move_on_after(SETTLE_TIMEOUT):
                heard = await self._hear()
                settled = heard if isinstance(heard, record.Settled) else None
        except (ChannelBroken, msgspec.MsgspecError) as error:
            log.error("the successor died right after it took over: %s", error)
        self._channel.close()
        moved = len(plan.sessions) + len(plan.strangers)
        if settled is None:
            await self._send_away(plan)
            return Given(0, left + len(plan.sessions), False, 0.0)
        for number, session in enumerate(plan.sessions):
            session.give()
            if number % SLICE == SLICE - 1:
                await trio.lowlevel.checkpoint()
        for stranger in plan.strangers:
            stranger.give()
        return Given(moved, left, True, settled.stall_ms)

    async def _send_away(self, plan: _Plan) -> None:
        """Nobody knows what the dead successor wrote or read: let everybody come back by their positions."""
        self._server.readers.thaw()
        for session in plan.sessions:
            session.outbox.forget()
            session.close(MOVED)
        for stranger in plan.strangers:
            stranger.give()
        with trio.move_on_after(GOODBYE):
            await self._door.wait_empty()

    # --- the channel -------------------------------------------------------------------------------------------

    async def _say(self, message: record.FromGiver, descriptors: Sequence[int] = ()) -> None:
        # Of our own: before the channel takes them their connection may end, and the number be another's.
        copies = [os.dup(one) for one in descriptors]
        try:
            await self._channel.send(record.encode(message), copies)
        finally:
            for copy in copies:
                os.close(copy)

    async def _hear(self) -> record.FromTaker:
        message, _ = await self._channel.receive()
        heard: record.FromTaker = record.decode_from_taker(message)
        return heard


def _mistake() -> HandoverFailed:
    """The one barrier beside that of a connection: a redeploy that fails must cost nobody anything."""
    log.exception("the handover failed by an error of ours")
    return HandoverFailed("an error of ours, which the log has")


def _changes() -> record.Changes:
    return record.Changes(rooms=[], new_rooms=[], gone_rooms=[], sessions=[], late=[], strangers=[])


def _stranger(connection: Connection) -> record.Stranger:
    session = connection.session
    if session is None:
        return record.Stranger(False, connection.begun, connection.waited())
    return record.Stranger(True, session.websocket.unread(), connection.waited(), session.outbox.hold())
