"""The database a command works on: where it is, opened for a server with its lock, and the verbs `belfry db`."""

from __future__ import annotations

import errno
import json
import sys
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from belfry.errors import FAILED, OK, Failed, Wrong
from chat.handover.lock import NoLock
from db.errors import StoreError, StoreUnavailable, StoreUnusable
from db.lock import DirectoryLock
from db.migrations import Status, migrate_sqlite, migrations, status_sqlite
from db.url import BadUrl, MysqlUrl, SqliteUrl, parse_url

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence
    from pathlib import Path

    from belfry.sources import Settings
    from chat.handover.lock import StoreLock
    from db.migrations import Applied
    from db.store import Store

FILE_NAME = "belfry.db"
CLOSE_TIMEOUT = 12.0  # seconds; the store bounds its own closing at 10, this is for what it did not think of


@dataclass(frozen=True, slots=True)
class Place:
    """A SQLite database's file, and the words of whoever named it."""

    path: Path
    words: str
    made: bool = False  # whether its directory is made when it is missing: a data directory is, another one is not

    def __str__(self) -> str:
        return str(self.path)

    @property
    def label(self) -> str:
        return f"SQLite, {self.path}"

    @property
    def directory(self) -> Path:
        """Where the lock, the WAL and, under `belfry up`, the secret are."""
        return self.path.absolute().parent


@dataclass(frozen=True, slots=True)
class Remote:
    """A database on a MySQL or MariaDB server, and the words of whoever named it."""

    url: MysqlUrl
    words: str

    def __str__(self) -> str:
        return str(self.url)  # without the password

    @property
    def label(self) -> str:
        return f"MySQL, {self.url}"


def place_of(settings: Settings) -> Place | Remote:
    """The database the settings name: --db's, else belfry.db in --data. Raises Wrong."""
    if "db" not in settings.values or settings["db"] is None:
        return Place(settings["data"] / FILE_NAME, settings.origins["data"].words, made=True)
    words = settings.origins["db"].words
    try:
        url = parse_url(settings["db"])
    except BadUrl as bad:
        raise Wrong(f"{words}: {bad}") from None
    return Place(url.path, words) if isinstance(url, SqliteUrl) else Remote(url, words)


def make_directory(settings: Settings) -> None:
    """Make the data directory, for its owner only, if it is missing. Raises Wrong if it cannot be written to."""
    directory: Path = settings["data"]
    lead = settings.lead("data")
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe = directory / ".writable"
        probe.touch()  # os.access knows nothing of read-only mounts that root may "write" to
        probe.unlink()
    except FileExistsError:
        raise Wrong(f"{lead}{directory} is a file; give a directory") from None
    except OSError as error:
        why = error.strerror or "unknown error"
        mend = "change its owner, or give" if error.errno in (errno.EACCES, errno.EPERM) else "give"
        raise Wrong(f"{lead}cannot write to {directory} ({why}); {mend} another --data") from None


class DirectoryWriter:
    """The right to write into a data directory, as it goes from a process to its successor."""

    def __init__(self, directory: Path, pid: int | None) -> None:
        self._directory = directory
        self._pid = pid  # in whose name: whom a person would stop
        self._lock: DirectoryLock | None = None

    def take_now(self) -> None:
        """Have it at once. Raises StoreUnusable that says who has it."""
        self._lock = DirectoryLock.take(self._directory, self._pid)

    async def take(self) -> None:
        """Have it as soon as it is free. Set the timeout around it. Raises StoreUnusable if it can never be had."""
        self._lock = await DirectoryLock.wait(self._directory, self._pid)

    def release(self) -> None:
        """Let the next one have it; a second time does nothing."""
        if self._lock is not None:
            self._lock.release()


@asynccontextmanager
async def opened(
    place: Place | Remote, *, successor: bool = False, pid: int | None = None
) -> AsyncIterator[tuple[Store, str, StoreLock]]:
    """The store with its schema up to date; what was migrated, in words; and the right to write.

    A SQLite file is written by one process alone and brought forward. A `successor` is to take the right to write from
    its predecessor later, and writes nothing before that but migrations, which only ever add: the old code runs on. A
    MySQL database has other servers on it: an empty one is filled, but one that is behind is left to
    `belfry db migrate`, at a moment that its operator chooses.
    Raises StoreUnusable and StoreUnavailable.
    """
    import trio

    from db.open import open_store

    with ExitStack() as stack:
        if isinstance(place, Remote):
            from db.mysql_migrations import make_mysql

            applied = await make_mysql(place.url)
            store = await open_store(place.url, migrate=False)
            lock: StoreLock = NoLock()
        else:
            lock = writer = DirectoryWriter(place.directory, pid)
            stack.callback(writer.release)
            if not successor:
                writer.take_now()
            applied = await trio.to_thread.run_sync(migrate_sqlite, place.path)
            store = await open_store(SqliteUrl(place.path), migrate=False)
        try:
            yield store, migrated(applied), lock
        finally:
            with trio.move_on_after(CLOSE_TIMEOUT, shield=True):
                await store.aclose()


