"""The set of readers over real sockets: whatever is interleaved, no byte is lost or swapped, and nothing ever spins."""

from __future__ import annotations

import contextlib
import random
import select
import socket
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from chat import readers as module
from chat.readers import READ_BYTES, Readers
from tests.chat.readers_world import PAIRS, PATIENCE, Waiter, pair, reading, reset_pair, settle

if TYPE_CHECKING:
    from collections.abc import Callable

# --- bytes -------------------------------------------------------------------------------------------------------


async def test_bytes_come_as_they_arrive_and_then_the_end() -> None:
    async with reading() as readers:
        with pair(readers) as (ours, theirs):
            theirs.send(b"one")
            assert await readers.wait_bytes(ours) == b"one"
            theirs.send(b"two")
            theirs.send(b"three")
            assert await readers.wait_bytes(ours) == b"twothree"
            theirs.shutdown(socket.SHUT_WR)
            assert await readers.wait_bytes(ours) == b""
            assert await readers.wait_bytes(ours) == b""
            ours.send(b"still writable")
            assert theirs.recv(100) == b"still writable"


async def test_one_wait_takes_a_bounded_piece() -> None:
    async with reading() as readers:
        with pair(readers) as (ours, theirs):
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * READ_BYTES)
            theirs.setblocking(False)
            sent = theirs.send(bytes(3 * READ_BYTES))
            assert sent > READ_BYTES
            pieces = []
            while sum(pieces) < sent:
                pieces.append(len(await readers.wait_bytes(ours)))
            assert max(pieces) <= READ_BYTES


@pytest.mark.parametrize("turn", [1, 4, 256])
async def test_those_that_never_fall_silent_starve_nobody(monkeypatch: pytest.MonkeyPatch, turn: int) -> None:
    monkeypatch.setattr(module, "TURN", turn)
    async with reading() as readers:
        with contextlib.ExitStack() as stack:
            pairs = [stack.enter_context(pair(readers)) for _ in range(12)]
            heard = [0] * len(pairs)

            async def chatter(number: int) -> None:
                ours, theirs = pairs[number]
                theirs.send(b"x")
                while True:
                    heard[number] += len(await readers.wait_bytes(ours))
                    theirs.send(b"x")

            async with trio.open_nursery() as nursery:
                for number in range(len(pairs)):
                    nursery.start_soon(chatter, number)
                while sum(heard) < 100 * len(pairs):
                    await trio.lowlevel.checkpoint()
                nursery.cancel_scope.cancel()
    assert min(heard) >= 50


# --- who does not wait -------------------------------------------------------------------------------------------


def closed(theirs: socket.socket) -> None:
    theirs.close()


def half_closed(theirs: socket.socket) -> None:
    theirs.shutdown(socket.SHUT_WR)


def written(theirs: socket.socket) -> None:
    theirs.send(b"unread")


@pytest.mark.parametrize("end", [closed, half_closed, written])
@pytest.mark.parametrize("over", [socket.socketpair, reset_pair])
async def test_a_socket_that_nobody_waits_for_does_not_spin(
    end: Callable[[socket.socket], None], over: Callable[[], tuple[socket.socket, socket.socket]]
) -> None:
    async with reading() as readers, trio.open_nursery() as nursery:
        ours, theirs = over()
        with ours, theirs:
            ours.setblocking(False)
            readers.add(ours)
            waiter = Waiter(readers, ours, nursery)
            await settle()
            waiter.scope.cancel()
            await settle()  # registered, and nobody waits
            end(theirs)
            await settle()
            expected = b"unread" if end is written else b""
            assert await readers.wait_bytes(ours) == expected
            await settle()
            readers.remove(ours)


async def test_a_broken_socket_costs_nobody_else_anything() -> None:
    async with reading() as readers, trio.open_nursery() as nursery:
        broken, peer = reset_pair()
        with broken, pair(readers) as (ours, theirs):
            readers.add(broken)
            one, other = Waiter(readers, broken, nursery), Waiter(readers, ours, nursery)
            await settle()
            peer.close()
            await settle()
            assert (one.data, other.data) == (b"", None)
            theirs.send(b"fine")
            await settle()
            assert other.data == b"fine"
            readers.remove(broken)


# --- coming and going --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("running", [True, False])
async def test_removing_wakes_who_waits_and_may_be_done_twice(running: bool) -> None:
    async with reading() as readers, trio.open_nursery() as nursery:
        readers = readers if running else Readers()
        with pair(readers) as (ours, theirs):
            waiter = Waiter(readers, ours, nursery)
            await settle()
            readers.remove(ours)
            readers.remove(ours)
            theirs.send(b"too late")
            await settle()
            assert waiter.data == b""
            assert len(readers) == 0
            assert await readers.wait_bytes(ours) == b""
            assert ours.recv(100) == b"too late"
            ours.close()
            readers.remove(ours)
            assert await readers.wait_bytes(ours) == b""


