"""An outbox that is held, released, given away and resumed by another: the peer sees every byte, once, in order."""

from __future__ import annotations

import socket

import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from chat.outbox import Backlog, Outbox

KERNEL = 4_096  # bytes asked of the kernel for each direction, so that little is enough to fill it
PATIENCE = 60.0  # seconds for a history; milliseconds are enough

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("post"), st.integers(1, 20_000)),
        st.tuples(st.just("read"), st.integers(1, 30_000)),
        st.tuples(st.sampled_from(["hold", "release", "give", "turn"]), st.just(0)),
    ),
    max_size=40,
)


class Line:
    """One socket, and the outboxes of the processes that have had it."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.ours, self.theirs = socket.socketpair()
        for sock in (self.ours, self.theirs):
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL)
        self.nursery = nursery
        self.backlog = Backlog()
        self.box = self.new()
        self.held: bytes | None = None
        self.posted = bytearray()
        self.got = bytearray()

    def new(self) -> Outbox:
        return Outbox(self.ours, 0, self.nursery.start_soon, self.backlog)

    def post(self, size: int) -> None:
        data = bytes((len(self.posted) + at) % 251 for at in range(size))
        self.posted += data
        self.box.post(data)

    def read(self, size: int) -> None:
        try:
            self.got += self.theirs.recv(size)
        except BlockingIOError:
            return

    def hold(self) -> None:
        if self.held is None:
            self.held = self.box.hold()

    def release(self) -> None:
        self.box.release()
        self.held = None

    def give(self) -> None:
        """To the next process, with what was said before the hold; what was posted since was never promised."""
        if self.held is None:
            self.held = self.box.hold()
        unsent, waiting = self.held, self.box.waiting
        del self.posted[len(self.posted) - (waiting - len(unsent)) :]
        self.box.give_up()
        self.box.post(b"not any more")
        self.box, self.held = self.new(), None
        self.box.resume(unsent)


@settings(deadline=None, max_examples=60)
@given(STEPS)
def test_every_byte_comes_once_and_in_order(steps: list[tuple[str, int]]) -> None:
    async def run() -> None:
        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                line = Line(nursery)
                with line.ours, line.theirs:
                    for step, size in steps:
                        if step == "turn":
                            await trio.lowlevel.checkpoint()
                        elif size:
                            getattr(line, step)(size)
                        else:
                            getattr(line, step)()
                    line.release()
                    while len(line.got) < len(line.posted):
                        await trio.lowlevel.checkpoint()
                        line.read(100_000)
                    assert line.got == line.posted
                    await line.box.wait_drained()
                    assert not line.box.broken
                    assert line.box.waiting == line.backlog.bytes == 0
                    nursery.cancel_scope.cancel()

    trio.run(run)


async def test_nothing_is_written_while_held_and_who_waits_for_the_end_hears_of_it() -> None:
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            line = Line(nursery)
            with line.ours, line.theirs:
                line.hold()
                line.post(10)
                await trio.sleep(0.01)
                line.read(100)
                assert line.got == b""
                line.release()
                await line.box.wait_drained()
                line.read(100)
                assert line.got == line.posted
                line.hold()
                nursery.start_soon(line.box.wait_drained)  # nothing was kept, yet it is not over
                await trio.sleep(0.01)
                line.release()


async def test_forgetting_begins_anew() -> None:
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            line = Line(nursery)
            with line.ours, line.theirs:
                line.hold()
                line.box.cut()  # with nothing there
                line.post(10)
                line.box.forget()
                line.box.post(b"close")
                await line.box.wait_drained()
                assert line.theirs.recv(100) == b"close"
                assert line.backlog.bytes == 0
