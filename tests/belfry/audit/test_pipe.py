"""Plain sockets in one set and streams of their own carry the same bytes, and tell their ends alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from belfry.audit import pipe
from belfry.audit.address import Address
from belfry.audit.pipe import SocketPipe, StreamPipe, dial
from belfry.audit.readers import Readers

if TYPE_CHECKING:
    from collections.abc import Callable

TEST_TIMEOUT = 30.0  # seconds; a blink on an idle machine
LARGE = 4_000_000  # bytes; more than any socket buffer takes


@pytest.fixture(params=["set", "stream"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> type:
    if request.param == "stream":
        monkeypatch.setattr(pipe, "HAVE_EPOLL", False)
        return StreamPipe
    return SocketPipe


async def until(holds: Callable[[], object]) -> None:
    while not holds():  # noqa: ASYNC110  # the bytes are the event
        await trio.sleep(0.001)


async def test_bytes_go_both_ways_and_the_end_is_told_once(kind: type, nursery: trio.Nursery) -> None:
    async def echo(stream: trio.SocketStream) -> None:
        async for data in stream:
            await stream.send_all(data)
            if data.endswith(b"bye"):
                await stream.aclose()
                return

    with trio.fail_after(TEST_TIMEOUT):
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, echo, [listener])
        readers = Readers()
        await nursery.start(readers.run)
        port: int = listener.socket.getsockname()[1]
        one = await dial(Address("127.0.0.1", port, False), readers)
        assert type(one) is kind
        got: list[bytes] = []
        nursery.start_soon(one.carry, got.append)
        one.post(b"hello")
        await until(lambda: got == [b"hello"])
        one.post(b"x" * LARGE)
        one.post(b"bye")
        await until(lambda: got[-1] == b"")
        assert b"".join(got) == b"hello" + b"x" * LARGE + b"bye"
        one.post(b"nobody hears it")
        await trio.testing.wait_all_tasks_blocked()
        assert got.count(b"") == 1
        nursery.cancel_scope.cancel()


async def test_cancelling_closes_and_the_number_can_be_anothers(kind: type, nursery: trio.Nursery) -> None:
    ended = 0

    async def listen(stream: trio.SocketStream) -> None:
        nonlocal ended
        async for _ in stream:
            pass
        ended += 1

    with trio.fail_after(TEST_TIMEOUT):
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, listen, [listener])
        readers = Readers()
        await nursery.start(readers.run)
        port: int = listener.socket.getsockname()[1]
        for number in range(1, 4):
            one = await dial(Address("127.0.0.1", port, False), readers)
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as inner:
                    inner.start_soon(one.carry, lambda data: None)
                    await trio.testing.wait_all_tasks_blocked()
                    scope.cancel()
            await until(lambda number=number: ended == number)
        nursery.cancel_scope.cancel()


async def test_nobody_there_is_an_error(nursery: trio.Nursery) -> None:
    listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
    port: int = listener.socket.getsockname()[1]
    await listener.aclose()
    with trio.fail_after(TEST_TIMEOUT), pytest.raises(OSError):  # noqa: PT011  # whatever the system says
        await dial(Address("127.0.0.1", port, False), Readers())


async def test_the_quiet_are_looked_after(nursery: trio.Nursery, autojump_clock: trio.testing.MockClock) -> None:
    readers, looks = Readers(), []
    await nursery.start(readers.run)
    look = looks.append
    readers.look_after(look)
    await trio.sleep(3.5)
    assert len(looks) == 3
    readers.leave_alone(look)
    await trio.sleep(3.5)
    assert len(looks) == 3
    nursery.cancel_scope.cancel()