async def test_adding_twice_is_adding_once() -> None:
    async with reading() as readers, trio.open_nursery() as nursery:
        with pair(readers) as (ours, theirs):
            waiter = Waiter(readers, ours, nursery)
            await settle()
            readers.add(ours)
            theirs.send(b"once")
            await settle()
            assert waiter.data == b"once"
            assert len(readers) == 1


@pytest.mark.parametrize("removed", [True, False])
async def test_a_number_that_was_given_away_again_belongs_to_the_new_socket(removed: bool) -> None:
    async with reading() as readers, trio.open_nursery() as nursery:
        old, peer = socket.socketpair()
        old.setblocking(False)
        readers.add(old)
        waiter = Waiter(readers, old, nursery)
        await settle()
        number = old.fileno()
        if removed:
            readers.remove(old)
        new, theirs = socket.socketpair()
        old.close()
        moved = socket.socket(fileno=socket.dup(new.fileno()))
        new.close()
        with peer, theirs, moved:
            moved.setblocking(False)
            assert moved.fileno() == number
            readers.add(moved)
            theirs.send(b"for the new one")
            assert await readers.wait_bytes(moved) == b"for the new one"
            assert waiter.data == b""
            readers.remove(old)  # as its task would, late: it must not touch the new one
            assert len(readers) == 1
            readers.remove(moved)


@pytest.mark.parametrize("running", [True, False])
async def test_two_tasks_may_not_wait_for_one_socket(running: bool) -> None:
    async with reading() as readers, trio.open_nursery() as nursery:
        other = readers if running else Readers()
        with pair(other) as (ours, theirs):
            waiter = Waiter(other, ours, nursery)
            await settle()
            with pytest.raises(trio.BusyResourceError):
                await other.wait_bytes(ours)
            theirs.send(b"mine")
            await settle()
            assert waiter.data == b"mine"


# --- cancellation and standstill ---------------------------------------------------------------------------------


async def test_who_is_cancelled_in_the_moment_of_its_bytes_still_gets_them() -> None:
    waiter: Waiter

    class Meddling(Readers):
        """Cancels the waiter between the receiving and its waking up."""

        def _turn(self, epoll: select.epoll) -> None:
            super()._turn(epoll)
            waiter.scope.cancel()

    async with reading(Meddling) as readers, trio.open_nursery() as nursery:
        with pair(readers) as (ours, theirs):
            waiter = Waiter(readers, ours, nursery)
            await settle()
            theirs.send(b"not lost")
            await settle()
            assert waiter.data == b"not lost"


async def test_who_was_cancelled_leaves_the_bytes_to_the_next() -> None:
    async with reading() as readers, trio.open_nursery() as nursery:
        with pair(readers) as (ours, theirs):
            waiter = Waiter(readers, ours, nursery)
            await settle()
            theirs.send(b"for the next")
            waiter.scope.cancel()
            await settle()
            assert (waiter.done, waiter.data) == (True, None)
            assert await readers.wait_bytes(ours) == b"for the next"


@pytest.mark.parametrize("running", [True, False])
async def test_frozen_nothing_is_received_until_it_thaws(running: bool) -> None:
    async with reading() as readers, trio.open_nursery() as nursery:
        other = readers if running else Readers()
        with pair(other) as (ours, theirs), pair(other) as (_second, hung_up):
            waiter = Waiter(other, ours, nursery)
            await settle()
            theirs.send(b"kept ")
            other.freeze()
            other.freeze()
            hung_up.close()
            await settle()
            theirs.send(b"by the kernel")
            await settle()
            assert not waiter.done
            assert ours.recv(100, socket.MSG_PEEK) == b"kept by the kernel"
            other.thaw()
            other.thaw()
            await settle()
            assert waiter.data == b"kept by the kernel"


@pytest.mark.parametrize("running", [True, False])
async def test_frozen_a_socket_can_be_taken_away(running: bool) -> None:
    async with reading() as readers, trio.open_nursery() as nursery:
        other = readers if running else Readers()
        with pair(other) as (ours, theirs):
            waiter = Waiter(other, ours, nursery)
            await settle()
            other.freeze()
            theirs.send(b"the successor's")
            await settle()
            other.remove(ours)
            assert ours.recv(100) == b"the successor's"
            ours.close()
            other.thaw()
            await settle()
            assert waiter.data == b""


# --- without epoll -----------------------------------------------------------------------------------------------


