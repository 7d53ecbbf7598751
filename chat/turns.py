"""How much of the event loop those who come in may have, however many they are.

A client that comes in takes a few steps: it is accepted, its head is read, its hello answered, what it missed put
together; 0.1 to 1 ms each, and between them it waits. When a thousand come back at once, they all wake in one turn of
the loop, which then is 70 ms long; a commit takes several turns, and whoever is in already waits for it. So the steps
are counted: in one turn only so many, and the others wait for the next, first come first served.

How many, is measured, by what a step takes and what everything else takes in a turn. Where that is long because
thousands talk, they have SHARE of the loop, or nobody would come in at all: with two steps a turn, or never more than
32, a survivor of a killed server took four times as long to let its clients in, and its deliveries came no earlier.
Where it is short there is time enough, and those who are in would notice longer turns: there they have less than that,
in proportion.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Self

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

LEAST = 2  # steps in a turn: where nothing else is to be done a turn is what its steps take
MOST = 10_000  # no bound, but against a clock that jumps
SHARE = 0.8  # of a turn, at most: it is five times as long then as with nobody coming in
LONG = 0.03  # seconds that a turn takes with nobody coming in, from which on it may be so much longer
WEIGHT = 0.03  # of the newest measure in what is remembered


class Turns:
    """`async with` it for one step, and await nothing inside. A checkpoint."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.steps = LEAST  # in one turn, by what was measured
        self._clock = clock
        self._waiting = trio.lowlevel.ParkingLot()
        self._given: dict[trio.lowlevel.Task, float] = {}  # who waited and may go on, since when by `_elsewhere`
        self._taken = 0  # permits; one is held over the change of turns, so that none is used twice in one
        self._began = 0.0  # of the step that runs now; there is only one
        self._spent = 0.0  # seconds in all steps so far
        self._step = 0.0  # seconds that one takes
        self._others = 0.0  # seconds that everything else takes in a turn

    async def __aenter__(self) -> Self:
        """Wait for the turn."""
        if self._taken < self.steps and not self._waiting:
            self._taken += 1
            given = self._elsewhere()
            try:
                await trio.lowlevel.checkpoint()
            except BaseException:
                self._give_back()
                raise
        else:
            await self._waiting.park()  # whoever wakes us has taken a permit for us
            given = self._given.pop(trio.lowlevel.current_task())
        self._others += WEIGHT * (self._elsewhere() - given - self._others)
        self._began = self._clock()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Give the next ones theirs. Not a checkpoint: what the step did and what follows it are one."""
        took = self._clock() - self._began
        self._spent += took
        self._step += WEIGHT * (took - self._step)
        if self._step > 0.0:
            spared = SHARE / (1.0 - SHARE) * self._others * min(1.0, self._others / LONG)
            self.steps = min(max(round(spared / self._step), LEAST), MOST)
        self._give_back()

    def _elsewhere(self) -> float:
        """A clock that stands still while a step runs: seconds."""
        return self._clock() - self._spent

    def _give_back(self) -> None:
        self._taken -= 1
        while self._waiting and self._taken < self.steps:
            self._taken += 1
            for task in self._waiting.unpark():
                self._given[task] = self._elsewhere()
