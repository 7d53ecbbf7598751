"""A thread of one's own: what it is given is done, in order, whatever becomes of who asked."""

from __future__ import annotations

import os
import threading
import weakref
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from db.own_thread import OwnThread

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = 20.0  # seconds; all of it takes milliseconds


@pytest.fixture
def thread() -> Iterator[OwnThread]:
    one = OwnThread("test")
    yield one
    one.stop()


class Value:
    """Something that can be referred to weakly."""


async def test_a_call_runs_in_the_thread_and_returns_what_it_returns(thread: OwnThread) -> None:
    for number in range(200):
        where, doubled = await thread.run(lambda n: (threading.current_thread(), 2 * n), number)
        assert (where.name, where.daemon, doubled) == ("test", True, 2 * number)
        assert not thread.busy


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, SystemExit])
async def test_what_it_raises_is_raised_here_and_the_next_call_is_fine(
    thread: OwnThread, kind: type[BaseException]
) -> None:
    error = kind("told")

    def fail() -> None:
        raise error

    with pytest.raises(kind) as caught:
        await thread.run(fail)
    assert caught.value is error
    assert any(entry.name == "fail" for entry in caught.traceback)
    assert await thread.run(lambda: "fine") == "fine"


async def test_the_loop_runs_on_meanwhile(thread: OwnThread) -> None:
    go = threading.Event()
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(thread.run, go.wait, PATIENCE)
            await trio.testing.wait_all_tasks_blocked()
            assert thread.busy
            go.set()
    assert not thread.busy


async def test_who_is_cancelled_before_leaves_no_trace(thread: OwnThread) -> None:
    calls: list[int] = []
    with trio.CancelScope() as scope:
        scope.cancel()
        await thread.run(calls.append, 1)
    assert scope.cancelled_caught
    await thread.run(calls.append, 2)
    assert calls == [2]


async def test_who_is_cancelled_meanwhile_waits_for_the_end(thread: OwnThread) -> None:
    go, calls = threading.Event(), []

    def slow() -> str:
        assert go.wait(PATIENCE)
        calls.append("done")
        return "value"

    outcome: list[str] = []

    scope = trio.CancelScope()

    async def ask() -> None:
        with scope:
            outcome.append(await thread.run(slow))

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
            await trio.testing.wait_all_tasks_blocked()
            assert (calls, outcome) == ([], [])
            go.set()
    assert (calls, outcome) == (["done"], ["value"])


async def test_an_end_that_is_told_too_often_ends_nothing_else(thread: OwnThread) -> None:
    os.write(thread._tell, b"\0\0\0")  # as after a caller that an interrupt tore away
    go = threading.Event()
    outcome: list[bool] = []

    async def ask() -> None:
        outcome.append(await thread.run(go.wait, PATIENCE))

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            assert outcome == []
            go.set()
    assert outcome == [True]


async def test_it_keeps_nothing_alive_while_it_is_idle(thread: OwnThread) -> None:
    value = Value()
    gone = weakref.ref(value)
    assert await thread.run(lambda given: given is not None, value)
    with pytest.raises(ZeroDivisionError):
        await thread.run(lambda given: 1 // 0, value)
    del value
    await thread.run(lambda: None)  # the thread has gone on behind the others
    assert gone() is None


async def test_stopped_it_is_gone_and_takes_nothing_more() -> None:
    thread = OwnThread("stopped")
    assert await thread.run(lambda: 1) == 1
    thread.stop()
    thread.stop()
    assert "stopped" not in [one.name for one in threading.enumerate()]
    for descriptor in (thread._heard, thread._tell):
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)
    with pytest.raises(RuntimeError, match="stopped"):
        await thread.run(lambda: 1)
