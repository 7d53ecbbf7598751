"""How a session comes into a room: at once from the room's window, or with the store's help what it missed first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from chat import wire
from chat.errors import Refused
from chat.fanout import message_frames
from chat.frames import text_frame
from chat.text import check_room_name
from chat.websocket import Ended
from db.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator, Sequence

    from chat.live_room import LiveRoom
    from chat.room import Room
    from chat.session import Session

MARGIN = 100  # messages read beyond the window's start: it moves on while the store is read
CATCH_UP_BYTES = 131_072  # of one write while catching up; far below outbox_bytes, or a good reader would look slow
CATCH_UP_STALL = 30.0  # seconds a client that catches up may take nothing before it is too slow


def join(session: Session, frame: wire.Join) -> Awaitable[None] | None:
    """Join at once if the room is live and its window reaches; else return what has to be awaited."""
    limit = session.context.config.limits.rooms_per_session
    try:
        check_room_name(frame.room)
        if limit and len(session.rooms) >= limit and frame.room not in session.rooms:
            raise Refused("too_many_rooms", f"a session may be in {limit} rooms")
    except Refused as error:
        session.strike(error.code, str(error), frame.room[:64])
        return None
    live = session.context.hub.peek(frame.room)
    if live is not None and _join_live(session, live, frame):
        return None
    return _join_slowly(session, frame)


def _join_live(session: Session, live: LiveRoom, frame: wire.Join) -> bool:
    """Join from the window, without waiting; False if it does not reach, or the client has enough to read."""
    if ahead(frame, live):
        return False
    position, gap = start(frame, live)
    bodies = live.order.since(position)
    if bodies is None or session.outbox.waiting + sum(map(len, bodies)) > CATCH_UP_BYTES:
        return False
    _joined(session, live, bodies, gap=gap, resumed=frame.after is not None)
    return True


async def _join_slowly(session: Session, frame: wire.Join) -> None:
    """Join with the store's help, or with much to send."""
    try:
        live = await session.context.hub.live(frame.room)
        with live.pinned():
            await _breathe(session)
            if frame.after is not None and ahead(frame, live):
                await session.context.hub.gaps.reach(live, frame.after[1])
            if not _join_live(session, live, frame):
                if frame.room in session.rooms:  # joined again: new messages must not come between the old ones
                    session.leave_room(frame.room)
                await _catch_up(session, live, frame)
    except Refused as error:
        session.refuse(error.code, str(error), frame.room, temporary=error.temporary, retry_ms=error.retry_ms)
    except StoreUnavailable:
        session.refuse(
            "store_unavailable", "the database cannot answer now", frame.room, temporary=True, retry_ms=1_000
        )


async def _catch_up(session: Session, live: LiveRoom, frame: wire.Join) -> None:
    """Send all that was missed, piece by piece as the client reads it, until the rest is one piece."""
    order, history, first, resumed = live.order, session.context.hub.history, True, frame.after is not None
    position, gap = start(frame, live)
    while (rest := order.since(position)) is None or sum(map(len, rest)) > CATCH_UP_BYTES:
        # Never beyond the head: the store may be ahead of it, and what is would come a second time by fan-out.
        page = rest or await history.after(live, position, min(order.head, order.window_start + MARGIN))
        for piece in _pieces(page):
            async with session.context.coming:
                if first:
                    whole = _with_window(order, position, piece)
                    if whole is not None:  # most often: what was read reaches up to the window
                        _joined(session, live, whole, gap=gap, resumed=resumed)
                        return
                    session.context.metrics.gaps += gap
                    session.outbox.post(_joined_frame(session, live, piece, gap=gap))
                    first = False
                else:
                    session.outbox.post(message_frames(order.name, piece))
                position += len(piece)
            await _breathe(session)
    if first:
        _joined(session, live, rest, gap=gap, resumed=resumed)
    else:
        _enter(session, live, resumed=resumed)
        session.outbox.post(message_frames(order.name, rest))


async def _breathe(session: Session) -> None:
    """Wait until the client has taken what was posted; one that takes nothing for long is too slow."""
    with trio.move_on_after(CATCH_UP_STALL) as patience:
        await session.outbox.wait_drained()
    if patience.cancelled_caught:
        session.slow()
        await trio.sleep_forever()  # until our own scope ends
    if session.outbox.broken:
        raise Ended(1006)
    session.heard = session.context.now()  # it lives, though nothing of what it sends is read meanwhile


def _joined(session: Session, live: LiveRoom, bodies: Sequence[bytes], *, gap: bool, resumed: bool) -> None:
    # Registered before the frame is made, so that it counts this member too; nothing is awaited between.
    _enter(session, live, resumed=resumed)
    session.context.metrics.gaps += gap
    session.outbox.post(_joined_frame(session, live, bodies, gap=gap))


def _joined_frame(session: Session, live: LiveRoom, bodies: Sequence[bytes], *, gap: bool) -> bytes:
    order = live.order
    return text_frame(
        wire.joined_frame(
            order.name,
            order.epoch,
            order.head,
            bodies,
            gap=gap,
            count=live.presence.count,
            members=session.context.hub.roster.members_json(live),
            read=live.marks.get(session.user.id, 0),
        )
    )


def _enter(session: Session, live: LiveRoom, *, resumed: bool) -> None:
    if session.context.hub.peek(live.order.name) is not live:  # deleted while its history was read
        raise Refused("room_missing", f'there is no room "{live.order.name}"')
    session.context.metrics.joins += 1
    session.context.metrics.resumes += resumed
    if live.order.name not in session.rooms:
        session.rooms[live.order.name] = live
        session.context.hub.enter(live, session)


def ahead(frame: wire.Join, live: LiveRoom) -> bool:
    """Whether the client was told more of this room than we know yet: another server's news, late on its way to us."""
    return frame.after is not None and frame.after[0] == live.order.epoch and frame.after[1] > live.order.head


def start(frame: wire.Join, live: LiveRoom) -> tuple[int, bool]:
    """The position behind which a join begins, and whether there is a gap before it.

    A position is known when it has this room's epoch and is not beyond its head; without one the join begins `limit`
    messages back.
    """
    after, order = frame.after, live.order
    if after is not None and after[0] == order.epoch and after[1] <= order.head:
        return after[1], False
    return max(0, order.head - frame.limit), after is not None


def _with_window(order: Room, position: int, piece: Sequence[bytes]) -> Sequence[bytes] | None:
    """The piece behind a position and all that follows it from the window, if that is one write; else None.

    A piece may overlap the window, which has moved on meanwhile; what follows it has not.
    """
    rest = order.since(position + len(piece))
    if rest is None or sum(map(len, piece)) + sum(map(len, rest)) > CATCH_UP_BYTES:
        return None
    return [*piece, *rest]


def _pieces(bodies: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """Cut into runs of about CATCH_UP_BYTES, at least one body each."""
    begin = size = 0
    for at, body in enumerate(bodies):
        if size and size + len(body) > CATCH_UP_BYTES:
            yield bodies[begin:at]
            begin, size = at, 0
        size += len(body)
    if begin < len(bodies):
        yield bodies[begin:]
