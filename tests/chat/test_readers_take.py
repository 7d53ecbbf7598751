"""Bytes that are taken where they are received, and what becomes of those that are not."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from chat.readers import Readers
from tests.chat.readers_world import PATIENCE, Waiter, pair, reading, reset_pair, settle

if TYPE_CHECKING:
    import select
    from collections.abc import Callable


class Taker:
    """Takes what begins with "yes", and remembers all that it was shown."""

    def __init__(self) -> None:
        self.shown: list[bytes] = []

    def __call__(self, data: bytes) -> bool:
        self.shown.append(data)
        return data.startswith(b"yes")


async def test_bytes_that_are_taken_wake_nobody_and_others_come_whole() -> None:
    async with reading() as readers, trio.open_nursery() as nursery:
        with pair(readers) as (ours, theirs):
            take = Taker()
            waiter = Waiter(readers, ours, nursery, take)
            await settle()
            for data in (b"yes 1", b"yes 2", b"yes 3"):
                theirs.send(data)
                await settle()
                assert not waiter.done
                assert readers.waiting(ours)
            theirs.send(b"no, yes")
            await settle()
            assert waiter.data == b"no, yes"
            assert take.shown == [b"yes 1", b"yes 2", b"yes 3", b"no, yes"]


class Steps(trio.abc.Instrument):
    """Counts how often a waiter's task is run."""

    def __init__(self) -> None:
        self.count = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.count += "Waiter" in task.name


async def test_the_task_is_not_run_for_what_is_taken() -> None:
    async with reading() as readers, trio.open_nursery() as nursery:
        with pair(readers) as (ours, theirs):
            waiter = Waiter(readers, ours, nursery, Taker())
            await settle()
            steps = Steps()
            trio.lowlevel.add_instrument(steps)
            for data, count in ((b"yes", 0), (b"yes", 0), (b"no", 1)):
                theirs.send(data)
                await settle()
                assert steps.count == count
            assert waiter.data == b"no"
            trio.lowlevel.remove_instrument(steps)


async def test_the_end_is_not_shown() -> None:
    async with reading() as readers, trio.open_nursery() as nursery:
        broken, peer = reset_pair()
        with broken, pair(readers) as (ours, theirs), pair(readers) as (removed, _):
            readers.add(broken)
            takes = [Taker() for _ in range(3)]
            waiters = [
                Waiter(readers, sock, nursery, take) for sock, take in zip((broken, ours, removed), takes, strict=True)
            ]
            await settle()
            theirs.send(b"yes")
            await settle()
            theirs.shutdown(socket.SHUT_WR)
            peer.close()
            readers.remove(removed)
            await settle()
            assert [waiter.data for waiter in waiters] == [b"", b"", b""]
            assert [take.shown for take in takes] == [[], [b"yes"], []]
            readers.remove(broken)


def divide(data: bytes) -> bool:
    raise ZeroDivisionError(data)


async def test_what_taking_raises_is_raised_where_the_bytes_are_waited_for() -> None:
    async with reading() as readers, trio.open_nursery() as nursery:
        with pair(readers) as (ours, theirs), pair(readers) as (others, peer):
            failing, fine = Waiter(readers, ours, nursery, divide), Waiter(readers, others, nursery)
            await settle()
            theirs.send(b"wrong")
            await settle()
            assert failing.error is not None
            assert failing.error.args == (b"wrong",)
            assert not fine.done
            peer.send(b"still read")
            await settle()
            assert fine.data == b"still read"
            theirs.send(b"and here too")
            assert await readers.wait_bytes(ours) == b"and here too"


async def test_in_one_turn_one_that_fails_leaves_the_others_theirs() -> None:
    async with reading() as readers, trio.open_nursery() as nursery, contextlib.AsyncExitStack() as stack:
        pairs = [stack.enter_context(pair(readers)) for _ in range(6)]
        takes = [divide if number % 2 else None for number in range(6)]
        waiters = [Waiter(readers, ours, nursery, take) for (ours, _), take in zip(pairs, takes, strict=True)]
        await settle()
        for number, (_, theirs) in enumerate(pairs):
            theirs.send(b"%d" % number)
        await settle()
        assert [waiter.error is not None for waiter in waiters] == [False, True] * 3
        assert [waiter.data for waiter in waiters] == [b"0", None, b"2", None, b"4", None]


@pytest.mark.parametrize("closed_too", [True, False])
async def test_taking_may_remove_others_that_are_readable_too(closed_too: bool) -> None:
    async with reading() as readers, trio.open_nursery() as nursery, contextlib.AsyncExitStack() as stack:
        pairs = [stack.enter_context(pair(readers)) for _ in range(8)]
        first: list[int] = []

        def alone(number: int) -> Callable[[bytes], bool]:
            def take(data: bytes) -> bool:
                first.append(number)
                for other, (ours, _) in enumerate(pairs):
                    if other != number:
                        readers.remove(ours)
                        if closed_too:
                            ours.close()
                return True

            return take

        waiters = [Waiter(readers, ours, nursery, alone(number)) for number, (ours, _) in enumerate(pairs)]
        await settle()
        for _, theirs in pairs:
            theirs.send(b"x")
        await settle()
        (number,) = first
        assert [waiter.data for waiter in waiters] == [None if at == number else b"" for at in range(8)]
        assert len(readers) == 1
        left, theirs = pairs[number]
        waiters[number].scope.cancel()
        await settle()
        theirs.send(b"goes on")
        assert await readers.wait_bytes(left) == b"goes on"


