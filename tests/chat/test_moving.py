"""The mover: each client is told shortly before its moment, and closed after its grace; no herd, even when held up."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any, cast

import trio

from bus.events import Target
from chat.closing import MOVED
from chat.config import Config
from chat.drain import DrainPlan, plan_drain
from chat.moving import BEHIND, LEAD, TICK, Mover, Progress
from chat.tokens import Identity

if TYPE_CHECKING:
    from trio.testing import MockClock

    from chat.closing import Closing
    from chat.pace import Pacing
    from chat.sessions import Sessions

DEADLINE = 20.0  # seconds
MORE = 1e-6  # seconds, for sums of floats


class FakeSession:
    """Notes what it is told; leaves `stays` seconds after its moment, or never by itself."""

    def __init__(self, sessions: FakeSessions, stays: float | None) -> None:
        self.outbox = self
        self.rooms: dict[str, Any] = {}
        self.identity = Identity("u", "U", 2e9)
        self.told: float | None = None
        self.moving: dict[str, Any] = {}
        self.closed: float | None = None
        self._sessions = sessions
        self._stays = stays

    def post(self, data: bytes) -> None:
        assert self.told is None or self._stays is not None  # twice only by a second plan, to one about to leave
        self.told = trio.current_time()
        self.moving = json.loads(data[data.index(b"{") :])
        if self._stays is not None:
            self._sessions.nursery.start_soon(self._leave, self.moving["not_before_ms"] / 1_000 + self._stays)

    async def _leave(self, seconds: float) -> None:
        await trio.sleep(seconds)
        self._sessions.drop(self)

    def close(self, closing: Closing) -> None:
        assert closing is MOVED
        self.closed = trio.current_time()
        self._sessions.drop(self)


class FakeSessions(dict[FakeSession, None]):
    """A registry of sessions as the mover sees it."""

    config = Config()
    direct = True
    draining = False

    def __init__(self, nursery: trio.Nursery, count: int, stays: float | None = 0.1) -> None:
        super().__init__()
        self.nursery = nursery
        self.tokens = self
        self.all = [FakeSession(self, stays) for _ in range(count)]
        self.update(dict.fromkeys(self.all))

    def ticket(self, identity: Identity, positions: object, ttl: float) -> str:
        assert ttl >= 60.0
        return "ticket"

    def drop(self, session: FakeSession) -> None:
        self.pop(session, None)

    async def close_all(self, closing: Closing) -> None:
        await trio.lowlevel.checkpoint()
        for session in list(self):
            session.close(closing)


class FakePacing:
    """A plan at a pace."""

    def __init__(self, pace: float, *, taken_over: bool = True, targets: tuple[Target, ...] = ()) -> None:
        self._more: dict[str, Any] = {"taken_over": taken_over, "targets": targets}
        self._pace = pace
        self.made: DrainPlan | None = None

    async def plan(self, sessions: int, deadline: float, per_second: float, *, direct: bool) -> DrainPlan:
        assert direct
        self.made = plan_drain(sessions, deadline, per_second or self._pace, **self._more)
        return self.made


def mover_of(sessions: FakeSessions, pacing: FakePacing) -> Mover:
    return Mover(cast("Sessions", sessions), cast("Pacing", pacing))


def told(sessions: FakeSessions) -> list[float]:
    """When each was told, in that order."""
    return sorted(session.told for session in sessions.all if session.told is not None)


def busiest(moments: list[float]) -> int:
    return max(sum(1 for other in moments if 0.0 <= other - one < 1.0) for one in moments)


async def test_each_is_told_shortly_before_its_moment(autojump_clock: MockClock) -> None:
    targets = (Target("http://a", 0.25), Target("http://b", 0.75))
    pacing = FakePacing(100.0, targets=targets)
    async with trio.open_nursery() as nursery:
        sessions = FakeSessions(nursery, 400)
        began = trio.current_time()
        mover = mover_of(sessions, pacing)
        await mover.move(DEADLINE)
        assert not sessions
        assert sessions.draining
    due = sorted(one.told + one.moving["not_before_ms"] / 1_000 for one in sessions.all if one.told is not None)
    for index, moment in enumerate(due):
        planned = began + cast("DrainPlan", pacing.made).moment(index)
        assert abs(moment - planned) <= TICK  # in whole milliseconds, and never later than a look
    assert all(one.moving["not_before_ms"] <= 1_000 * LEAD for one in sessions.all)
    assert all(one.closed is None for one in sessions.all)
    assert Counter(one.moving["url"] for one in sessions.all) == {"http://a": 100, "http://b": 300}
    assert busiest(due) <= 102
    assert mover.progress == Progress(400, 400, 0.0)
    mover.reset()
    assert mover.progress == Progress()
    assert not sessions.draining


async def test_who_stays_is_closed_when_its_grace_is_over(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        sessions = FakeSessions(nursery, 30, stays=None)
        pacing = FakePacing(10.0)
        await mover_of(sessions, pacing).move(DEADLINE)
    grace = cast("DrainPlan", pacing.made).grace
    for one in sessions.all:
        assert one.told is not None
        assert one.closed is not None
        moment = one.told + one.moving["not_before_ms"] / 1_000
        assert moment + grace - 2 * TICK <= one.closed <= moment + grace + 2 * TICK


async def test_with_nobody_to_go_to_each_is_closed_at_its_moment(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        sessions = FakeSessions(nursery, 30, stays=None)
        began = trio.current_time()
        await mover_of(sessions, FakePacing(10.0, taken_over=False)).move(DEADLINE)
    closed = sorted(one.closed for one in sessions.all if one.closed is not None)
    assert len(closed) == 30
    assert 2.9 <= closed[-1] - began <= 2.9 + 2 * TICK


async def test_a_process_that_is_held_up_does_not_catch_up_at_once(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        sessions = FakeSessions(nursery, 1_000)
        nursery.start_soon(mover_of(sessions, FakePacing(200.0)).move, DEADLINE)
        await trio.sleep(1.0)
        autojump_clock.jump(4.0)  # for four seconds this process gets no time: 800 are due when it goes on
    moments = told(sessions)
    assert len(moments) == 1_000
    after = [moment for moment in moments if moment > moments[0] + 4.5]
    assert busiest(after) <= 200 * (1 + BEHIND + LEAD + 2 * TICK)
    assert moments[-1] - moments[0] < DEADLINE


async def test_the_deadline_wins_over_being_gentle(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        sessions = FakeSessions(nursery, 300, stays=None)
        began = trio.current_time()
        nursery.start_soon(mover_of(sessions, FakePacing(1.0)).move, DEADLINE)
        await trio.sleep(1.0)
        autojump_clock.jump(10.0)  # the pace alone takes longer than the deadline: there is no slack
    assert max(one.closed for one in sessions.all if one.closed is not None) - began < DEADLINE + MORE


async def test_an_abort_leaves_alone_who_was_not_told(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        sessions = FakeSessions(nursery, 100, stays=None)
        mover = mover_of(sessions, FakePacing(10.0))
        with trio.move_on_after(2.0):
            await mover.move(DEADLINE)
        mover.reset()
        left = [one for one in sessions.all if one.told is None]
        assert 70 <= len(left) <= 80
        await trio.sleep(60.0)
        assert all(one in sessions and one.told is None for one in left)
        assert all(one.closed is None for one in sessions.all)


async def test_another_pace_goes_on_counting(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        sessions = FakeSessions(nursery, 100)
        mover = mover_of(sessions, FakePacing(10.0))
        with trio.move_on_after(2.0):
            await mover.move(DEADLINE)
        before = mover.progress
        assert before.to_move == 100
        assert 15 <= before.moved <= 25
        with trio.move_on_after(0.5):
            await mover_of(sessions, FakePacing(10.0)).move(DEADLINE, 50.0)
        assert mover.progress.moved > before.moved
        nursery.cancel_scope.cancel()
