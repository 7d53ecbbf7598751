"""A process held to a part of a core: truly so where the kernel lets us, and in the words of either version."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bench.processes import cpu_of
from bench.quota import BASE, PERIOD, Unheld, held

if TYPE_CHECKING:
    from collections.abc import Iterator

SHARE = 0.2


@contextlib.contextmanager
def burning() -> Iterator[int]:
    """A process that takes all it gets."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


def groups() -> set[Path]:
    return {*BASE.glob("belfry-bench-*"), *BASE.glob("cpu/belfry-bench-*")}


def test_a_held_process_takes_no_more_than_its_share_and_leaves_no_group() -> None:
    before, refused, used, lasted = groups(), "", 0.0, 1.0
    with burning() as pid:
        try:
            with held(pid, SHARE):
                assert len(groups() - before) == 1
                began, used = time.monotonic(), cpu_of(pid)
                time.sleep(1.0)
                used, lasted = cpu_of(pid) - used, time.monotonic() - began
        except Unheld as why:
            refused = str(why)
    assert used < 2 * SHARE * lasted  # a quota lets through a slice more now and then
    assert bool(used) != ("control group" in refused)  # not everybody may make one, and not every kernel has them
    assert groups() == before


def fake(base: Path, group: str) -> tuple[Path, Path]:
    """Control groups of files; the kernel would fill a new group with such itself."""
    home = base / group
    home.mkdir(exist_ok=True)
    (home / "cgroup.procs").write_text("")
    return home, home / "belfry-bench-77"


def test_version_two_is_told_in_its_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, group = fake(tmp_path, ".")
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu io memory\n")
    monkeypatch.setattr(Path, "rmdir", lambda path: None)  # the kernel's are removed with their files
    with held(77, 0.4, tmp_path):
        assert (home / "cgroup.subtree_control").read_text() == "+cpu"
        assert (group / "cpu.max").read_text() == f"{int(PERIOD * 0.4)} {PERIOD}"
        assert (group / "cgroup.procs").read_text() == "77"
    assert (home / "cgroup.procs").read_text() == "77"


def test_version_one_is_told_in_its_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, group = fake(tmp_path, "cpu")
    monkeypatch.setattr(Path, "rmdir", lambda path: None)
    with held(77, 0.4, tmp_path):
        assert (group / "cpu.cfs_period_us").read_text() == str(PERIOD)
        assert (group / "cpu.cfs_quota_us").read_text() == str(int(PERIOD * 0.4))
        assert (group / "cgroup.procs").read_text() == "77"
    assert (home / "cgroup.procs").read_text() == "77"


def test_without_control_groups_one_line_says_so(tmp_path: Path) -> None:
    with (
        pytest.raises(Unheld, match=f"control groups cannot be had: {tmp_path} has no controller"),
        held(1, 0.4, tmp_path),
    ):
        pytest.fail("nothing holds it")


def test_who_may_not_make_a_group_is_told(tmp_path: Path) -> None:
    fake(tmp_path, "cpu")
    (tmp_path / "cpu" / "belfry-bench-77").write_text("in the way")
    with pytest.raises(Unheld, match=r"control groups cannot be had: .*File exists"), held(77, 0.4, tmp_path):
        pytest.fail("nothing holds it")
