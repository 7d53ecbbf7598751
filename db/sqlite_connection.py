"""One connection to a SQLite file: how it is opened, and what its errors mean."""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from db.errors import StoreError, StoreUnavailable, StoreUnusable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BUSY = 2.0  # seconds to wait for another process's write lock; a migration or a backup's last step takes less
CHECKPOINT_PAGES = 4_000  # 16 MB of WAL; at the default of 1,000 every second commit of 500 messages paid for one
WAL_KEPT = 33_554_432  # bytes of WAL file kept after a checkpoint; what a slow reader made it grow over that is freed
CACHE_KIB = 32_768  # of pages, a connection: three connections hold at most 96 MB, and only of what was touched
OLDEST = (3, 38, 0)  # 2022-02: the first with -> and ->> for JSON; RETURNING (3.35) and STRICT (3.37) are older

Mode = Literal["create", "write", "read"]


def connect(path: Path, mode: Mode, busy: float = BUSY) -> sqlite3.Connection:
    """Open a database in autocommit, durable; usable from any thread, by one at a time.

    "create" makes a missing file; the others raise StoreUnusable for one. Raises StoreUnavailable if it is locked.
    """
    _check_place(path, mode)
    with told_apart(path, opening=True):
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={'rwc' if mode == 'create' else 'rw'}",
            uri=True,
            timeout=busy,
            isolation_level=None,  # no hidden BEGIN: every transaction here is written out
            check_same_thread=False,
        )
        try:
            _set_up(connection, mode, busy)
        except BaseException:
            connection.close()
            raise
    return connection


def _set_up(connection: sqlite3.Connection, mode: Mode, busy: float) -> None:
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    if mode == "read":
        connection.execute("PRAGMA query_only = ON")
        connection.execute("SELECT 1 FROM sqlite_schema").fetchall()  # finds out whether it is a database
        return
    _switch_to_wal(connection, busy)
    connection.execute(
        "PRAGMA synchronous = FULL"
    )  # in WAL mode the default may be NORMAL: durable only some time later
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
    connection.execute(f"PRAGMA journal_size_limit = {WAL_KEPT}")


def _switch_to_wal(connection: sqlite3.Connection, busy: float) -> None:
    # SQLite does not wait here when two switch a new file at once (either could be a reader the other needs gone).
    deadline = time.monotonic() + busy
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
        time.sleep(0.01)  # seconds; the other one needs about 1 ms


def _check_place(path: Path, mode: Mode) -> None:
    # SQLite says "unable to open database file" to all of these.
    if sqlite3.sqlite_version_info < OLDEST:
        raise StoreUnusable(f"SQLite {sqlite3.sqlite_version} is too old: Belfry needs 3.38 or newer")
    directory = path.absolute().parent
    try:
        is_directory = stat.S_ISDIR(os.stat(directory).st_mode)
    except OSError as error:
        raise StoreUnusable(
            f"the database's directory {directory} cannot be used ({error.strerror}): create it, or name another"
        ) from error
    if not is_directory:
        raise StoreUnusable(f"{directory} is not a directory, so the database cannot be {path}")
    if not os.access(directory, os.W_OK | os.X_OK, effective_ids=True):
        raise StoreUnusable(f"the directory {directory} is not writable for this user: SQLite keeps its WAL there")
    if path.is_dir():
        raise StoreUnusable(f"{path} is a directory: name a file in it")
    if not path.exists():
        if mode != "create":
            raise StoreUnusable(f"there is no database at {path}: run `belfry db migrate` to make it")
    elif not os.access(path, os.R_OK | os.W_OK, effective_ids=True):
        raise StoreUnusable(f"the database {path} is not readable and writable for this user: change its owner or mode")


@contextmanager
def told_apart(path: Path, *, opening: bool = False) -> Iterator[None]:
    """Turn SQLite's errors into ours; those that only a bug can cause go through as they are."""
    try:
        yield
    except sqlite3.Error as error:
        ours = _translated(error, path, opening)
        if ours is None:
            raise
        raise ours from error


def _translated(error: sqlite3.Error, path: Path, opening: bool) -> StoreError | None:
    code: int | None = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return None
    name = error.sqlite_errorname
    match code & 0xFF:  # the low byte is the kind, the rest the detail
        case sqlite3.SQLITE_FULL:
            return StoreUnavailable(f"the disk of {path} is full: free some space; nothing was written")
        case sqlite3.SQLITE_IOERR:
            # Also when the WAL's sync failed: SQLite has taken the transaction back. Should the host die right now,
            # recovery may still find it whole in the file; then its nonces show that on the retry.
            return StoreUnavailable(f"reading or writing {path} failed ({name}): look at the disk; nothing was written")
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return StoreUnavailable(f"the database {path} is locked by another process; nothing was written")
        case sqlite3.SQLITE_NOTADB:
            return StoreUnusable(f"{path} is not a SQLite database: name another file, or move this one away")
        case sqlite3.SQLITE_CORRUPT:
            return StoreUnusable(f"the database {path} is damaged ({name}): restore a backup")
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM:
            line = f"the database {path} cannot be opened for writing ({name}): look at its owner, mode and disk"
            # A running server can lose its disk for a while; one that starts should say so and end.
            return StoreUnusable(line) if opening else StoreUnavailable(line)
    return None
