"""Holes in a room's order, on a clock that jumps: which are left to the bus, which are read, and how much of them."""

from __future__ import annotations

import datetime as dt
import itertools
from typing import TYPE_CHECKING, cast

import pytest
import trio

from chat.gaps import BUS_QUIET, HEADS_OFTEN, HEADS_RARELY, HEADS_TICK, HOLES, Gaps
from chat.live_room import LiveRoom, body_of
from chat.metrics import Metrics
from chat.patience import LEAST, MOST
from chat.room import WINDOW_MESSAGES, Room
from db.errors import StoreUnavailable
from db.records import MessageRecord

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from trio.testing import MockClock

    from db.store import Store

AT = dt.datetime(2026, 11, 23, 10, 0, 0, 123456, tzinfo=dt.UTC)
ID = 7  # of the one room
LATE = 0.1  # seconds after the hole is seen: more than the least patience, and less than the most
TOO_MANY = 200  # reads of one test: the clock stands still while something spins


def message(seq: int) -> MessageRecord:
    return MessageRecord(seq, "ada", "Ada", f"message {seq}", AT)


def body(seq: int) -> bytes:
    return body_of(message(seq))


class FakeStore:
    """The numbers up to `head`, and what was read of them: when, after which number, how many at most."""

    def __init__(self) -> None:
        self.head = 0
        self.failures = 0  # reads that fail before one succeeds
        self.seconds = 0.0  # that a read takes
        self.reads: list[tuple[float, int, int]] = []
        self.looks: list[float] = []

    async def messages_after(self, room_id: int, seq: int, limit: int) -> list[MessageRecord]:
        assert room_id == ID
        self.reads.append((trio.current_time(), seq, limit))
        assert len(self.reads) <= TOO_MANY
        last = min(self.head, seq + limit)
        await trio.sleep(self.seconds)
        if self.failures:
            self.failures -= 1
            raise StoreUnavailable("away")
        return [message(number) for number in range(seq + 1, last + 1)]

    async def heads(self, room_ids: Sequence[int]) -> dict[int, int]:
        self.looks.append(trio.current_time())
        await trio.lowlevel.checkpoint()
        return {room_id: self.head for room_id in room_ids if room_id == ID}


class World:
    """One room whose messages come from the bus, from our own commits, or not at all; these are its Rooms too."""

    def __init__(self, nursery: trio.Nursery, quiet: float = 0.0) -> None:
        self.live = LiveRoom(Room("lobby", ID, "epoch", 0, ()), {})
        self.store = FakeStore()
        self.metrics = Metrics()
        self.delivered: list[bytes] = []
        self.deleted: list[LiveRoom] = []
        self.gaps = Gaps(self, cast("Store", self.store), self.metrics, lambda: quiet)
        nursery.start_soon(self.gaps.run)

    # --- what the gaps ask of the rooms ------------------------------------------------------------------------

    def lives(self) -> Iterable[LiveRoom]:
        return [self.live]

    def peek(self, name: str) -> LiveRoom | None:
        return self.live if name == self.live.order.name and not self.deleted else None

    def offer(self, live: LiveRoom, first_seq: int, bodies: Sequence[bytes]) -> None:
        assert live is self.live
        self.delivered += live.order.offer(first_seq, bodies)
        self.gaps.watch(live)

    def gone(self, live: LiveRoom) -> None:
        self.deleted.append(live)

    # --- what happens ------------------------------------------------------------------------------------------

    def committed(self, first: int, last: int | None = None) -> None:
        """These were committed here, and with them all that is before them elsewhere."""
        last = last or first
        self.store.head = max(self.store.head, last)
        self.offer(self.live, first, list(map(body, range(first, last + 1))))

    def told(self, first: int, last: int | None = None) -> None:
        """The bus tells of these."""
        self.gaps.told(self.live, first)
        self.offer(self.live, first, list(map(body, range(first, (last or first) + 1))))

    @property
    def asked(self) -> list[tuple[int, int]]:
        """Each read: after which number, how many at most."""
        return [read[1:] for read in self.store.reads]

    def whole(self) -> bool:
        """Whether everything up to the store's head was delivered, once and in order."""
        return self.delivered == list(map(body, range(1, self.store.head + 1)))


async def late_bus(world: World, holes: int, late: float = LATE, pause: float = 0.5) -> list[int]:
    """Holes of one message, told late each; how many reads there were after each."""
    reads = []
    for _ in range(holes):
        hole = world.store.head + 1
        world.committed(hole + 1)
        await trio.sleep(late)
        world.told(hole)
        await trio.sleep(pause)
        reads.append(len(world.store.reads))
    return reads


# --- a bus that works --------------------------------------------------------------------------------------------


