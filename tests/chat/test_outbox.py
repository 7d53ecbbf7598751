"""The outbox: whole frames in order over real sockets, however slowly they go, and nobody waits for a slow reader."""

from __future__ import annotations

import contextlib
import random
import socket
import tracemalloc
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from chat.closing import SLOW
from chat.frames import close_frame
from chat.outbox import SLOW_LINGER_BYTES, Backlog, Outbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

KERNEL = 4_096  # bytes asked of the kernel for each direction, so that little is enough to fill it
PATIENCE = 120.0  # seconds for anything here; all of it takes milliseconds


@contextlib.asynccontextmanager
async def outbox(bound: int = 0, backlog: Backlog | None = None) -> AsyncIterator[tuple[Outbox, trio.SocketStream]]:
    """An outbox with its flushing tasks, and the peer that reads it."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL)
    with ours, theirs, trio.fail_after(PATIENCE):
        peer = trio.SocketStream(trio.socket.from_stdlib_socket(theirs))
        async with trio.open_nursery() as nursery:
            yield Outbox(ours, bound, nursery.start_soon, backlog or Backlog()), peer
            if ours.fileno() >= 0:
                trio.lowlevel.notify_closing(ours)
                ours.close()


async def read_all(peer: trio.SocketStream, box: Outbox) -> bytes:
    """Everything that was posted; ends the outbox's socket for writing when it has drained."""
    received = bytearray()

    async def end() -> None:
        await box.wait_drained()
        with contextlib.suppress(OSError):
            box._sock.shutdown(socket.SHUT_WR)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(end)
        while data := await peer.receive_some():
            received += data
    return bytes(received)


def fill(box: Outbox, chunk: bytes) -> int:
    """Post until something has to wait; how many times."""
    posts = 0
    while not box.waiting:
        box.post(chunk)
        posts += 1
    return posts


async def test_what_the_kernel_takes_at_once_needs_no_task() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        box = Outbox(ours, 0, lambda _: pytest.fail("a task was started"), Backlog())
        for number in range(20):
            box.post(b"%d," % number)
        assert theirs.recv(1_000) == b"".join(b"%d," % number for number in range(20))
        assert box.waiting == 0
        await box.wait_drained()


async def test_what_is_gathered_goes_out_in_one_send_and_is_not_the_readers_fault() -> None:
    backlog = Backlog()
    async with outbox(bound=100, backlog=backlog) as (box, peer):
        sends: list[bytes] = []
        send = box.send
        box.send = lambda data: sends.append(data) or send(data)  # type: ignore[method-assign,func-returns-value]
        box.when_slow(lambda: pytest.fail("the reader was not asked yet"))
        assert box.gather()
        box.post(b"a" * 90)
        box.post(b"b" * 90)
        assert (sends, box.waiting, backlog.bytes) == ([], 0, 0)
        box.send_gathered()
        assert sends == [b"a" * 90 + b"b" * 90]
        box.post(b"c")
        assert box.gather()
        box.send_gathered()  # nothing
        assert sends[1:] == [b"c"]
        assert await read_all(peer, box) == b"a" * 90 + b"b" * 90 + b"c"


async def test_what_waits_already_is_not_gathered() -> None:
    async with outbox() as (box, peer):
        posts = fill(box, b"x" * 1_000)
        assert not box.gather()
        box.post(b"y")
        assert await read_all(peer, box) == b"x" * 1_000 * posts + b"y"


async def test_what_is_gathered_and_not_taken_waits_as_anything() -> None:
    async with outbox() as (box, peer):
        assert box.gather()
        for at in range(100):
            box.post(b"%05d" % at * 2_000)
        box.send_gathered()
        assert box.waiting > 0
        box.post(b"end")
        assert await read_all(peer, box) == b"".join(b"%05d" % at * 2_000 for at in range(100)) + b"end"


@pytest.mark.parametrize("seed", range(8))
async def test_order_is_kept_however_the_sends_are_cut(seed: int) -> None:
    chance = random.Random(seed)
    chunks = [chance.randbytes(chance.choice([1, 10, 300, 5_000, 40_000])) for _ in range(300)]
    received = bytearray()
    async with outbox() as (box, peer), trio.open_nursery() as nursery:

        async def read() -> None:
            while len(received) < sum(map(len, chunks)):
                received.extend(await peer.receive_some(chance.choice([7, 1_000, 30_000])))

        nursery.start_soon(read)
        for chunk in chunks:
            box.post(chunk)
            if chance.random() < 0.3:
                await trio.lowlevel.checkpoint()
        await box.wait_drained()
        assert box.waiting == 0
    assert bytes(received) == b"".join(chunks)


async def test_what_waits_is_counted_here_and_for_the_server() -> None:
    backlog = Backlog()
    async with outbox(backlog=backlog) as (one, peer), outbox(backlog=backlog) as (two, _):
        fill(one, b"x" * 1_000)
        fill(two, b"x" * 1_000)
        one.post(b"y" * 500)
        assert one.waiting > 500
        assert backlog.bytes == one.waiting + two.waiting
        await read_all(peer, one)
        assert one.waiting == 0
        assert backlog.bytes == two.waiting
    assert backlog.bytes == 0


