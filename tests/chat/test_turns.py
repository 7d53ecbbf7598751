"""The turns of those who come in: how many steps in one turn of the event loop, in what order, none lost."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from trio.abc import Instrument

from chat.turns import LEAST, MOST, SHARE, Turns


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class LoopTurns(Instrument):
    """Counts the turns of the event loop, and lets time pass with each."""

    def __init__(self, clock: Clock, length: float) -> None:
        self.number = 0
        self._clock = clock
        self._length = length

    def after_io_wait(self, timeout: float) -> None:
        self.number += 1
        self._clock.now += self._length


async def crowd(turns: Turns, clock: Clock, length: float, step: float, people: int) -> tuple[list[int], list[int]]:
    """Let so many come at once, each with one step; the steps in each turn of the loop, and who had theirs when."""
    loop, order, at = LoopTurns(clock, length), [], []

    async def come(number: int) -> None:
        async with turns:
            clock.now += step
            order.append(number)
            at.append(loop.number)

    trio.lowlevel.add_instrument(loop)
    try:
        async with trio.open_nursery() as nursery:
            for number in range(people):
                nursery.start_soon(come, number)
    finally:
        trio.lowlevel.remove_instrument(loop)
    return [at.count(number) for number in sorted(set(at))], order


async def test_all_have_their_turn_and_few_at_a_time_where_turns_are_short() -> None:
    clock = Clock()
    counts, order = await crowd(Turns(clock), clock, length=0.000_1, step=0.001, people=200)
    assert sorted(order) == list(range(200))
    assert max(counts) <= LEAST + 4  # steps of 1 ms beside other work of 0.1: four fifths are few
    assert len(counts) >= 200 / (LEAST + 4)


async def test_more_at_a_time_where_turns_are_long() -> None:
    clock = Clock()
    turns = Turns(clock)
    await crowd(turns, clock, length=0.050, step=0.000_5, people=500)
    assert turns.steps > 32  # SHARE of 50 ms and of the steps' own time are 80 steps and more
    counts, _ = await crowd(turns, clock, length=0.050, step=0.000_5, people=500)
    assert max(counts) > 32
    longest = max(counts) * 0.000_5 + 0.050
    assert max(counts) * 0.000_5 <= SHARE * longest * 1.5  # the measure runs a little behind


@pytest.mark.parametrize("step", [0.000_2, 0.001])
@pytest.mark.parametrize(("length", "spared"), [(0.015, 2.0), (0.030, 4.0), (0.060, 4.0)])
async def test_the_steps_have_their_share_neither_more_nor_less(length: float, spared: float, step: float) -> None:
    """Several in one turn, and each is measured from when it was let in, not from when the one before it ended."""
    clock = Clock()
    counts, _ = await crowd(Turns(clock), clock, length=length, step=step, people=int(10 * spared * length / step))
    steady = counts[len(counts) // 2 : -1]
    assert sum(steady) * step / len(steady) == pytest.approx(spared * length, rel=0.1)


async def test_never_more_than_most_though_the_clock_jumps() -> None:
    clock = Clock()
    turns = Turns(clock)
    await crowd(turns, clock, length=1e6, step=1e-3, people=50)
    assert turns.steps == MOST


async def test_a_clock_that_stands_still_lets_everybody_in() -> None:
    turns = Turns(lambda: 1.0)
    clock = Clock()
    _, order = await crowd(turns, clock, length=0.0, step=0.0, people=100)
    assert len(order) == 100
    assert turns.steps == LEAST


async def test_first_come_first_served() -> None:
    turns = Turns()
    order: list[int] = []

    async def come(number: int) -> None:
        async with turns:
            order.append(number)

    async with trio.open_nursery() as nursery, turns:  # nobody waits yet, and so the next ones take what is free
        for number in range(20):
            nursery.start_soon(come, number)
            await trio.testing.wait_all_tasks_blocked()
    assert order[LEAST - 1 :] == sorted(order[LEAST - 1 :])
    assert sorted(order) == list(range(20))


async def test_no_turn_is_lost_to_those_who_give_up() -> None:
    turns = Turns()
    got = []

    async def come(scope: trio.CancelScope) -> None:
        with scope:
            async with turns:
                got.append(scope)

    for _ in range(5):  # cancelled before they begin, while they wait, and in the moment their turn comes
        scopes = [trio.CancelScope() for _ in range(12)]
        async with trio.open_nursery() as nursery:
            for number, scope in enumerate(scopes):
                if number % 3 == 0:
                    scope.cancel()
                nursery.start_soon(come, scope)
            await trio.lowlevel.checkpoint()
            for scope in scopes[1::3]:
                scope.cancel()
    got.clear()
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(come, trio.CancelScope())
    assert len(got) == 50


async def test_an_error_in_a_step_is_its_own_affair() -> None:
    turns = Turns()

    async def fail() -> None:
        try:
            async with turns:
                raise ValueError("mine")
        except ValueError:
            failed.append(1)

    failed: list[int] = []
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(fail)
        async with turns:
            pass
    assert len(failed) == 50
