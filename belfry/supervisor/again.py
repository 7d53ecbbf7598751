"""The supervisor begins again in its own process, with the code on the disk: what it hands to itself over the exec."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING

import msgspec
import trio
from msgspec import Struct

from belfry.supervisor.child import POLL, Child
from chat.handover.channel import Channel

if TYPE_CHECKING:
    from collections.abc import MutableMapping, Sequence

    import structlog

    from belfry.supervisor.supervisor import Post

VARIABLE = "INSIDE_BELFRY_STATE"
CHECK_TIMEOUT = 20.0  # seconds for the new code to be imported; 0.3 on an idle machine


class One(Struct, frozen=True):
    """One server: its process, and the descriptors that lead to it."""

    pid: int
    control: int
    chat: list[int]
    tower: list[int]
    version: str
    boot: str


class State(Struct, frozen=True):
    """All servers, in their order."""

    servers: list[One]

    @classmethod
    def of(cls, posts: Sequence[Post]) -> State:
        """What runs now; all of these descriptors live on over the exec."""
        servers = []
        for post in posts:
            child = post.child
            assert child is not None
            chat, tower = ([one.fileno() for one in sockets] for sockets in (post.place.chat, post.place.tower))
            control = os.dup(child.channel.fileno())  # the channel's own is closed with the event loop's end
            servers.append(One(child.pid, control, chat, tower, child.version, child.boot))
        return cls(servers)

    def children(self) -> list[Child]:
        """The processes, as they were; they are still our children."""
        found = []
        for one in self.servers:
            child = Child(one.pid, Channel(socket.socket(fileno=one.control)), None, ours=True)
            child.version, child.boot = one.version, one.boot
            found.append(child)
        return found

    def sockets(self, number: int) -> tuple[list[socket.socket], list[socket.socket]]:
        """The listening sockets of a server, for the chat and for the tower."""
        one = self.servers[number]
        return _sockets(one.chat), _sockets(one.tower)


def begin(state: State, argv: Sequence[str]) -> None:
    """Become the supervisor that is on the disk now. Does not return."""
    for one in state.servers:
        for descriptor in (one.control, *one.chat, *one.tower):
            os.set_inheritable(descriptor, True)
    environ = {**os.environ, VARIABLE: msgspec.json.encode(state).decode()}
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, [sys.executable, "-m", "belfry", *argv], environ)


def before(environ: MutableMapping[str, str]) -> State | None:
    """What the supervisor before the exec left, taken out of the environment."""
    text = environ.pop(VARIABLE, None)
    return None if text is None else msgspec.json.decode(text, type=State)


async def can_begin(logger: structlog.stdlib.BoundLogger) -> bool:
    """Whether the code on the disk is one that a supervisor can begin with; else this one stays, and says so.

    Without a thread, which trio's own way to run a process leaves behind for ten seconds: a signal that comes while the
    main thread has it blocked, for the exec, would go to that one, and end the process or be lost.
    """
    command = [sys.executable, "-c", "import belfry.supervisor.run, belfry.cli"]
    try:
        with (
            tempfile.TemporaryFile() as said,
            subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said) as process,  # noqa: ASYNC220
        ):
            try:
                with trio.fail_after(CHECK_TIMEOUT):
                    while process.poll() is None:  # noqa: ASYNC110  # nothing wakes us
                        await trio.sleep(POLL)
            finally:
                process.kill()
            said.seek(0)
            lines = said.read().decode(errors="replace").strip().splitlines()
    except (OSError, trio.TooSlowError) as error:
        why = str(error) or f"it was not imported within {CHECK_TIMEOUT:g} s"
    else:
        if process.returncode == 0:
            return True
        why = (lines or [f"exit code {process.returncode}"])[-1]
    logger.error(f"the supervisor itself stays at its old code, the new one cannot be imported: {why}")
    return False


def _sockets(descriptors: Sequence[int]) -> list[socket.socket]:
    found = []
    for one in descriptors:
        sock = socket.socket(fileno=one)
        os.set_inheritable(one, False)
        found.append(sock)
    return found
