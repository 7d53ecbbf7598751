"""A store and a bus that misbehave on demand, around real ones."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import trio

from bus.bus import Counts

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from bus.bus import Bus, Deliver
    from bus.events import Event
    from db.store import Store


class ShimStore:
    """A store whose methods can be made to do something else before they begin and after they are done."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.before: dict[str, Callable[..., Awaitable[None]]] = {}
        self.after: dict[str, Callable[..., Awaitable[None]]] = {}
        self.calls: list[tuple[str, tuple[Any, ...]]] = []

    def __getattr__(self, name: str) -> Any:
        inner = getattr(self._store, name)

        async def call(*arguments: Any) -> Any:
            self.calls.append((name, arguments))
            if name in self.before:
                await self.before[name](*arguments)
            result = await inner(*arguments)
            if name in self.after:
                await self.after[name](*arguments)
            return result

        return call

    def called(self, name: str) -> list[tuple[Any, ...]]:
        """The arguments of each call of a method."""
        return [arguments for called, arguments in self.calls if called == name]


class Gate:
    """A hook that holds whoever comes until it is opened."""

    def __init__(self) -> None:
        self.reached = trio.Event()
        self._opened = trio.Event()

    async def __call__(self, *_: Any) -> None:
        self.reached.set()
        await self._opened.wait()

    def open(self) -> None:
        """Let everybody through, from now on."""
        self._opened.set()


class Failing:
    """A hook that raises, the first `times` times."""

    def __init__(self, error: Exception, times: int = 1_000_000) -> None:
        self._error = error
        self.left = times

    async def __call__(self, *_: Any) -> None:
        if self.left:
            self.left -= 1
            raise self._error


class ShakyBus:
    """A bus that loses, doubles, delays and swaps what it delivers, as the protocol allows."""

    def __init__(self, bus: Bus, seed: int, *, lost: float, doubled: float, late: float) -> None:
        self.counts = Counts()
        self._bus = bus
        self._chance = random.Random(seed)
        self._lost, self._doubled, self._late = lost, doubled, late
        self.shaken = 0  # events that did not simply arrive

    def publish(self, event: Event, apart: float = 0.0) -> None:
        self._bus.publish(event, apart)

    def quiet(self) -> float | None:
        return self._bus.quiet()

    async def run(
        self,
        deliver: Deliver,
        missed: Callable[[], None],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        async with trio.open_nursery() as nursery:

            async def later(origin: str, event: Event, seconds: float) -> None:
                await trio.sleep(seconds)
                deliver(origin, [event])

            def shake(origin: str, events: Sequence[Event]) -> None:
                for event in events:
                    dice = self._chance.random()
                    if dice < self._lost:
                        self.shaken += 1
                        continue
                    if dice < self._lost + self._late:
                        self.shaken += 1
                        nursery.start_soon(later, origin, event, self._chance.uniform(0.0, 0.1))
                    else:
                        deliver(origin, [event])
                    if self._chance.random() < self._doubled:
                        self.shaken += 1
                        nursery.start_soon(later, origin, event, self._chance.uniform(0.0, 0.1))

            await self._bus.run(shake, missed, task_status=task_status)


class DeadBus:
    """A bus that carries nothing, and knows it."""

    def __init__(self) -> None:
        self.counts = Counts()

    def publish(self, event: Event, apart: float = 0.0) -> None:
        pass

    def quiet(self) -> float | None:
        return 1_000.0

    async def run(
        self,
        deliver: Deliver,
        missed: Callable[[], None],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        task_status.started()
        await trio.sleep_forever()
