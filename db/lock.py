"""The data directory's lock: one writer at a time, and it says who.

flock on a file in the directory. The kernel drops it with the process, however that ends, so nothing is ever stale
and nobody has to judge whether a written pid still lives. What the file says is for people only. The file stays:
removing it would let two hold locks on two files of one name.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import os
from typing import TYPE_CHECKING, Self

import msgspec
import trio

from db.errors import StoreUnusable

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

FILE = "belfry.lock"
RETRY = 0.01  # seconds between tries while waiting: a redeploy's writers hand over within one, a try costs 5 us


class Owner(msgspec.Struct, frozen=True):
    """Who holds a data directory."""

    pid: int
    since: dt.datetime


class DirectoryLock:
    """A data directory held by this process until release() or its end; a context manager.

    A child that was forked has it too until it executes something else; release() frees it in all of them.
    """

    def __init__(self, directory: Path, descriptor: int) -> None:
        self.directory = directory
        self._descriptor: int | None = descriptor

    @classmethod
    def take(cls, directory: Path, pid: int | None = None) -> Self:
        """Take the lock at once, in the name of `pid` (None: this process).

        Raises StoreUnusable that says who holds it, or why it cannot be taken.
        """
        lock = cls._attempt(directory, pid)
        if lock is None:
            raise StoreUnusable(f"{directory} is in use by {_described(holder(directory))}: stop that, or name another")
        return lock

    @classmethod
    async def wait(cls, directory: Path, pid: int | None = None) -> Self:
        """Take the lock as soon as it is free, in the name of `pid`.

        Set the timeout around it; then holder() tells who would not let go. Raises StoreUnusable if it can never be
        taken. Polls, because a thread blocked in flock cannot be cancelled.
        """
        while True:
            await trio.lowlevel.checkpoint()
            lock = cls._attempt(directory, pid)
            if lock is not None:
                return lock
            await trio.sleep(RETRY)

    @classmethod
    def _attempt(cls, directory: Path, pid: int | None) -> Self | None:
        path = directory / FILE
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            mend = "create it" if isinstance(error, FileNotFoundError) else "remove it, change its owner"
            what = directory if isinstance(error, FileNotFoundError) else path
            raise StoreUnusable(
                f"{what} cannot be used ({error.strerror}): {mend}, or name another directory"
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _write(descriptor, msgspec.json.encode(Owner(pid or os.getpid(), dt.datetime.now(dt.UTC))))
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError as error:
            os.close(descriptor)
            raise StoreUnusable(f"the data directory {directory} cannot be locked ({error.strerror})") from error
        return cls(directory, descriptor)

    def release(self) -> None:
        """Let go; a second time does nothing."""
        if self._descriptor is not None:
            # Closing is not enough: a child between fork and exec still has the descriptor open.
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()


def holder(directory: Path) -> Owner | None:
    """Who last said to hold the directory; None if nobody did or it cannot be read. Only a lock proves it."""
    try:
        return msgspec.json.decode((directory / FILE).read_bytes(), type=Owner)
    except (OSError, msgspec.DecodeError):
        return None


def _described(owner: Owner | None) -> str:
    if owner is None:
        return "another process"
    return f"process {owner.pid} since {owner.since:%Y-%m-%d %H:%M:%S} UTC"


def _write(descriptor: int, content: bytes) -> None:
    # A full disk must not keep a server from starting: the lock is what counts, the name on it is a courtesy.
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, content, 0)
    except OSError:
        return
