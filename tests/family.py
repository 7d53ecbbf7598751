"""Processes and those they started: `belfry up` is a supervisor and a server, and a power cut takes both."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path


def children(pid: int) -> list[int]:
    """The processes that this one has started, the oldest first."""
    try:
        listed = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(child) for child in listed.split()]


def lives(pid: int) -> bool:
    """Whether the process is there, and no zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def kill_family(pid: int) -> list[int]:
    """kill -9 of a process and those it has started, the elder first, so that it cannot start another; the latter."""
    family = children(pid)
    for one in (pid, *family):
        with contextlib.suppress(ProcessLookupError):
            os.kill(one, signal.SIGKILL)
    return family


def wait_gone(pids: list[int], seconds: float = 30.0) -> None:
    """Block until none of these lives."""
    deadline = time.monotonic() + seconds
    while any(map(lives, pids)):
        assert time.monotonic() < deadline, f"{pids} do not end"
        time.sleep(0.005)
