"""The database a command works on: where it is, opened for a server with its lock, and the verbs `belfry db`."""

from __future__ import annotations

import json
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from belfry.errors import FAILED, OK, Wrong
from db.errors import StoreError
from db.lock import DirectoryLock
from db.migrations import Status, migrate_sqlite, migrations, status_sqlite
from db.url import BadUrl, SqliteUrl, parse_url

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from belfry.sources import Settings
    from db.migrations import Applied
    from db.store import Store

FILE_NAME = "belfry.db"
CLOSE_TIMEOUT = 12.0  # seconds; the store bounds its own closing at 10, this is for what it did not think of


@dataclass(frozen=True, slots=True)
class Place:
    """A SQLite database's file, and the words of whoever named it."""

    path: Path
    words: str

    @property
    def directory(self) -> Path:
        """Where the lock, the WAL and, under `belfry up`, the secret are."""
        return self.path.absolute().parent


def place_of(settings: Settings) -> Place:
    """The database the settings name: --db's, else belfry.db in --data. Raises Wrong."""
    if "db" not in settings.values or settings["db"] is None:
        return Place(settings["data"] / FILE_NAME, settings.origins["data"].words)
    words = settings.origins["db"].words
    try:
        url = parse_url(settings["db"])
    except BadUrl as bad:
        raise Wrong(f"{words}: {bad}") from None
    if not isinstance(url, SqliteUrl):
        raise Wrong(f"{words}: this version keeps messages in SQLite only; give sqlite:///file")
    return Place(url.path, words)


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
        raise Wrong(f"{lead}cannot write to {directory} ({why}); change its owner, or give another --data") from None


@asynccontextmanager
async def opened(place: Place) -> AsyncIterator[tuple[Store, str]]:
    """The store with its schema up to date, held by this process alone; and what was migrated, in words.

    Raises StoreUnusable and StoreUnavailable.
    """
    import trio

    from db.open import open_store

    with DirectoryLock.take(place.directory):
        applied = await trio.to_thread.run_sync(migrate_sqlite, place.path)
        store = await open_store(SqliteUrl(place.path), migrate=False)
        try:
            yield store, migrated(applied)
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
    try:
        # A server that runs now runs this schema or an older one: neither may have it changed under its feet.
        with DirectoryLock.take(place.directory):
            applied = migrate_sqlite(place.path)
    except StoreError as error:
        raise Wrong(str(error)) from None
    print(f"{place.path}: {migrated(applied) or 'nothing to do'}", file=sys.stderr)
    return OK


def run_status(settings: Settings, *, as_json: bool) -> int:
    """`belfry db status`: 1 when the schema is not this version's. Raises Wrong."""
    place = place_of(settings)
    try:
        status = status_of(place)
    except StoreError as error:
        raise Wrong(str(error)) from None
    if as_json:
        print(json.dumps(_as_json(place, status)))
    else:
        print(f"{place.path}: {verdict(status)}")
        for one in status.applied:
            print(f"  {one.version:04} {one.name:<30} {one.at:%Y-%m-%d %H:%M:%S} UTC")
        for missing in status.pending:
            print(f"  {missing.version:04} {missing.name:<30} pending")
    return FAILED if status.pending or status.newer else OK


def status_of(place: Place) -> Status:
    """What the database has and lacks; before its directory is made it has nothing. Raises StoreError."""
    if not place.directory.exists():
        return Status((), migrations("sqlite"), ())
    return status_sqlite(place.path)


def verdict(status: Status) -> str:
    """The state of a schema in a few words, with what to do."""
    if status.newer:
        return f"schema {status.newer[-1].version} is from a newer Belfry; run that version"
    if status.pending and not status.applied:
        return "no database yet; `belfry up` or `belfry db migrate` makes it"
    if status.pending:
        return f"{len(status.pending)} migrations pending; `belfry db migrate` applies them"
    return f"schema {status.applied[-1].version}, up to date"


def _as_json(place: Place, status: Status) -> dict[str, object]:
    return {
        "database": str(place.path),
        "applied": [{"version": one.version, "name": one.name, "at": one.at.isoformat()} for one in status.applied],
        "pending": [{"version": one.version, "name": one.name} for one in status.pending],
        "newer": [one.version for one in status.newer],
    }
