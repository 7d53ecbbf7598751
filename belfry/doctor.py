"""`belfry doctor`: what this machine and this database lack for serving well, one line each, with what to do."""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
import sqlite3
import sys
import time
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from belfry import secret, strength
from belfry.bus import bus_of
from belfry.database import Place, place_of, status_of, verdict
from belfry.errors import FAILED, OK, Wrong
from belfry.files import OWN_FILES, file_limit
from belfry.findings import Check
from belfry.listen import holder, is_free
from belfry.sources import SECRET_PLACE
from belfry.terminal import GREEN, RED, YELLOW, has_colours, painted
from bus.url import KafkaUrl
from db.errors import StoreError
from db.lock import holder as lock_holder
from db.migrations import status_sqlite
from db.sqlite_connection import connect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from belfry.database import Remote
    from belfry.findings import Level
    from belfry.sources import Settings

COLOURS = {"ok": GREEN, "warn": YELLOW, "fail": RED}

WRITTEN = dt.date(2026, 11, 1)  # before this code was: a clock that says so is wrong
CLOCK_WATCH = 0.2  # seconds the two clocks are compared
CLOCK_SLIP = 0.02  # seconds of difference in that time: ntpd's slewing is 0.5 ms a second, more is a step
DISK_FAIL = 100 * 2**20  # bytes: the WAL alone may take 32 MB, then sends are refused
DISK_WARN = 2**30  # bytes: a million messages take 200 MB
NETWORK = ("nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "ceph", "glusterfs")
FORGETS = ("tmpfs", "ramfs")
FULL = 2  # PRAGMA synchronous; 3 is EXTRA, which is safe too


def run_doctor(settings: Settings, environ: Mapping[str, str], *, as_json: bool) -> int:
    """Print all checks; 1 when one fails. Raises Wrong."""
    checks = list(examine(settings, environ))
    worst = FAILED if any(check.level == "fail" for check in checks) else OK
    if as_json:
        print(json.dumps({"ok": worst == OK, "checks": [asdict(check) for check in checks]}))
        return worst
    colours = has_colours(sys.stdout)
    for check in checks:
        level = painted(f"{check.level:<4}", COLOURS[check.level], colours)
        print(f"{level}  {check.name:<13}{check.says}{f'; {check.do}' if check.do else ''}")
    return worst


def examine(settings: Settings, environ: Mapping[str, str]) -> Iterator[Check]:
    """All checks, one after the other."""
    place = place_of(settings)
    yield files(settings["connections"], file_limit())
    yield clock()
    if isinstance(place, Place):
        yield disk(place.directory, made=place.made)
        yield file_system(place.directory, Path("/proc/self/mountinfo"))
        yield durability(place)
    else:
        from belfry import doctor_mysql

        yield from doctor_mysql.examine(place.url)
    yield schema(place)
    url = bus_of(settings)
    if isinstance(url, KafkaUrl):
        from belfry import doctor_kafka

        yield from doctor_kafka.examine(url)
    yield from secrets(settings, environ)
    yield port(settings["host"], settings["port"], place)


def files(connections: int, limit: int | None) -> Check:
    """Whether the hard limit of open files holds as many connections as are allowed; a server raises its soft one."""
    if limit is None:
        return Check("open files", "ok", "without limit")
    needed = connections + OWN_FILES
    if connections == 0:
        return Check("open files", "warn", f"{limit:,} allowed, connections without limit", "set --connections")
    if limit < needed:
        do = f"raise it (ulimit -Hn {needed}; systemd: LimitNOFILE={needed}) or lower --connections"
        return Check("open files", "fail", f"{limit:,} allowed, {needed:,} needed for {connections:,} connections", do)
    return Check("open files", "ok", f"{limit:,} allowed, {needed:,} needed for {connections:,} connections")


def clock(
    wall: Callable[[], float] = time.time,
    monotonic: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Check:
    """Whether the wall clock is possible at all and runs as the monotonic one: tokens expire by it."""
    today = dt.datetime.fromtimestamp(wall(), dt.UTC)
    if today.date() < WRITTEN:
        return Check("clock", "fail", f"{today:%Y-%m-%d} was before this program was written", "set it; run NTP")
    began, steady = wall(), monotonic()
    sleep(CLOCK_WATCH)
    slip = (wall() - began) - (monotonic() - steady)
    if abs(slip) > CLOCK_SLIP:
        return Check("clock", "warn", f"it jumped by {slip:+.3f} s within {CLOCK_WATCH} s", "look at NTP or the VM")
    return Check("clock", "ok", f"{today:%Y-%m-%d %H:%M:%S} UTC and steady")


def disk(directory: Path, *, made: bool) -> Check:
    """Whether there is room for messages: when it is full, sends are refused. `made`: a missing directory is made."""
    there = _existing(directory)
    if os.path.lexists(directory) and not directory.is_dir():
        return Check("disk", "fail", f"{directory} is not a directory", "name another")
    if there != directory.absolute() and not made:
        return Check("disk", "fail", f"{directory} does not exist", "create it")
    if not os.access(there, os.W_OK | os.X_OK):
        return Check("disk", "fail", f"{there} is not writable for this user", "change its owner, or name another")
    free = shutil.disk_usage(there).free
    says = f"{free / 2**30:,.1f} GB free at {there}"
    if free < DISK_FAIL:
        return Check("disk", "fail", says, "free some: when it is full nothing can be sent")
    if free < DISK_WARN:
        return Check("disk", "warn", says, "free some; a million messages take about 0.2 GB")
    return Check("disk", "ok", says)


def file_system(directory: Path, mounts: Path) -> Check:
    """Whether the file system keeps what it was told to keep."""
    kind = _mounted(_existing(directory).resolve(), mounts)
    if kind is None:
        return Check("file system", "warn", "its kind cannot be told on this system", "make sure it is a local disk")
    if kind in FORGETS:
        return Check("file system", "fail", f"{kind} forgets everything at a restart", "put the database on a disk")
    if kind in NETWORK:
        return Check("file system", "fail", f"{kind} is shared over a network, where SQLite's WAL breaks", "use a disk")
    if kind == "overlay":
        return Check("file system", "warn", "a container's own layer goes with the container", "mount a volume there")
    return Check("file system", "ok", kind)


def durability(place: Place) -> Check:
    """Whether the database, opened as a server opens it, keeps every commit through a power cut."""
    try:
        if not place.path.exists():
            return Check("durability", "ok", f"no database at {place.path} yet; it will be WAL with synchronous FULL")
        status_sqlite(place.path)  # another program's database must not be touched
        with closing(connect(place.path, "write")) as connection:
            ((mode,),) = connection.execute("PRAGMA journal_mode").fetchall()
            ((level,),) = connection.execute("PRAGMA synchronous").fetchall()
    except StoreError as error:
        return Check("durability", "fail", str(error))
    except OSError as error:
        return Check("durability", "fail", f"{place.path}: {error.strerror}", "be who may read it, or name another")
    says = (
        f"journal_mode {mode}, synchronous {('OFF', 'NORMAL', 'FULL', 'EXTRA')[level]}, SQLite {sqlite3.sqlite_version}"
    )
    if mode != "wal" or level < FULL:
        return Check("durability", "fail", says, "the file system refuses WAL; put the database on a local disk")
    return Check("durability", "ok", says)


def schema(place: Place | Remote) -> Check:
    """Whether the schema is this version's; one that is behind is brought forward at the next start."""
    try:
        status = status_of(place)
    except StoreError as error:
        return Check("schema", "fail", str(error))
    level: Level = "fail" if status.too_new else "warn" if status.pending and status.applied else "ok"
    return Check("schema", level, verdict(status, place))


def secrets(settings: Settings, environ: Mapping[str, str]) -> Iterator[Check]:
    """Whether the secret can be guessed or read by others."""
    try:
        found = secret.given_secret(environ)
        if found is None and not settings.given("db"):
            found = secret.kept_secret(settings["data"])
    except Wrong as wrong:
        yield Check("secret", "fail", str(wrong))
        return
    if found is None:
        if settings.given("db"):
            yield Check("secret", "fail", "none is set", f"{SECRET_PLACE}; {secret.HOW_TO_MAKE}")
        else:
            yield Check("secret", "ok", "none yet; `belfry up` makes one")
        return
    if why := strength.weakness(found.key):
        yield Check("secret", "fail", f"{found.words}: {why}", secret.HOW_TO_MAKE)
    elif secret.open_to_others(found):
        yield Check("secret", "warn", f"other users can read {found.path}", f"chmod 600 {found.path}")
    else:
        yield Check("secret", "ok", f"{len(found.key)} bytes from {found.words}")


def port(host: str, number: int, place: Place | Remote) -> Check:
    """Whether the port is free, or held by the very server that works on this database."""
    if number == 0:
        return Check("port", "ok", "any free one")
    taken = is_free(host, number)
    if taken is None:
        return Check("port", "ok", f"{number} on {host} is free")
    owner = lock_holder(place.directory) if isinstance(place, Place) else None
    holds = holder(number)
    if owner is not None and holds is not None and owner.pid == holds.pid:
        return Check("port", "ok", f"{number} is held by the server on this database, process {holds.pid}")
    return Check("port", "fail", taken)


def _existing(directory: Path) -> Path:
    """The directory, or the nearest one above it that exists."""
    directory = directory.absolute()
    while not _exists(directory):
        directory = directory.parent
    return directory


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # behind a directory that may not be entered, or a name that is too long
        return False


def _mounted(directory: Path, mounts: Path) -> str | None:
    """The kind of the file system a directory is on, by the longest mount point above it."""
    best, kind = -1, None
    try:
        lines = mounts.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        left, _, right = line.partition(" - ")
        # Octal escapes stand for blanks and backslashes in mount points.
        point = Path(left.split()[4].encode().decode("unicode_escape"))
        if directory.is_relative_to(point) and len(os.fspath(point)) >= best:
            best, kind = len(os.fspath(point)), right.split()[0]
    return kind
