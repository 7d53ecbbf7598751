"""The in-process bus: others hear in order, nobody hears itself, and nobody waits."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import trio
import trio.testing

from bus.events import Beat, Order, Typing
from bus.memory import QUEUE_EVENTS, Exchange

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from bus.events import Event
    from bus.memory import MemoryBus

BEAT = Beat("s1", "boot", "http://127.0.0.1:1", "1", "ready", 0, 0.0)
Heard = list[tuple[str, str]]  # (origin, room)


def event(room: int | str) -> Event:
    return Typing(str(room), "u", "U")


@contextlib.asynccontextmanager
async def listening(bus: MemoryBus, missed: Callable[[], None] = lambda: None) -> AsyncIterator[Heard]:
    """What a bus delivers while the block runs."""
    heard: Heard = []

    def deliver(origin: str, events: Sequence[Event]) -> None:
        heard.extend((origin, event.room) for event in events)

    async def run(task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        await bus.run(deliver, missed, task_status=task_status)

    async with trio.open_nursery() as nursery:
        await nursery.start(run)
        yield heard
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()


async def test_the_others_hear_all_in_order_and_with_its_origin() -> None:
    exchange = Exchange()
    one, two, three = (exchange.bus(name) for name in ("s1", "s2", "s3"))
    async with listening(one) as by_one, listening(two) as by_two, listening(three) as by_three:
        for number in range(100):
            one.publish(event(number))
            if number % 10 == 0:
                await trio.testing.wait_all_tasks_blocked()
        two.publish(event("from two"))
    told = [("s1", str(number)) for number in range(100)]
    assert by_one == [("s2", "from two")]
    assert by_two == told
    assert by_three == [*told, ("s2", "from two")]


async def test_exchanges_do_not_hear_each_other() -> None:
    one, other = Exchange().bus("s1"), Exchange().bus("s2")
    async with listening(other) as heard:
        one.publish(event("lobby"))
    assert heard == []


async def test_publishing_needs_no_listener_and_no_loop_of_its_own() -> None:
    exchange = Exchange()
    one, two = exchange.bus("s1"), exchange.bus("s2")
    one.publish(event("before"))
    async with listening(two) as heard:
        one.publish(event("while"))
    one.publish(event("after"))
    assert heard == [("s1", "while")]


async def test_a_server_that_restarts_hears_again_from_then_on() -> None:
    exchange = Exchange()
    one = exchange.bus("s1")
    for boot in ("first", "second"):
        async with listening(exchange.bus("s2")) as heard:
            one.publish(event(boot))
        assert heard == [("s1", boot)]


async def test_over_the_bound_the_oldest_are_lost_and_the_loss_is_told() -> None:
    exchange = Exchange()
    one, two = exchange.bus("s1"), exchange.bus("s2")
    losses: list[str] = []
    async with listening(two, lambda: losses.append("told")) as heard:
        for number in range(QUEUE_EVENTS):
            one.publish(event(number))
        await trio.testing.wait_all_tasks_blocked()
        assert losses == []
        heard.clear()
        for number in range(QUEUE_EVENTS + 5):
            one.publish(event(number))
    assert losses == ["told"]
    assert heard == [("s1", str(number)) for number in range(5, QUEUE_EVENTS + 5)]


async def test_what_is_published_while_delivering_is_delivered_too() -> None:
    exchange = Exchange()
    one, two = exchange.bus("s1"), exchange.bus("s2")
    heard: list[str] = []

    def answer(origin: str, events: Sequence[Event]) -> None:
        heard.extend(event.room for event in events)
        if len(heard) < 3:
            one.publish(event(len(heard)))

    async with trio.open_nursery() as nursery:
        await nursery.start(lambda task_status: two.run(answer, lambda: None, task_status=task_status))
        one.publish(event("begin"))
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert heard == ["begin", "1", "2"]


async def test_a_bus_is_quiet_only_where_there_is_nobody_else() -> None:
    exchange = Exchange()
    one, two = exchange.bus("s1"), exchange.bus("s2")
    async with listening(one):
        assert one.quiet() is None
        async with listening(two):
            assert one.quiet() == two.quiet() == 0.0
        assert one.quiet() is None


async def test_a_listener_hears_of_servers_only_and_is_nobody_to_share_rooms_with() -> None:
    exchange = Exchange()
    server, tower = exchange.bus("s1"), exchange.listener("tower")
    heard: list[Event] = []
    async with listening(server) as by_server, trio.open_nursery() as nursery:
        server.publish(BEAT)

        def deliver(origin: str, events: Sequence[Event]) -> None:
            heard.extend(events)

        async def run(task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
            await tower.run(deliver, lambda: None, task_status=task_status)

        await nursery.start(run)
        assert server.quiet() is None
        assert tower.quiet() == 0.0
        server.publish(event("lobby"))
        server.publish(Order("s1", "o", "drain"))
        tower.publish(Order("s1", "o2", "abort"))
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert heard == [BEAT, Order("s1", "o", "drain")]
    assert by_server == [("tower", "")]
    other = exchange.bus("s2")
    async with listening(server), listening(other):
        assert server.quiet() == 0.0
