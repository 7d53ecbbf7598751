"""What a supervisor hands to itself over its exec, and that it does not begin with code that cannot be imported."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import structlog
import trio

from belfry.supervisor import again
from belfry.supervisor.again import One, State
from chat.handover.channel import Channel

if TYPE_CHECKING:
    from pathlib import Path

THREADS = """\
import os, structlog, trio
from belfry.supervisor import again
print(trio.run(again.can_begin, structlog.get_logger()), len(os.listdir("/proc/self/task")))
"""

# A supervisor of nothing that begins again, and a signal that comes at the last moment; begun as by nohup.
WAITING = """\
import os, signal, structlog, sys, trio
from belfry.notify import Notifier
from belfry.supervisor import again
from belfry.supervisor.supervisor import Supervisor

number = signal.Signals[sys.argv[1]]
signal.signal(number, signal.SIG_IGN)

async def done(*_):
    return True

class LastMoment(again.State):
    @classmethod
    def of(cls, posts):
        os.kill(os.getpid(), number)
        return cls([])

Supervisor._roll = again.can_begin = done
again.State = LastMoment
logger = structlog.get_logger()
supervisor = Supervisor([], "nothing", 1.0, 1.0, logger, Notifier("", logger))
supervisor._redeploy.set()
trio.run(supervisor.run, None)
print(supervisor.again is not None, number in signal.sigpending())
"""


def logger() -> Any:
    return structlog.wrap_logger(logging.getLogger("test"), wrapper_class=structlog.stdlib.BoundLogger)


async def test_processes_and_sockets_are_what_they_were() -> None:
    ours, theirs = Channel.pair()
    listener = socket.create_server(("127.0.0.1", 0))
    address = listener.getsockname()
    state = State([One(7, ours.detach(), [listener.detach()], [], "1.0", "boot")])
    environ = {again.VARIABLE: msgspec.json.encode(state).decode(), "HOME": "/"}
    before = again.before(environ)
    assert environ == {"HOME": "/"}
    assert before == state
    (child,) = before.children()
    assert (child.pid, child.version, child.boot, child.alive) == (7, "1.0", "boot", True)
    (chat,), tower = before.sockets(0)
    assert tower == []
    assert chat.getsockname() == address
    assert not os.get_inheritable(chat.fileno())
    with chat, theirs:
        theirs.send(bytes(8))
        with trio.fail_after(20):
            assert await child.channel.receive() == (b"", [])
        child.channel.close()


def test_a_first_start_has_nothing_before_it() -> None:
    assert again.before({}) is None


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("import nothing_of_that_name\n", "No module named 'nothing_of_that_name'"),
        ("this is no Python\n", "SyntaxError"),
    ],
)
async def test_code_that_cannot_be_imported_is_not_begun_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, code: str, why: str
) -> None:
    (tmp_path / "belfry").mkdir()
    (tmp_path / "belfry" / "__init__.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    assert not await again.can_begin(logger())
    assert "stays at its old code" in caplog.text
    assert why in caplog.text


async def test_the_code_that_is_there_can_be_begun_with() -> None:
    assert await again.can_begin(logger())


def test_no_thread_is_left_that_would_take_signals_while_the_main_one_has_them_blocked() -> None:
    """In a process of its own: elsewhere a thread that waits for work would be used once more."""
    done = subprocess.run([sys.executable, "-c", THREADS], capture_output=True, text=True, timeout=60)
    assert done.stdout == "True 1\n", done.stderr


@pytest.mark.parametrize("name", ["SIGHUP", "SIGINT", "SIGTERM"])
def test_a_signal_that_is_ignored_where_we_begin_waits_for_the_one_that_begins_again(name: str) -> None:
    done = subprocess.run([sys.executable, "-c", WAITING, name], capture_output=True, text=True, timeout=60)
    assert done.stdout == "True True\n", done.stderr
