"""The data directory's lock: one holder, named, gone with its process, waited for."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from db.errors import StoreUnusable
from db.lock import FILE, DirectoryLock, holder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WAIT = 120.0  # seconds no step of a test comes near to
HOLDER = """
import pathlib, sys, db.lock
lock = db.lock.DirectoryLock.take(pathlib.Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def held_elsewhere(directory: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock until its stdin is closed."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def test_one_at_a_time_and_the_message_says_who(tmp_path: Path) -> None:
    with DirectoryLock.take(tmp_path) as lock:
        owner = holder(tmp_path)
        assert owner is not None
        assert owner.pid == os.getpid()
        says = re.escape(
            f"{tmp_path} is in use by process {os.getpid()} since {owner.since:%Y-%m-%d %H:%M:%S} UTC: stop"
        )
        with pytest.raises(StoreUnusable, match=says):
            DirectoryLock.take(tmp_path)
    lock.release()  # a second time: nothing
    DirectoryLock.take(tmp_path).release()


def test_another_process_holds_it_and_is_killed(tmp_path: Path) -> None:
    with held_elsewhere(tmp_path) as process:
        with pytest.raises(StoreUnusable, match=f"process {process.pid} since"):
            DirectoryLock.take(tmp_path)
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=WAIT)
        with DirectoryLock.take(tmp_path):
            owner = holder(tmp_path)
            assert owner is not None
            assert owner.pid == os.getpid()


def test_release_frees_it_from_children_too(tmp_path: Path) -> None:
    lock = DirectoryLock.take(tmp_path)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:  # a child as it is between fork and exec: with a copy of every descriptor
        os.close(writing)
        os.read(reading, 1)
        os._exit(0)
    os.close(reading)
    try:
        with pytest.raises(StoreUnusable, match="in use"):
            DirectoryLock.take(tmp_path)
        lock.release()
        DirectoryLock.take(tmp_path).release()
    finally:
        os.close(writing)
        os.waitpid(child, 0)


async def test_waiting_for_it(tmp_path: Path) -> None:
    with held_elsewhere(tmp_path) as process, trio.fail_after(WAIT):
        got: list[DirectoryLock] = []

        async def wait() -> None:
            got.append(await DirectoryLock.wait(tmp_path))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            assert got == []
            assert process.stdin is not None
            process.stdin.close()
        with got[0], pytest.raises(StoreUnusable, match=f"process {os.getpid()}"):
            DirectoryLock.take(tmp_path)


async def test_the_wait_ends_with_its_deadline(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    with DirectoryLock.take(tmp_path):
        with trio.move_on_after(5) as scope:
            await DirectoryLock.wait(tmp_path)
        assert scope.cancelled_caught
        assert trio.current_time() < 5.1
    with await DirectoryLock.wait(tmp_path):
        assert holder(tmp_path) is not None


async def test_a_directory_that_cannot_be_used(tmp_path: Path) -> None:
    says = r"missing cannot be used \(No such file or directory\): create it"
    with pytest.raises(StoreUnusable, match=says):
        DirectoryLock.take(tmp_path / "missing")
    with pytest.raises(StoreUnusable, match=says):
        await DirectoryLock.wait(tmp_path / "missing")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\x00", b'{"pid":"x"}', b"null"])
def test_what_the_file_says_never_matters(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    assert holder(tmp_path) is None
    with DirectoryLock.take(tmp_path):
        (tmp_path / FILE).write_bytes(content)
        with pytest.raises(StoreUnusable, match="in use by another process: stop that"):
            DirectoryLock.take(tmp_path)
