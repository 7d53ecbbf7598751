"""The redeploy nobody notices, measured by whoever would: `belfry audit` beside a `belfry up` that is told SIGHUP.

Everything of `belfry up` (supervisor, the old process and its successor) is on the server's core, as a machine has it
that is as busy as one core can be; the audit is on the other.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.audited import MEMBERS, anomalies, auditing
from bench.errors import Unmeasured
from bench.load import CACHE
from bench.processes import family, resident
from bench.report import Table, Target
from bench.servers import ROOT, SERVER_CORE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.audited import Audit
    from bench.pace import Pace

RATE = 200.0  # sends a second, of all clients together
QUICK = 5  # redeploys of a quick run
MANY = 20
CALM = 5.0  # seconds between two redeploys, after which memory must be one process's again
STALL = 300.0  # ms
BACK = 1.15  # times the memory of before, that counts as the same: an allocator's own unrest
START_TIMEOUT = 60.0  # seconds; two on an idle machine
REDEPLOY_TIMEOUT = 120.0  # seconds; two on an idle machine
DONE = "redeployed "
FAILED = "redeploy failed"


@dataclass(frozen=True, slots=True)
class One:
    """One redeploy: what the supervisor said of it, and the memory of all its processes together."""

    moved: int
    drained: int
    stall_ms: float
    seconds: float  # from SIGHUP to the supervisor's word that it is done
    before: float  # MB
    most: float
    after: float
    processes: int  # afterwards


def table(pace: Pace) -> tuple[Table, list[Target]]:
    """Redeploy again and again under load, and let the audit judge."""
    clients = pace.sessions
    many = MANY if clients >= 5_000 else QUICK
    with (
        tempfile.TemporaryDirectory(dir=CACHE, prefix="redeploy-") as name,
        _up(Path(name)) as (up, port, log, secret),
        auditing([port], secret, clients, RATE) as audit,
    ):
        audit.wait_talking()
        time.sleep(CALM)
        ones = [_redeploy(up.pid, log, audit) for _ in range(many)]
        audit.stop()
        found = audit.verdict()
    return _told(clients, ones, found), _targets(ones, found)


# --- processes ---------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _up(directory: Path) -> Iterator[tuple[subprocess.Popen[bytes], int, Path, str]]:
    """`belfry up` under its supervisor, ended when the block is left."""
    with socket.create_server(("127.0.0.1", 0)) as chosen:
        port = int(chosen.getsockname()[1])
    log, secret = directory / "log", secrets.token_urlsafe(48)
    command = [
        sys.executable, "-m", "belfry", "up", f"--port={port}", "--tower-port=0", f"--data={directory / 'data'}",
        "--send-rate=0", "--connections=20000", "--log-level=info", "--log-format=json",
    ]  # fmt: skip
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=ROOT, start_new_session=True,
            env=os.environ | {"BELFRY_SECRET": secret}, preexec_fn=lambda: os.sched_setaffinity(0, {SERVER_CORE}),
        )  # fmt: skip
    try:
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1.0):
                break
            if process.poll() is not None or time.monotonic() > deadline:
                raise Unmeasured(f"belfry up did not start: {log.read_text()[-300:]}")
            time.sleep(0.05)
        yield process, port, log, secret
    finally:
        relatives = family(process.pid)
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(40.0)  # its own deadline is 25 s
        except subprocess.TimeoutExpired:
            for pid in relatives:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.wait()


# --- one redeploy ------------------------------------------------------------------------------------------------


def _redeploy(pid: int, log: Path, audit: Audit) -> One:
    """SIGHUP, the supervisor's own word that it is done, and a calm."""
    before, at = _resident(pid), log.stat().st_size
    began = time.monotonic()
    os.kill(pid, signal.SIGHUP)
    most = before
    said: dict[str, Any] | None = None

    def over() -> bool:
        nonlocal said, most
        said = next(_events(log, at), None)
        most = max(most, _resident(pid))
        return said is not None

    audit.watch(over, REDEPLOY_TIMEOUT, "a redeploy was under way")
    assert said is not None
    seconds = time.monotonic() - began
    if said["event"].startswith(FAILED):
        raise Unmeasured(said["event"])
    time.sleep(CALM)
    return One(said["moved"], said["drained"], said["stall_ms"], seconds, before, most, _resident(pid),
               len(family(pid)))  # fmt: skip


def _events(log: Path, at: int) -> Iterator[dict[str, Any]]:
    """How redeploys ended, of what was logged since."""
    with log.open("rb") as lines:
        lines.seek(at)
        for line in lines:
            if line.startswith(b"{") and line.endswith(b"\n"):
                said = json.loads(line)
                if said["event"].startswith((DONE, FAILED)):
                    yield said


def _resident(pid: int) -> float:
    """MB of memory of a process and all that came from it."""
    return sum(map(resident, family(pid))) / 2**20


# --- what came out ---------------------------------------------------------------------------------------------


def _told(clients: int, ones: list[One], found: dict[str, Any]) -> Table:
    rows = [
        (str(number), f"{one.moved:,}", f"{one.drained:,}", f"{one.stall_ms:.0f}", f"{one.seconds:.1f}",
         f"{one.before:.0f}", f"{one.most:.0f}", f"{one.after:.0f}", str(one.processes))
        for number, one in enumerate(ones, 1)
    ]  # fmt: skip
    counts = found["counts"]
    note = (
        f"{clients:,} clients in {2 * clients // MEMBERS} rooms, two each, {RATE:g} sends/s, SQLite; supervisor and"
        f" both servers on one core, the audit on the other. The audit saw {counts['delivered']:,} deliveries,"
        f" {found['reconnects']:,} reconnects, {anomalies(found)} anomalies; longest wait of any client"
        f" {1000 * found['longest_wait_s']:.0f} ms (p99 of the clients' longest {1000 * found['wait_p99_s']:.0f} ms),"
        f" deliveries p50 {found['delivery_ms']['p50']:g} ms, p99 {found['delivery_ms']['p99']:g} ms;"
        f" it used {found['audit_cpu']:.0%} of its core and came {found['audit_lag_ms']:.0f} ms late at most itself."
        " What memory grows by from one redeploy to the next are the rooms' windows, until each has its 500 messages."
    )
    columns = ("redeploy", "sockets", "reconnected", "stall ms", "seconds", "MB before", "MB at most", "MB 5 s after",
               "processes")  # fmt: skip
    return Table("SIGHUP again and again (Belfry)", note, columns, rows)


def _targets(ones: list[One], found: dict[str, Any]) -> list[Target]:
    reconnects, wrong, wait = found["reconnects"], anomalies(found), 1000 * found["longest_wait_s"]
    stall = max(one.stall_ms for one in ones)
    memory = max(one.after / one.before for one in ones)
    return [
        Target(f"{len(ones)} redeploys: reconnects", "0", f"{reconnects:,}", reconnects == 0),
        Target("anomalies seen by the audit", "0", f"{wrong:,}", wrong == 0),
        Target("longest wait of any client", f"<= {STALL:.0f} ms", f"{wait:.0f} ms", wait <= STALL),
        Target("longest stall by the handover's own clock", f"<= {STALL:.0f} ms", f"{stall:.0f} ms", stall <= STALL),
        Target("memory 5 s after one, of before", f"<= {BACK:g}", f"{memory:.2f}", memory <= BACK),
    ]
