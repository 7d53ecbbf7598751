"""Pages of history: read once however many ask, exact at any depth, bounded, and a failure is everybody's."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, cast

import msgspec
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from chat import history
from chat.history import PAGE, RUN, History
from chat.live_room import LiveRoom
from chat.metrics import Metrics
from chat.room import Room
from db.errors import StoreUnavailable
from db.records import MessageRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

    from db.store import Store

NOW = dt.datetime(2026, 11, 26, tzinfo=dt.UTC)


class Rows:
    """A store of rooms whose n-th message says n."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.reads: list[tuple[int, int, int]] = []  # (room id, position, limit)
        self.gate = trio.Event()  # a read is answered when it is set
        self.gate.set()
        self.failing = False

    async def messages_after(self, room_id: int, seq: int, limit: int) -> list[MessageRecord]:
        self.reads.append((room_id, seq, limit))
        await self.gate.wait()
        await trio.lowlevel.checkpoint()
        if self.failing:
            raise StoreUnavailable("away")
        return [
            MessageRecord(number, "u_1", "Ada", f"{number}", NOW)
            for number in range(seq + 1, min(seq + limit, self.count) + 1)
        ]


def world(head: int, *, stored: int | None = None) -> tuple[History, Rows, LiveRoom]:
    """A history over a room with this head."""
    rows = Rows(head if stored is None else stored)
    return History(cast("Store", rows), Metrics()), rows, LiveRoom(Room("lobby", 7, "e1", head, []), {})


def numbers(bodies: Sequence[bytes]) -> list[int]:
    found = [msgspec.json.decode(body) for body in bodies]
    assert all(message["text"] == str(message["seq"]) for message in found)
    return [message["seq"] for message in found]


@given(st.data())
def test_what_comes_follows_the_position_whatever_is_kept_already(data: st.DataObject) -> None:
    head = data.draw(st.integers(1, 12 * PAGE), "head")
    old, rows, live = world(head)

    async def ask() -> None:
        for _ in range(data.draw(st.integers(1, 6), "asks")):
            seq = data.draw(st.integers(0, head - 1), "seq")
            until = data.draw(st.integers(seq + 1, head), "until")
            found = numbers(await old.after(live, seq, until))
            assert found == list(range(seq + 1, seq + 1 + len(found)))
            assert 1 <= len(found) <= max(PAGE, until - seq + PAGE)
            assert found[-1] <= head

    trio.run(ask)
    assert all(limit <= RUN * PAGE for _, _, limit in rows.reads)


async def test_a_wave_reads_each_page_once(autojump_clock: trio.testing.MockClock) -> None:
    old, rows, live = world(10 * PAGE)
    rows.gate = trio.Event()

    async def come(position: int) -> None:
        assert numbers(await old.after(live, position, 5 * PAGE))[0] == position + 1

    async with trio.open_nursery() as nursery:
        for position in range(2 * PAGE, 4 * PAGE, 3):
            nursery.start_soon(come, position)
        await trio.testing.wait_all_tasks_blocked()
        rows.gate.set()
    pages = [page for _, seq, limit in rows.reads for page in range(seq // PAGE, (seq + limit) // PAGE)]
    # Whoever has the first turn reads RUN pages from their own on: 2 and 3, or 3 and 4 and then 2. None twice.
    assert sorted(pages) in ([2, 3], [2, 3, 4])
    assert await old.after(live, 2 * PAGE, 5 * PAGE)
    assert len(rows.reads) <= 3


async def test_a_failure_is_told_to_all_who_wait_and_forgotten(autojump_clock: trio.testing.MockClock) -> None:
    old, rows, live = world(3 * PAGE)
    rows.gate, rows.failing = trio.Event(), True
    told: list[str] = []

    async def come() -> None:
        with pytest.raises(StoreUnavailable) as error:
            await old.after(live, 5, PAGE)
        told.append(str(error.value))

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(come)
        await trio.testing.wait_all_tasks_blocked()
        rows.gate.set()
    assert told == ["away"] * 20
    assert len(rows.reads) == 1
    rows.failing = False
    assert numbers(await old.after(live, 5, PAGE))[0] == 6


async def test_who_waits_reads_itself_when_the_reader_is_gone(autojump_clock: trio.testing.MockClock) -> None:
    old, rows, live = world(3 * PAGE)
    rows.gate = trio.Event()
    seen: list[int] = []

    async def come(scope: trio.CancelScope) -> None:
        with scope:
            seen.extend(numbers(await old.after(live, 5, PAGE)))

    first = trio.CancelScope()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(come, first)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(come, trio.CancelScope())
        await trio.testing.wait_all_tasks_blocked()
        first.cancel()
        await trio.testing.wait_all_tasks_blocked()
        rows.gate.set()
    assert seen == list(range(6, PAGE + 1))
    assert len(rows.reads) == 2


async def test_history_with_a_hole_is_no_history(autojump_clock: trio.testing.MockClock) -> None:
    old, _, live = world(3 * PAGE, stored=PAGE + 20)
    with pytest.raises(StoreUnavailable, match="lobby ends at 120"):
        await old.after(live, PAGE + 5, 2 * PAGE)


async def test_it_keeps_so_many_bytes_and_not_for_ever(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, rows, live = world(20 * PAGE)
    page = sum(map(len, await old.after(live, 0, PAGE)))
    monkeypatch.setattr(history, "KEEP_BYTES", 3 * page + page // 2)
    for number in range(20):
        await old.after(live, number * PAGE, (number + 1) * PAGE)
        assert old._bytes == sum(kept.bytes for kept in old._pages.values()) <= history.KEEP_BYTES
    before = len(rows.reads)
    await old.after(live, 19 * PAGE, 20 * PAGE)  # the newest are those that are kept
    assert len(rows.reads) == before
    await trio.sleep(history.KEEP + 1)
    old.forget_old(trio.current_time())
    assert not old._pages
    assert old._bytes == 0
