"""Taking the living sockets over: the side of the process that begins. The conversation is told in give.py."""

from __future__ import annotations

import logging
import os
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import trio

from chat.handover import record
from chat.handover.channel import ChannelBroken
from chat.handover.give import HandoverFailed
from chat.live_room import LiveRoom
from chat.room import Room
from chat.tokens import Identity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chat.door import Door
    from chat.handover.channel import Channel
    from chat.handover.lock import StoreLock
    from chat.server import ChatServer
    from chat.session import Session

log = logging.getLogger("belfry.chat.handover")

TAKE_TIMEOUT = 30.0  # seconds for the whole conversation; the giver's own two are shorter
BUS_PATIENCE = 5.0  # seconds to reach the bus, while the predecessor serves; with Kafka away we go on without
BUS_LOOK = 0.02  # seconds
SETTLE = 0.5  # seconds served after which the giver may let go: what crashes at once has crashed by then
SLICE = 200  # clients set up between two checkpoints: 10 ms, while nobody is served by us yet


class PredecessorDied(HandoverFailed):
    """It is gone, and had not told everything: its clients come back by themselves, to whoever begins here now."""


@dataclass(frozen=True, slots=True)
class Report:
    """How it went."""

    boot: str  # whose sockets they were
    version: str
    moved: int  # sockets that are ours now
    left_behind: int  # clients that were told to reconnect
    cordoned: bool
    stall_ms: float  # from the last read of the old process to our first


