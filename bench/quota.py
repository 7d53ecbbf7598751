"""A process held to a part of one core, by the kernel's control groups of either version; root's right."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import Unmeasured

if TYPE_CHECKING:
    from collections.abc import Iterator

BASE = Path("/sys/fs/cgroup")
PERIOD = 5_000  # microseconds: who has used its part waits for the next one, at 0.4 of a core 3 ms at most
GONE = 1.0  # seconds for a group's last process to be gone from it


class Unheld(Unmeasured):
    """No control groups for us here; the message is one line that says why."""


@contextlib.contextmanager
def held(pid: int, share: float, base: Path = BASE) -> Iterator[None]:
    """So much of one core for a process, its threads and whatever it starts, while the block runs. Raises Unheld."""
    try:
        home, limits = _groups(base, int(PERIOD * share))
        group = home / f"belfry-bench-{pid}"
        group.mkdir()
    except (OSError, ValueError) as error:
        raise Unheld(f"control groups cannot be had: {error}") from None
    try:
        try:
            for name, text in limits.items():
                (group / name).write_text(text)
            (group / "cgroup.procs").write_text(str(pid))
        except OSError as error:
            raise Unheld(f"a control group takes no limit: {error}") from None
        yield
    finally:
        _dissolve(group, home)


def _groups(base: Path, quota: int) -> tuple[Path, dict[str, str]]:
    """The group in which to make one, and what is to be written there. Raises OSError and ValueError."""
    if "cpu" in _words(base / "cgroup.controllers"):
        (base / "cgroup.subtree_control").write_text("+cpu")
        return base, {"cpu.max": f"{quota} {PERIOD}"}
    if (base / "cpu" / "cgroup.procs").exists():
        return base / "cpu", {"cpu.cfs_period_us": str(PERIOD), "cpu.cfs_quota_us": str(quota)}
    raise ValueError(f"{base} has no controller of processors")


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except FileNotFoundError:
        return []


def _dissolve(group: Path, home: Path) -> None:
    """Set free who is in a group, and remove it."""
    deadline = time.monotonic() + GONE
    while True:
        for pid in _words(group / "cgroup.procs"):
            with contextlib.suppress(OSError):  # it has just ended
                (home / "cgroup.procs").write_text(pid)
        try:
            group.rmdir()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return