async def test_before_it_runs_and_after_it_ended_sockets_are_waited_for_all_the_same() -> None:
    readers = Readers()
    with trio.fail_after(PATIENCE), pair(readers) as (ours, theirs):
        async with trio.open_nursery() as nursery:
            waiter = Waiter(readers, ours, nursery)
            await settle()
            async with trio.open_nursery() as running:
                await running.start(readers.run)
                theirs.send(b"before")
                await settle()
                assert waiter.data == b"before"
                waiter = Waiter(readers, ours, nursery)
                await settle()
                running.cancel_scope.cancel()
            theirs.send(b"after")
            await settle()
            assert waiter.data == b"after"
            async with trio.open_nursery() as running:
                await running.start(readers.run)
                theirs.send(b"again")
                assert await readers.wait_bytes(ours) == b"again"
                running.cancel_scope.cancel()


async def test_its_file_descriptor_is_closed_with_it() -> None:
    async with reading() as readers:
        epoll = readers._epoll
        assert epoll is not None
    assert epoll.closed


async def test_a_system_without_epoll_is_served_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(select, "epoll")
    async with reading() as readers:
        with pair(readers) as (ours, theirs):
            theirs.send(b"by kqueue")
            assert await readers.wait_bytes(ours) == b"by kqueue"


# --- histories ---------------------------------------------------------------------------------------------------

STEPS = st.one_of(
    st.tuples(st.just("send"), st.integers(0, PAIRS - 1)),
    st.tuples(st.just("wait"), st.integers(0, PAIRS - 1)),
    st.tuples(st.sampled_from(["wait", "wait and take"]), st.integers(0, PAIRS - 1)),
    st.tuples(st.just("cancel"), st.integers(0, PAIRS - 1)),
    st.tuples(st.sampled_from(["freeze", "thaw", "settle", "tick", "start", "end"]), st.just(0)),
)


class History:
    """Some sockets, everything that was sent to them, and everything that came."""

    def __init__(self, readers: Readers, nursery: trio.Nursery) -> None:
        self.readers, self.nursery = readers, nursery
        self.pairs = [socket.socketpair() for _ in range(PAIRS)]
        self.sent = [b""] * PAIRS
        self.waits: list[list[Waiter]] = [[] for _ in range(PAIRS)]
        self.frozen: list[bytes] | None = None
        self.running: trio.CancelScope | None = None
        self._numbers = random.Random(0)
        for ours, _ in self.pairs:
            ours.setblocking(False)
            readers.add(ours)

    def received(self) -> list[bytes]:
        return [b"".join(bytes(waiter.taken) + (waiter.data or b"") for waiter in waits) for waits in self.waits]

    async def step(self, kind: str, number: int) -> None:
        waits = self.waits[number]
        match kind:
            case "send":
                data = self._numbers.randbytes(self._numbers.randint(1, 40))
                self.sent[number] += data
                self.pairs[number][1].send(data)
            case "wait" if not waits or waits[-1].done:
                waits.append(Waiter(self.readers, self.pairs[number][0], self.nursery))
            case "wait and take" if not waits or waits[-1].done:
                taken = bytearray()

                def take(data: bytes) -> bool:
                    taken.extend(data if (odd := len(data) % 2) else b"")
                    return bool(odd)

                waits.append(Waiter(self.readers, self.pairs[number][0], self.nursery, take))
                waits[-1].taken = taken
            case "cancel" if waits:
                waits[-1].scope.cancel()
            case "freeze" if self.frozen is None:
                self.readers.freeze()
                await settle()  # what tasks were given is theirs
                self.frozen = self.received()
            case "thaw" if self.frozen is not None:
                assert self.received() == self.frozen
                self.readers.thaw()
                self.frozen = None
            case "settle":
                await settle()
            case "tick":
                await trio.lowlevel.checkpoint()
            case "start" if self.running is None:
                self.running = await self.nursery.start(self._run)
            case "end" if self.running is not None:
                self.running.cancel()
                await settle()
                self.running = None

    async def _run(self, task_status: trio.TaskStatus[trio.CancelScope]) -> None:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                await nursery.start(self.readers.run)
                task_status.started(scope)

    async def finish(self) -> None:
        """Read what is left, until each peer's end."""
        await self.step("thaw", 0)
        for number, (ours, theirs) in enumerate(self.pairs):
            theirs.close()
            while not (self.waits[number] and self.waits[number][-1].data == b""):
                await settle()
                await self.step("wait", number)
                await settle()
            self.readers.remove(ours)
            ours.close()


@settings(max_examples=150, deadline=None)
@given(st.lists(STEPS, max_size=60))
def test_whatever_is_interleaved_no_byte_is_lost_or_swapped(steps: list[tuple[str, int]]) -> None:
    async def main() -> None:
        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                history = History(Readers(), nursery)
                await history.step("start", 0)
                for kind, number in steps:
                    await history.step(kind, number)
                await history.finish()
                assert history.received() == history.sent
                nursery.cancel_scope.cancel()

    trio.run(main)