class Taker:
    """One attempt to take everything from the process at the other end of a channel."""

    def __init__(self, server: ChatServer, door: Door, channel: Channel, lock: StoreLock) -> None:
        self._server = server
        self._door = door
        self._channel = channel
        self._lock = lock
        self._sessions: dict[int, Session] = {}  # by key
        self._unsent: list[tuple[Session, bytes]] = []
        self._strangers: list[tuple[socket.socket, record.Stranger]] = []
        self._offer: record.Offer

    async def take(self) -> Report:
        """Take, and return when everything is ours.

        Raises PredecessorDied, or HandoverFailed when it serves on; nothing was touched then, and nothing is left here.
        """
        server = self._server
        await self._reach_bus()
        server.readers.freeze()
        server.hub.hold()
        server.sessions.frozen = True
        try:
            with trio.fail_after(TAKE_TIMEOUT):
                await self._get_ready()
                over = await self._hear_changes()
                await self._lock.take()
                await self._wait_for_go()
        except (ChannelBroken, msgspec.MsgspecError) as error:
            self._forget()
            raise PredecessorDied(f"the predecessor ended before everything was told: {error}") from None
        except trio.TooSlowError:
            self._forget()
            raise HandoverFailed(f"taking over took longer than {TAKE_TIMEOUT:g} s") from None
        except HandoverFailed:
            self._forget()
            raise
        return self._begin(over)

    async def settled(self, report: Report) -> None:
        """After a moment of service, let the predecessor go."""
        try:
            await trio.sleep(SETTLE)
            await self._channel.send(record.encode(record.Settled(report.moved, report.stall_ms)))
        except ChannelBroken as error:
            log.info("the predecessor was gone already: %s", error)
        finally:
            self._channel.close()

    # --- while the predecessor serves --------------------------------------------------------------------------

    async def _reach_bus(self) -> None:
        """Hear the other servers before we are one of them: what they say after the handover should not be missed."""
        with trio.move_on_after(BUS_PATIENCE):
            while not self._server.hub.gaps.bus_works():  # noqa: ASYNC110  # rare and short
                await trio.sleep(BUS_LOOK)

    async def _get_ready(self) -> None:
        message, descriptors = await self._hear()
        if not isinstance(message, record.Offer):
            raise HandoverFailed("the predecessor did not begin with its offer")
        if message.format != record.FORMAT:
            why = f"its format is {message.format}, ours {record.FORMAT}"
            await self._say(record.Decline(why))
            raise HandoverFailed(f"the predecessor (version {message.version}) speaks another language: {why}")
        self._offer = message
        await self._say(record.Accept())
        while True:
            message, descriptors = await self._hear()
            if isinstance(message, record.AllTold):
                break
            if not isinstance(message, record.Told):
                raise HandoverFailed(f"{type(message).__name__} was not expected")
            for room in message.rooms:
                self._take_room(room)
            for state, sock in zip(message.sessions, _sockets(descriptors), strict=True):
                self._take_session(state, sock)
            await trio.lowlevel.checkpoint()
        for _ in range(3):  # the sessions' tasks take their first steps, up to where they wait for bytes
            await trio.lowlevel.checkpoint()
        await self._say(record.Ready())

    def _take_room(self, state: record.RoomState) -> None:
        room = Room(state.name, state.id, state.epoch, state.head, state.window)
        room.expect(state.known)
        live = LiveRoom(room, state.marks)
        live.presence.restore(state.presence, trio.current_time())
        self._server.hub.adopt(live)
        self._server.hub.mark_dirty(live, state.marks_dirty)

    def _take_session(self, state: record.SessionState, sock: socket.socket) -> Session:
        identity = Identity(state.user_id, state.name, state.expires_at, state.admin)
        session = self._door.adopt_session(sock, identity)
        self._server.sessions.adopt(session)
        self._sessions[state.key] = session
        self._enter(session, state.rooms)
        return session

    def _enter(self, session: Session, rooms: Sequence[str]) -> None:
        for name in rooms:
            live = self._server.hub.peek(name)
            if live is not None:
                session.rooms[name] = live
                live.members[session] = session.outbox
                live.presence.adopt(session.user.id)

    def _leave(self, session: Session) -> None:
        for live in session.rooms.values():
            live.members.pop(session, None)
            live.presence.adopt(session.user.id, -1)
        session.rooms.clear()

    # --- while nobody serves -----------------------------------------------------------------------------------

    async def _hear_changes(self) -> record.Over:
        while True:
            message, descriptors = await self._hear()
            if isinstance(message, record.Over):
                return message
            if isinstance(message, record.Back):
                raise HandoverFailed("the predecessor serves on")
            if not isinstance(message, record.Changes):
                raise HandoverFailed(f"{type(message).__name__} was not expected")
            self._apply(message, _sockets(descriptors))

    def _apply(self, changes: record.Changes, sockets: list[socket.socket]) -> None:
        hub = self._server.hub
        for name in changes.gone_rooms:
            self._lose_room(name)
        for state in changes.new_rooms:
            self._lose_room(state.name)
            self._take_room(state)
        for change in changes.rooms:
            live = hub.peek(change.name)
            assert live is not None, "a room changed that was never told"
            self._change_room(live, change)
        for session_change in changes.sessions:
            self._change_session(self._sessions[session_change.key], session_change)
        for late, sock in zip(changes.late, sockets, strict=False):
            self._change_session(self._take_session(late.state, sock), late.change)
        self._strangers += zip(sockets[len(changes.late) :], changes.strangers, strict=True)

    def _lose_room(self, name: str) -> None:
        live = self._server.hub.peek(name)
        if live is not None:
            for session in list(live.members):
                session.rooms.pop(name, None)
            self._server.hub.disown(name)

    def _change_room(self, live: LiveRoom, change: record.RoomChange) -> None:
        if change.bodies is None:
            live.order.jump(change.head)
        else:
            live.order.offer(change.head - len(change.bodies) + 1, change.bodies)
        live.order.expect(change.known)
        if change.marks is not None:
            live.marks = change.marks
        live.marks_dirty.clear()
        self._server.hub.mark_dirty(live, change.marks_dirty)
        if change.presence is not None:
            live.presence.restore(change.presence, trio.current_time())

    def _change_session(self, session: Session, change: record.SessionChange) -> None:
        if change.gone:
            self._leave(session)
            self._server.sessions.disown(session)
            session.give()
            return
        if change.rooms is not None:
            self._leave(session)
            self._enter(session, change.rooms)
        session.websocket.go_on_from(change.unread)
        if change.unsent:
            self._unsent.append((session, change.unsent))

    async def _wait_for_go(self) -> None:
        """Go, or the predecessor's death: it would have said Back if it served on."""
        try:
            await self._say(record.Taken())
            message, _ = await self._hear()
        except ChannelBroken as error:
            log.warning("the predecessor died while it handed over; everything was told: %s", error)
            return
        if not isinstance(message, record.Go):
            raise HandoverFailed("the predecessor serves on")

    # --- when they are ours ------------------------------------------------------------------------------------

    def _begin(self, over: record.Over) -> Report:
        """Serve. Not a checkpoint."""
        server = self._server
        moved = 0
        for session in self._sessions.values():
            if session.own():
                moved += 1
        for session, unsent in self._unsent:
            session.outbox.resume(unsent)
        for sock, stranger in self._strangers:
            moved += 1
            if stranger.websocket:
                session = self._door.adopt_newcomer(sock, stranger.begun, stranger.waited)
                session.outbox.resume(stranger.unsent)
            else:
                self._door.adopt_request(sock, stranger.begun)
        server.sessions.frozen = False
        server.sessions.direct = over.direct
        server.hub.release()
        server.hub.taken_over()
        server.readers.thaw()
        stall = time.monotonic() - over.frozen_at
        offer = self._offer
        return Report(offer.boot, offer.version, moved, over.left_behind, over.cordoned, stall * 1_000)

    def _forget(self) -> None:
        """Close our descriptors and be as before; the connections are the predecessor's."""
        server = self._server
        for session in self._sessions.values():
            self._leave(session)
            server.sessions.disown(session)
            session.give()
        for sock, _ in self._strangers:
            sock.close()
        for live in list(server.hub.lives()):
            server.hub.disown(live.order.name)
        self._channel.close()
        server.sessions.frozen = False
        server.hub.release()
        server.readers.thaw()

    # --- the channel -------------------------------------------------------------------------------------------

    async def _say(self, message: record.FromTaker) -> None:
        await self._channel.send(record.encode(message))

    async def _hear(self) -> tuple[record.FromGiver, list[int]]:
        message, descriptors = await self._channel.receive()
        try:
            return record.decode_from_giver(message), descriptors
        except BaseException:
            for one in descriptors:
                os.close(one)
            raise


def _sockets(descriptors: Sequence[int]) -> list[socket.socket]:
    found = []
    for one in descriptors:
        sock = socket.socket(fileno=one)
        sock.setblocking(False)
        found.append(sock)
    return found