def migrated(applied: Sequence[Applied]) -> str:
    """What migrations did, in words; "" for nothing."""
    if not applied:
        return ""
    if applied[0].version == 1:
        return f"made now, with schema {applied[-1].version}"
    return f"from schema {applied[0].version - 1} to {applied[-1].version}: " + ", ".join(one.name for one in applied)


def run_migrate(settings: Settings) -> int:
    """`belfry db migrate`. Returns the exit code; raises Wrong."""
    place = place_of(settings)
    if not settings.given("db"):
        make_directory(settings)
    with _said():
        if isinstance(place, Remote):
            import trio

            from db.mysql_migrations import migrate_mysql

            applied = trio.run(migrate_mysql, place.url)
        else:
            # A server that runs now runs this schema or an older one: neither may have it changed under its feet.
            with DirectoryLock.take(place.directory):
                applied = migrate_sqlite(place.path)
    print(f"{place}: {migrated(applied) or 'nothing to do'}", file=sys.stderr)
    return OK


def run_status(settings: Settings, *, as_json: bool) -> int:
    """`belfry db status`: 1 when the schema is not this version's. Raises Wrong."""
    place = place_of(settings)
    with _said():
        status = status_of(place)
    if as_json:
        print(json.dumps(_as_json(place, status)))
    else:
        print(f"{place}: {verdict(status, place)}")
        for one in status.applied:
            print(f"  {one.version:04} {one.name:<30} {one.at:%Y-%m-%d %H:%M:%S} UTC")
        for missing in status.pending:
            print(f"  {missing.version:04} {missing.name:<30} pending")
    return FAILED if status.pending or status.too_new else OK


@contextmanager
def _said() -> Iterator[None]:
    """Let the store's errors end the command with their line."""
    try:
        yield
    except StoreUnavailable as error:
        raise Failed(str(error)) from None
    except StoreError as error:
        raise Wrong(str(error)) from None


def need_database(place: Place | Remote) -> None:
    """See that the database can be reached and read. Raises Wrong and Failed."""
    with _said():
        status_of(place)


def status_of(place: Place | Remote) -> Status:
    """What the database has and lacks; before a data directory is made it has nothing. Blocks. Raises StoreError."""
    if isinstance(place, Remote):
        import trio

        from db.mysql_migrations import status_mysql

        return trio.run(status_mysql, place.url)
    try:
        there = place.directory.exists()
        place.path.exists()  # may it be looked at?
    except OSError as error:
        raise StoreUnusable(f"{place.path}: {error.strerror}; be who may read it, or name another place") from None
    if there:
        return status_sqlite(place.path)
    if not place.made:
        raise StoreUnusable(f"the directory {place.directory} does not exist; create it")
    return Status((), migrations("sqlite"), ())


def verdict(status: Status, place: Place | Remote) -> str:
    """The state of a schema in a few words, with what to do."""
    if status.too_new:
        return f"schema {status.newer[-1].version} is from a newer Belfry; run that version"
    if status.newer:
        return f"schema {status.newer[-1].version}, from a newer Belfry that only added to it; this version runs on it"
    if status.pending and not status.applied:
        if isinstance(place, Remote):
            return "no tables yet; `belfry serve` or `belfry db migrate` makes them"
        return f"no database yet; `belfry {'up' if place.made else 'serve'}` or `belfry db migrate` makes it"
    if status.pending:
        return f"{len(status.pending)} migrations pending; `belfry db migrate` applies them"
    return f"schema {status.applied[-1].version}, up to date"


def _as_json(place: Place | Remote, status: Status) -> dict[str, object]:
    return {
        "database": str(place),
        "applied": [{"version": one.version, "name": one.name, "at": one.at.isoformat()} for one in status.applied],
        "pending": [{"version": one.version, "name": one.name} for one in status.pending],
        "newer": [one.version for one in status.newer],
    }