async def test_a_hole_that_the_bus_closes_in_time_is_not_read(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        world = World(nursery)
        world.committed(2)
        await trio.sleep(LEAST * 0.9)
        world.told(1)
        await trio.sleep(1.0)
        assert (world.whole(), world.asked) == (True, [])
        nursery.cancel_scope.cancel()


async def test_a_hole_that_opens_while_an_earlier_one_is_waited_for_has_patience_of_its_own(
    autojump_clock: MockClock,
) -> None:
    async with trio.open_nursery() as nursery:
        world = World(nursery)
        part = LEAST * 0.6  # not so late that patience grows
        world.committed(2)
        for hole in (1, 3, 5):
            await trio.sleep(part)
            world.told(hole)
            world.committed(hole + 3)  # the sleep for the hole before it is not over
        await trio.sleep(LEAST - 0.001)
        assert world.asked == []
        await trio.sleep(0.002)
        assert world.asked == [(6, 1)]
        assert world.whole()
        nursery.cancel_scope.cancel()


async def test_a_bus_that_is_always_late_is_waited_for_once_that_is_known(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        world = World(nursery)
        reads = await late_bus(world, 12)
        assert reads == [1] * 12  # the first hole only
        assert world.asked == [(0, 1)]
        assert world.whole()
        nursery.cancel_scope.cancel()


async def test_holes_that_open_behind_each_other_teach_how_late_the_bus_is(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        world = World(nursery)

        async def late(hole: int) -> None:
            await trio.sleep(LATE)
            world.told(hole)

        for hole in range(1, 80, 2):
            world.committed(hole + 1)
            nursery.start_soon(late, hole)
            await trio.sleep(0.02)
        await trio.sleep(1.0)
        assert world.whole()
        until_told = LATE / 0.02  # holes that open before the bus has told of the first one
        assert 1 <= len(world.asked) <= until_told
        assert len(world.live.holes) <= HOLES
        nursery.cancel_scope.cancel()


async def test_a_bus_later_than_the_most_patience_costs_no_more_than_that(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        world = World(nursery)
        await late_bus(world, 5, late=2.0)
        began = trio.current_time()
        hole = world.store.head + 1
        world.committed(hole + 1)
        await trio.sleep(MOST + 0.01)
        assert world.whole()
        assert world.store.reads[-1] == (pytest.approx(began + MOST), hole - 1, 1)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("late", [0.0, LATE, 1.0])
async def test_what_the_bus_lost_is_read_once_and_no_more_than_that(autojump_clock: MockClock, late: float) -> None:
    async with trio.open_nursery() as nursery:
        world = World(nursery)
        await late_bus(world, 3, late=late)
        before, reads = world.store.head, len(world.asked)
        world.committed(before + 8, before + 90)  # seven are lost
        began = trio.current_time()
        await trio.sleep(0.3)
        assert world.whole()
        assert world.asked[reads:] == [(before, 7)]
        assert world.store.reads[-1][0] - began < 0.3
        assert world.metrics.gap_filled_messages == reads + 7
        await trio.sleep(10.0)
        assert len(world.asked) == reads + 1
        nursery.cancel_scope.cancel()


async def test_no_more_than_some_holes_are_remembered_that_the_bus_never_tells_of(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        world = World(nursery)
        for _ in range(2 * HOLES):
            world.committed(world.store.head + 2)
            await trio.sleep(0.5)
            assert len(world.live.holes) <= HOLES
        assert len(world.asked) == 2 * HOLES
        nursery.cancel_scope.cancel()


async def test_a_hole_that_the_bus_closes_while_it_is_read_is_delivered_once(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        world = World(nursery)
        world.store.seconds = 0.05
        world.committed(4)
        await trio.sleep(LEAST + 0.01)
        assert world.asked == [(0, 3)]
        world.told(1, 3)
        world.committed(5, 6)
        await trio.sleep(1.0)
        assert world.whole()
        assert len(world.asked) == 1
        nursery.cancel_scope.cancel()


async def test_rooms_that_are_gone_are_not_read(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        world = World(nursery)
        world.committed(2)
        world.gone(world.live)
        world.gaps.forget(world.live)
        await trio.sleep(1.0)
        assert world.asked == []
        nursery.cancel_scope.cancel()


# --- long holes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("quiet", [0.0, 1_000.0])
async def test_a_long_hole_is_filled_page_after_page_without_a_pause(autojump_clock: MockClock, quiet: float) -> None:
    async with trio.open_nursery() as nursery:
        world = World(nursery, quiet)
        last = 3 * WINDOW_MESSAGES + 20
        world.committed(last + 1)
        began = trio.current_time()
        await trio.sleep(LEAST + 0.001)
        assert world.whole()
        assert [after for _, after, _ in world.store.reads] == [0, 500, 1_000, 1_500]
        assert [moment for moment, _, _ in world.store.reads] == [pytest.approx(began + LEAST)] * 4
        limits = [limit for _, _, limit in world.store.reads]
        assert limits == [WINDOW_MESSAGES] * 3 + [WINDOW_MESSAGES if quiet else 20]
        assert (world.metrics.gap_fills, world.metrics.store_reads) == (4, 4)
        nursery.cancel_scope.cancel()


async def test_of_a_long_hole_no_more_is_remembered_than_of_others(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        world = World(nursery)
        world.committed(2 * HOLES * WINDOW_MESSAGES + 1)
        await trio.sleep(0.5)
        assert world.whole()
        assert len(world.live.holes) <= HOLES
        nursery.cancel_scope.cancel()


async def test_without_the_bus_all_that_the_store_has_is_read_at_once(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        world = World(nursery, quiet=1_000.0)
        world.committed(2)
        world.store.head = 300
        await trio.sleep(LEAST + 0.001)
        assert world.asked == [(0, WINDOW_MESSAGES)]
        assert world.whole()
        nursery.cancel_scope.cancel()


async def test_a_bus_that_stopped_working_is_not_waited_for_as_long_as_it_was_late(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        world = World(nursery, quiet=BUS_QUIET)
        await late_bus(world, 5)
        world.gaps._quiet = lambda: BUS_QUIET + 0.001
        began, reads = trio.current_time(), len(world.asked)
        world.committed(world.store.head + 2)
        await trio.sleep(1.0)
        assert world.store.reads[reads:] == [(pytest.approx(began + LEAST), world.store.head - 2, WINDOW_MESSAGES)]
        nursery.cancel_scope.cancel()


# --- a store that cannot answer yet ------------------------------------------------------------------------------


async def test_a_store_that_has_nothing_yet_is_asked_more_and_more_rarely(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        world = World(nursery)
        world.gaps.expect(world.live, 3)
        await trio.sleep(3.0)
        moments = [moment for moment, _, _ in world.store.reads]
        pauses = [there - here for here, there in itertools.pairwise(moments)]
        assert 4 <= len(moments) <= 10
        assert pauses == sorted(pauses)
        assert min(pauses) >= LEAST
        world.store.head = 3
        await trio.sleep(1.001)
        assert world.whole()
        nursery.cancel_scope.cancel()


async def test_a_store_that_has_only_a_part_yet_is_asked_for_the_rest_and_soon(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        world = World(nursery)
        world.gaps.expect(world.live, 5)
        await trio.sleep(2.0)
        world.store.head = 2
        await trio.sleep(1.0)
        assert world.whole()
        part = next(at for at, (after, _) in enumerate(world.asked) if after == 2)
        assert world.asked[: part + 1] == [(0, 5)] * part + [(2, 3)]
        moments = [moment for moment, _, _ in world.store.reads[part - 1 :]]
        assert moments[1] == moments[0]
        assert moments[2] - moments[1] == pytest.approx(LEAST)  # it knows something again: not as rarely as before
        world.store.head = 5
        await trio.sleep(1.0)
        assert world.whole()
        reads = len(world.asked)
        await trio.sleep(10.0)
        assert len(world.asked) == reads
        nursery.cancel_scope.cancel()


async def test_a_store_that_is_away_is_asked_again_later(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        world = World(nursery)
        world.store.failures = 3
        world.committed(5)
        await trio.sleep(LEAST + 3 * 1.0 + 0.001)
        assert world.whole()
        assert world.asked == [(0, 4)] * 4
        moments = [moment for moment, _, _ in world.store.reads]
        assert all(0.5 <= there - here <= 1.0 for here, there in itertools.pairwise(moments))
        nursery.cancel_scope.cancel()


# --- heads -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("quiet", "pause"), [(0.0, HEADS_RARELY), (1_000.0, HEADS_OFTEN)])
async def test_a_head_that_moved_without_a_word_is_found(autojump_clock: MockClock, quiet: float, pause: float) -> None:
    async with trio.open_nursery() as nursery:
        world = World(nursery, quiet)
        with world.live.pinned():
            world.store.head = 4
            await trio.sleep(pause + HEADS_TICK + LEAST + 0.001)
            assert world.whole()
            await trio.sleep(4 * pause)
            looks = [there - here for here, there in itertools.pairwise(world.store.looks)]
            assert looks
            assert all(pause <= look <= pause + HEADS_TICK for look in looks)
            assert len(world.asked) == 1
        nursery.cancel_scope.cancel()