async def test_a_slow_reader_is_told_of_once_and_posting_goes_on() -> None:
    slow: list[int] = []
    async with outbox(bound=10_000) as (box, _peer):
        box.when_slow(lambda: slow.append(box.waiting))
        fill(box, b"x" * 1_000)
        while box.waiting <= 10_000:
            assert not slow
            box.post(b"x" * 1_000)
        assert slow == [box.waiting]
        box.post(b"x" * 50_000)
        assert len(slow) == 1


async def test_after_the_cut_the_frame_under_way_ends_and_the_close_follows_it() -> None:
    chunk = bytes(range(256)) * 20
    backlog = Backlog()
    async with outbox(bound=100_000, backlog=backlog) as (box, peer):
        box.when_slow(box.cut)
        posts = fill(box, chunk)
        while backlog.bytes > len(chunk) or posts < 20:  # until `cut` has let all go but the chunk under way
            box.post(chunk)
            posts += 1
        box.post(close_frame(SLOW))
        received = await read_all(peer, box)
        assert received.endswith(close_frame(SLOW))
        sent, rest = divmod(len(received) - len(close_frame(SLOW)), len(chunk))
        assert rest == 0
        assert received.startswith(chunk * sent)
        assert sent < posts
    assert backlog.bytes == 0


async def test_a_cut_in_too_large_a_frame_sends_nothing_more() -> None:
    backlog = Backlog()
    async with outbox(backlog=backlog) as (box, peer):
        fill(box, b"x" * 20 * SLOW_LINGER_BYTES)
        box.cut()
        assert (box.broken, box.waiting, backlog.bytes) == (True, 0, 0)
        box.post(close_frame(SLOW))
        received = await read_all(peer, box)
        assert set(received) == {ord("x")}
    assert backlog.bytes == 0


async def test_a_cut_of_nothing_is_nothing() -> None:
    async with outbox() as (box, peer):
        box.cut()
        box.post(b"still here")
        assert await peer.receive_some() == b"still here"


async def test_chunks_are_shared_by_all_who_wait_for_them() -> None:
    chunks = [bytes([number]) * 50_000 for number in range(20)]
    async with contextlib.AsyncExitStack() as stack:
        boxes = [(await stack.enter_async_context(outbox()))[0] for _ in range(40)]
        for box in boxes:
            fill(box, b"x" * 10_000)
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        for chunk in chunks:
            for box in boxes:
                box.post(chunk)
        grown = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        assert all(box.waiting > sum(map(len, chunks)) for box in boxes)
        assert grown < 50_000  # bytes: a reference each, where copies would be 40 MB


async def test_a_peer_that_is_gone_breaks_the_outbox_and_nobody_else() -> None:
    backlog = Backlog()
    async with outbox(backlog=backlog) as (box, peer):
        await peer.aclose()
        for _ in range(3):
            box.post(b"x" * 1_000)
        assert box.broken
        await box.wait_drained()
        assert (box.waiting, backlog.bytes) == (0, 0)


async def test_a_peer_that_goes_while_it_is_waited_for_frees_what_waits() -> None:
    backlog = Backlog()
    async with outbox(backlog=backlog) as (box, peer):
        fill(box, b"x" * 10_000)
        await trio.testing.wait_all_tasks_blocked()
        await peer.aclose()
        await box.wait_drained()
        assert (box.broken, box.waiting, backlog.bytes) == (True, 0, 0)
        box.post(b"for nobody")
        assert box.waiting == 0


async def test_closing_our_socket_ends_the_flush() -> None:
    backlog = Backlog()
    async with outbox(backlog=backlog) as (box, _peer):
        fill(box, b"x" * 10_000)
        await trio.testing.wait_all_tasks_blocked()
        trio.lowlevel.notify_closing(box._sock)
        box._sock.close()
        await box.wait_drained()
        assert (box.broken, backlog.bytes) == (True, 0)
        box.post(b"for nobody")


async def test_closing_our_socket_before_the_flush_begins_ends_it_too() -> None:
    backlog = Backlog()
    async with outbox(backlog=backlog) as (box, _peer):
        fill(box, b"x" * 10_000)
        box._sock.close()
        await box.wait_drained()
        assert (box.broken, backlog.bytes) == (True, 0)


async def test_a_cancelled_flush_lets_nothing_follow_half_a_frame() -> None:
    backlog = Backlog()
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    with ours, theirs, trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            box = Outbox(ours, 0, nursery.start_soon, backlog)
            box.post(b"x" * 5_000_000)
            nursery.cancel_scope.cancel()
        assert (box.broken, box.waiting, backlog.bytes) == (True, 0, 0)
        while True:
            with contextlib.suppress(BlockingIOError):
                theirs.recv(10_000_000)
                continue
            break
        box.post(b"y")
        with pytest.raises(BlockingIOError):
            theirs.recv(1)