@pytest.mark.parametrize("taken", [True, False])
async def test_taking_may_remove_its_own_socket(taken: bool) -> None:
    async with reading() as readers, trio.open_nursery() as nursery:
        with pair(readers) as (ours, theirs):

            def take(_: bytes) -> bool:
                readers.remove(ours)
                return taken

            waiter = Waiter(readers, ours, nursery, take)
            await settle()
            theirs.send(b"x")
            theirs.send(b"y")
            await settle()
            assert waiter.data == (b"" if taken else b"xy")
            assert len(readers) == 0


async def test_a_number_given_away_again_while_bytes_are_taken_belongs_to_the_new_socket() -> None:
    async with reading() as readers, trio.open_nursery() as nursery, contextlib.AsyncExitStack() as stack:
        pairs = [stack.enter_context(pair(readers)) for _ in range(2)]
        new: list[socket.socket] = []

        def replace(number: int) -> Callable[[bytes], bool]:
            def take(_: bytes) -> bool:
                if not new:
                    other = pairs[1 - number][0]
                    readers.remove(other)
                    fd = other.detach()
                    os.dup2(quiet.fileno(), fd)  # closes the old one
                    new.append(stack.enter_context(socket.socket(fileno=fd)))
                    new[0].setblocking(False)
                    readers.add(new[0])
                return True

            return take

        quiet, peer = map(stack.enter_context, socket.socketpair())
        waiters = [Waiter(readers, ours, nursery, replace(number)) for number, (ours, _) in enumerate(pairs)]
        await settle()
        for _, theirs in pairs:
            theirs.send(b"x")
        await settle()
        assert sorted(waiter.data is None for waiter in waiters) == [False, True]
        fresh = Waiter(readers, new[0], nursery)
        await settle()
        assert not fresh.done
        peer.send(b"for the new one")
        await settle()
        assert fresh.data == b"for the new one"
        readers.remove(new[0])
        nursery.cancel_scope.cancel()


async def test_a_wait_without_it_is_not_shown_to_the_former_one() -> None:
    async with reading() as readers, trio.open_nursery() as nursery:
        with pair(readers) as (ours, theirs):
            take = Taker()
            waiter = Waiter(readers, ours, nursery, take)
            await settle()
            theirs.send(b"no")
            await settle()
            assert waiter.data == b"no"
            theirs.send(b"yes")
            assert await readers.wait_bytes(ours) == b"yes"
            waiter = Waiter(readers, ours, nursery, take)
            await settle()
            waiter.scope.cancel()
            await settle()
            theirs.send(b"yes again")
            assert await readers.wait_bytes(ours) == b"yes again"
            assert take.shown == [b"no"]


async def test_who_is_cancelled_after_bytes_were_taken_leaves_the_next_ones() -> None:
    async with reading() as readers, trio.open_nursery() as nursery:
        with pair(readers) as (ours, theirs):
            take = Taker()
            waiter = Waiter(readers, ours, nursery, take)
            await settle()
            theirs.send(b"yes")
            await settle()
            theirs.send(b"yes, for the next")
            waiter.scope.cancel()
            await settle()
            assert (waiter.done, waiter.data) == (True, None)
            assert take.shown == [b"yes"]
            assert await readers.wait_bytes(ours) == b"yes, for the next"


@pytest.mark.parametrize("where", ["in the taking", "in the same turn"])
async def test_who_is_cancelled_in_the_moment_of_taking_gets_nothing_twice(where: str) -> None:
    waiter: Waiter

    class Meddling(Readers):
        """Cancels the waiter at the end of the turn."""

        def _turn(self, epoll: select.epoll) -> None:
            super()._turn(epoll)
            if where == "in the same turn":
                waiter.scope.cancel()

    async with reading(Meddling) as readers, trio.open_nursery() as nursery:
        with pair(readers) as (ours, theirs):
            shown: list[bytes] = []

            def take(data: bytes) -> bool:
                shown.append(data)
                if where == "in the taking":
                    waiter.scope.cancel()
                return True

            waiter = Waiter(readers, ours, nursery, take)
            await settle()
            theirs.send(b"taken")
            await settle()
            assert (waiter.done, waiter.data, shown) == (True, None, [b"taken"])
            theirs.send(b"for the next")
            assert await readers.wait_bytes(ours) == b"for the next"
            assert shown == [b"taken"]


async def test_frozen_nothing_is_taken() -> None:
    async with reading() as readers, trio.open_nursery() as nursery:
        with pair(readers) as (ours, theirs):
            take = Taker()
            waiter = Waiter(readers, ours, nursery, take)
            await settle()
            readers.freeze()
            theirs.send(b"yes")
            await settle()
            assert take.shown == []
            assert ours.recv(100, socket.MSG_PEEK) == b"yes"
            readers.thaw()
            await settle()
            assert (waiter.done, take.shown) == (False, [b"yes"])


@pytest.mark.parametrize("when", ["before it runs", "after it ended"])
async def test_where_trio_waits_bytes_come_once_too(when: str) -> None:
    readers = Readers()
    with trio.fail_after(PATIENCE), pair(readers) as (ours, theirs):
        async with trio.open_nursery() as nursery:
            take = Taker()
            async with trio.open_nursery() as running:
                if when == "after it ended":
                    await running.start(readers.run)
                waiter = Waiter(readers, ours, nursery, take)
                await settle()
                running.cancel_scope.cancel()
            theirs.send(b"yes")
            await settle()
            assert ([waiter.data] if waiter.done else take.shown) == [b"yes"]
            nursery.cancel_scope.cancel()
