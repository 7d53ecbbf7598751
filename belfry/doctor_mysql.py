"""What `belfry doctor` asks of a MySQL or MariaDB server: reached how, durable, writable, large enough, on time."""

from __future__ import annotations

import datetime as dt
import ipaddress
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from belfry.findings import Check
from db.errors import StoreError
from db.mysql_connection import Connection
from db.mysql_errors import told_apart

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from db.url import MysqlUrl

PATIENCE = 10.0  # seconds for all questions together; 20 ms nearby
ROUND_TRIPS = 5  # of which the quickest counts: the first ones warm things up
FAR = 0.01  # seconds a round trip: each commit waits for one, so 100 batches a second is the most
CLOCK_WARN = 1.0  # seconds: people see times jump when they change servers; nothing else depends on it
OLDEST = {"MySQL": (8, 0, 0), "MariaDB": (10, 6, 0)}  # what the tests run; older ones lack things or are unmaintained
PACKET = 1_048_576  # bytes: a batch is cut to what is allowed, but one message of 4,000 characters needs 32,000
PER_SERVER = 6  # connections
NEEDED = ("SELECT", "INSERT", "UPDATE", "DELETE")
TO_MIGRATE = ("CREATE", "ALTER", "INDEX", "DROP")

VARIABLES = (
    "version", "innodb_flush_log_at_trx_commit", "innodb_doublewrite", "log_bin", "sync_binlog", "binlog_format",
    "read_only", "max_allowed_packet", "max_connections", "sql_mode", "time_zone",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Facts:
    """What a server said of itself, to our user, in our session."""

    variables: Mapping[str, str]
    connected: int
    grants: tuple[str, ...]
    ahead: float  # seconds its clock is before ours
    round_trip: float  # seconds
    encrypted: bool


def examine(url: MysqlUrl) -> Iterator[Check]:
    """All checks of one server, or the one that says why it cannot be asked. Blocks."""
    try:
        facts = trio.run(ask, url)
    except StoreError as error:
        yield Check("database", "fail", str(error))
        return
    yield from judge(facts, url)


async def ask(url: MysqlUrl) -> Facts:
    """Log in and ask. Raises StoreError."""
    with told_apart(url, opening=True), trio.fail_after(PATIENCE):
        connection = Connection(url)
        await connection.open()
        try:
            took, ahead = min([await _compare_clocks(connection) for _ in range(ROUND_TRIPS)])
            names = ",".join(f"'{name}'" for name in VARIABLES)
            (variables, status, grants) = await connection.run(
                f"SHOW VARIABLES WHERE Variable_name IN ({names});"
                "SHOW STATUS LIKE 'Threads_connected';SHOW GRANTS FOR CURRENT_USER()".encode()
            )
            encrypted = connection.is_encrypted
            await connection.goodbye()
        finally:
            connection.drop()
    return Facts(
        {name.lower(): value for name, value in variables.rows},
        int(status.rows[0][1]),
        tuple(line for (line,) in grants.rows),
        ahead,
        took,
        encrypted,
    )


async def _compare_clocks(connection: Connection) -> tuple[float, float]:
    began = time.perf_counter()
    ((theirs,),) = (await connection.run(b"SELECT UTC_TIMESTAMP(6)"))[0].rows
    took = time.perf_counter() - began
    return took, (theirs - dt.datetime.now(dt.UTC)).total_seconds() + took / 2


def judge(facts: Facts, url: MysqlUrl) -> Iterator[Check]:
    """The verdict on each fact."""
    yield _reached(facts, url)
    yield _durability(facts)
    yield _mode(facts)
    yield _writes(facts, url)
    yield _room(facts)
    yield _clock(facts)


def _reached(facts: Facts, url: MysqlUrl) -> Check:
    kind, version = _version(facts.variables["version"])
    says = f"{kind} {'.'.join(map(str, version))}, {facts.round_trip * 1000:.1f} ms away"
    if version < OLDEST[kind]:
        oldest = ".".join(map(str, OLDEST[kind][:2]))
        return Check("database", "fail", says, f"use {kind} {oldest} or newer")
    if not facts.encrypted and not _is_here(url.host):
        return Check("database", "warn", f"{says}, in plain text", "add ?tls=verify to the URL")
    if facts.round_trip > FAR:
        return Check("database", "warn", says, "bring them nearer: each commit waits for a round trip")
    return Check("database", "ok", f"{says}, {'TLS' if facts.encrypted else 'plain text on this machine'}")


def _durability(facts: Facts) -> Check:
    own = facts.variables
    has_binlog = own["log_bin"] == "ON"
    says = f"innodb_flush_log_at_trx_commit {own['innodb_flush_log_at_trx_commit']}"
    if has_binlog:
        says += f", sync_binlog {own['sync_binlog']}, binlog_format {own['binlog_format']}"
    wrong = []
    if own["innodb_flush_log_at_trx_commit"] != "1":
        wrong.append("SET GLOBAL innodb_flush_log_at_trx_commit = 1")
    if has_binlog and own["sync_binlog"] != "1":
        # After a power cut InnoDB takes back what is prepared but not in the binlog.
        wrong.append("SET GLOBAL sync_binlog = 1")
    if has_binlog and own["binlog_format"] == "STATEMENT":
        wrong.append("SET GLOBAL binlog_format = ROW")
    if wrong:
        return Check("durability", "fail", says, f"{'; '.join(wrong)}; and set the same in its my.cnf")
    if own.get("innodb_doublewrite", "ON") in ("OFF", "0"):
        do = "turn it on in my.cnf unless the file system writes pages whole"
        return Check("durability", "warn", f"{says}, innodb_doublewrite OFF", do)
    return Check("durability", "ok", says)


def _mode(facts: Facts) -> Check:
    own = facts.variables
    if "STRICT_TRANS_TABLES" not in own["sql_mode"] or own["time_zone"] != "+00:00":
        do = "a proxy between drops what a session sets; let it pass SET through, or connect to the server itself"
        return Check("sql mode", "fail", f"{own['sql_mode'] or 'empty'}, time zone {own['time_zone']}", do)
    return Check("sql mode", "ok", "strict and in UTC, set by Belfry in its own sessions")


def _writes(facts: Facts, url: MysqlUrl) -> Check:
    if facts.variables["read_only"] != "OFF":
        return Check("privileges", "fail", "the server is read-only", "SET GLOBAL read_only = OFF, or name the primary")
    has = _privileges(facts.grants, url.name)
    grant = f"as its administrator: GRANT ALL ON `{url.name}`.* TO '{url.user}'@'%'"
    if "ALL PRIVILEGES" in has or not set(NEEDED + TO_MIGRATE) - has:
        return Check("privileges", "ok", f"all that serving and migrating need on {url.name}")
    if lacking := [one for one in NEEDED if one not in has]:
        return Check("privileges", "fail", f"{', '.join(lacking)} not granted on {url.name}", grant)
    lacking = [one for one in TO_MIGRATE if one not in has]
    says = f"enough to serve; {', '.join(lacking)} not granted on {url.name}"
    return Check("privileges", "warn", says, "run `belfry db migrate` as a user who has them")


def _room(facts: Facts) -> Check:
    packet, most = int(facts.variables["max_allowed_packet"]), int(facts.variables["max_connections"])
    says = f"{facts.connected} of {most} connections in use, packets up to {packet / 2**20:g} MB"
    if packet < PACKET:
        return Check("capacity", "fail", says, "SET GLOBAL max_allowed_packet = 67108864")
    if most - facts.connected < PER_SERVER:
        return Check("capacity", "warn", says, f"raise max_connections: each Belfry server needs {PER_SERVER}")
    return Check("capacity", "ok", says)


def _clock(facts: Facts) -> Check:
    says = f"its clock is {abs(facts.ahead):.3f} s {'ahead of' if facts.ahead > 0 else 'behind'} ours"
    if abs(facts.ahead) > CLOCK_WARN:
        return Check("its clock", "warn", says, "run NTP on both")
    return Check("its clock", "ok", says)


def _version(text: str) -> tuple[str, tuple[int, ...]]:
    found = re.search(r"(\d+)\.(\d+)\.(\d+)(?=-MariaDB)", text)
    kind = "MariaDB" if found else "MySQL"
    found = found or re.match(r"(\d+)\.(\d+)\.(\d+)", text)
    return kind, tuple(map(int, found.groups())) if found else (0, 0, 0)


def _privileges(grants: tuple[str, ...], database: str) -> set[str]:
    """What is granted on a database as a whole; a role's or a pattern's grants are not seen."""
    has: set[str] = set()
    for line in grants:
        found = re.match(r"GRANT (.+) ON (.+?)\.\* TO ", line)
        if found and found[2].strip("`").replace("\\", "") in ("*", database):
            has.update(one.strip() for one in found[1].split(","))
    return has


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
