"""A process as its supervisor sees it: small real ones that speak, fall silent, end, and are killed."""

from __future__ import annotations

import os
import signal
import socket
import sys
from typing import TYPE_CHECKING

import pytest
import trio

from belfry.supervisor import messages
from belfry.supervisor.child import Child, ChildFailed, Place
from chat.handover.channel import Channel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

PATIENCE = 60.0  # seconds; a tenth is enough

SERVER = """\
import os, sys, time, signal, trio, socket
from belfry.supervisor.inside import inside
from belfry.supervisor import messages
within = inside(os.environ)
async def main():
{}
trio.run(main)
"""


def place(body: str, *sockets: socket.socket) -> Place:
    """A place whose process does this."""
    code = SERVER.format("\n".join(f"    {line}" for line in body.splitlines()))
    return Place("test", [sys.executable, "-c", code], dict(os.environ), "test", 0, list, chat=list(sockets))


@pytest.fixture
async def run() -> AsyncIterator[Callable[[str], Awaitable[Child]]]:
    children: list[Child] = []
    async with trio.open_nursery() as nursery:

        async def start(body: str) -> Child:
            with socket.create_server(("127.0.0.1", 0)) as listener:
                child = Child.start(place(body, listener), successor=False)
            children.append(child)
            nursery.start_soon(child.watch)
            return child

        with trio.fail_after(PATIENCE):
            yield start
        for child in children:
            await child.end()


async def test_it_serves_and_ends(run: Callable[[str], Awaitable[Child]]) -> None:
    child = await run('await within.tell(messages.Serving("1", "boot", len(within.chat)))')
    serving = await child.expect(messages.Serving)
    assert serving == messages.Serving("1", "boot", 1)
    assert (child.version, child.boot) == ("1", "boot")
    with pytest.raises(ChildFailed, match="ended with exit code 0"):
        await child.hear()
    assert not child.alive
    child.signal(signal.SIGTERM)  # nobody is there: nothing happens


async def test_how_it_ended(run: Callable[[str], Awaitable[Child]]) -> None:
    with pytest.raises(ChildFailed, match="ended with exit code 7"):
        await (await run("os._exit(7)")).hear()
    with pytest.raises(ChildFailed, match="was ended by SIGKILL"):
        await (await run("os.kill(os.getpid(), 9)")).hear()


async def test_it_says_something_else(run: Callable[[str], Awaitable[Child]]) -> None:
    child = await run('await within.tell(messages.Kept("no reason"))\nawait trio.sleep_forever()')
    with pytest.raises(ChildFailed, match="said Kept: no reason"):
        await child.expect(messages.Serving)
    child = await run('await within.channel.send(b"nonsense")\nawait trio.sleep_forever()')
    with pytest.raises(ChildFailed, match="said what is not understood"):
        await child.hear()


async def test_it_is_killed(run: Callable[[str], Awaitable[Child]]) -> None:
    child = await run("signal.signal(15, signal.SIG_IGN)\nawait trio.sleep_forever()")
    child.signal(signal.SIGTERM)
    await child.end()
    assert child.code in (-signal.SIGKILL, -signal.SIGTERM)
    assert child.status == 128 - child.code
    with pytest.raises(ChildFailed, match="cannot be told anything"):
        await child.send(messages.TakeOver())


def spawned(code: str, *, reaped: bool = False) -> int:
    """The pid of a process that ends."""
    pid = os.posix_spawn(sys.executable, [sys.executable, "-c", code], {})
    if reaped:
        os.waitpid(pid, 0)
    return pid


async def test_a_process_that_was_reaped_before_we_looked_is_over() -> None:
    """As after an exec of the supervisor: its children are ours still, though nothing of them is known but the pid."""
    ours, theirs = Channel.pair()
    pid = spawned("", reaped=True)
    child = Child(pid, Channel(ours), None, ours=True)
    with theirs, trio.fail_after(PATIENCE):
        await child.watch()
    assert not child.alive
    assert child.code is None


async def test_a_child_from_before_an_exec_is_reaped() -> None:
    ours, theirs = Channel.pair()
    pid = spawned("raise SystemExit(5)")
    child = Child(pid, Channel(ours), None, ours=True)
    with theirs, trio.fail_after(PATIENCE):
        await child.watch()
    assert child.code == 5


async def test_what_is_no_server_is_not_adopted() -> None:
    ours, theirs = Channel.pair()
    with theirs:
        theirs.shutdown(socket.SHUT_WR)
        with pytest.raises(ChildFailed, match="does not answer"):
            await Child.adopt(place("pass"), ours)


def test_what_cannot_be_started() -> None:
    nothing = Place("test", ["/nothing/of/that/name"], {}, "test", 0, list)
    with pytest.raises(OSError, match="No such file"):
        Child.start(nothing, successor=False)
