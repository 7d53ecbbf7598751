"""The redeploy nobody notices, measured by whoever would: `belfry audit` beside a `belfry up` that is told SIGHUP.

Everything of `belfry up` (supervisor, the old process and its successor) is on the server's core, as a machine has it
that is as busy as one core can be; the audit is on the other.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
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

from bench.load import CACHE
from bench.report import Table, Target
from bench.servers import LOAD_CORE, SERVER_CORE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.pace import Pace

ROOT = Path(__file__).parent.parent
MEMBERS = 100  # a room; each client is in two
RATE = 200.0  # sends a second, of all clients together
QUICK = 5  # redeploys of a quick run
MANY = 20
CALM = 5.0  # seconds between two redeploys, after which memory must be one process's again
STALL = 300.0  # ms
BACK = 1.15  # times the memory of before, that counts as the same: an allocator's own unrest
START_TIMEOUT = 180.0  # seconds until 5,000 clients are in: 20 s at the audit's pace on an idle machine
REDEPLOY_TIMEOUT = 120.0  # seconds; two on an idle machine
END_TIMEOUT = 180.0  # seconds from the end of the talking to the verdict: all history is read over HTTP
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
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="redeploy-") as name, _up(Path(name)) as (up, port, log, secret):
        audit = _audit(port, secret, clients)
        try:
            _until(lambda: b"talking" in audit.told(), START_TIMEOUT, audit)
            time.sleep(CALM)
            ones = []
            for _ in range(many):
                ones.append(_redeploy(up.pid, log, audit))
            audit.process.send_signal(signal.SIGINT)
            found = json.loads(audit.verdict())
        finally:
            audit.end()
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
                raise SystemExit(f"bench: belfry up did not start:\n{log.read_text()[-2000:]}")
            time.sleep(0.05)
        yield process, port, log, secret
    finally:
        family = _family(process.pid)
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(40.0)  # its own deadline is 25 s
        except subprocess.TimeoutExpired:
            for pid in family:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.wait()


class _Audit:
    """`belfry audit` in a process of its own."""

    def __init__(self, process: subprocess.Popen[bytes], out: Path, err: Path) -> None:
        self.process = process
        self._out = out
        self._err = err

    def told(self) -> bytes:
        return self._err.read_bytes()

    def verdict(self) -> bytes:
        """Wait for it; JSON."""
        self.process.wait(END_TIMEOUT)
        found = self._out.read_bytes()
        if not found:
            raise SystemExit(f"bench: the audit came to no verdict:\n{self.told()[-2000:].decode()}")
        return found

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def _audit(port: int, secret: str, clients: int) -> _Audit:
    directory = Path(tempfile.mkdtemp(dir=CACHE, prefix="audit-"))
    out, err = directory / "out", directory / "err"
    command = [
        sys.executable, "-m", "belfry", "audit", f"--url=http://127.0.0.1:{port}", f"--clients={clients}",
        f"--rooms={2 * clients // MEMBERS}", f"--rate={RATE:g}", "--seconds=0", "--settle=60", "--json",
    ]  # fmt: skip
    with out.open("wb") as told, err.open("wb") as watched:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=told, stderr=watched, cwd=ROOT,
            env=os.environ | {"BELFRY_SECRET": secret}, preexec_fn=lambda: os.sched_setaffinity(0, {LOAD_CORE}),
        )  # fmt: skip
    return _Audit(process, out, err)


def _until(holds: Callable[[], Any], seconds: float, audit: _Audit) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        if audit.process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"bench: the audit did not come so far:\n{audit.told()[-2000:].decode()}")
        time.sleep(0.02)


# --- one redeploy ------------------------------------------------------------------------------------------------


def _redeploy(pid: int, log: Path, audit: _Audit) -> One:
    """SIGHUP, the supervisor's own word that it is done, and a calm."""
    before, at = _resident(pid), log.stat().st_size
    began = time.monotonic()
    os.kill(pid, signal.SIGHUP)
    most = before
    said: dict[str, Any] | None = None
    while said is None:
        said = next(_events(log, at), None)
        most = max(most, _resident(pid))
        if audit.process.poll() is not None or time.monotonic() - began > REDEPLOY_TIMEOUT:
            raise SystemExit(f"bench: no redeploy in {REDEPLOY_TIMEOUT:g} s:\n{log.read_text()[-2000:]}")
        time.sleep(0.02)
    seconds = time.monotonic() - began
    if said["event"].startswith(FAILED):
        raise SystemExit(f"bench: {said['event']}")
    time.sleep(CALM)
    return One(said["moved"], said["drained"], said["stall_ms"], seconds, before, most, _resident(pid),
               len(_family(pid)))  # fmt: skip


def _events(log: Path, at: int) -> Iterator[dict[str, Any]]:
    """How redeploys ended, of what was logged since."""
    with log.open("rb") as lines:
        lines.seek(at)
        for line in lines:
            if line.startswith(b"{") and line.endswith(b"\n"):
                said = json.loads(line)
                if said["event"].startswith((DONE, FAILED)):
                    yield said


def _family(pid: int) -> list[int]:
    """A process and all that came from it."""
    found, new = [], [pid]
    while new:
        one = new.pop()
        found.append(one)
        for task in Path(f"/proc/{one}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                new += [int(child) for child in task.read_text().split()]
    return found


def _resident(pid: int) -> float:
    """MB of memory that is their own."""
    total = 0
    for one in _family(pid):
        with contextlib.suppress(OSError):
            found = re.search(r"RssAnon:\s+(\d+) kB", Path(f"/proc/{one}/status").read_text())
            total += int(found[1]) if found else 0
    return total / 1024


# --- what came out ---------------------------------------------------------------------------------------------


def _anomalies(found: dict[str, Any]) -> int:
    return sum(found["faults"].values()) + len(found["unread"]) + found["counts"]["flaps"] + (not found["settled"])


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
        f" {found['reconnects']:,} reconnects, {_anomalies(found)} anomalies; longest wait of any client"
        f" {1000 * found['longest_wait_s']:.0f} ms (p99 of the clients' longest {1000 * found['wait_p99_s']:.0f} ms),"
        f" deliveries p50 {found['delivery_ms']['p50']:g} ms, p99 {found['delivery_ms']['p99']:g} ms;"
        f" it used {found['audit_cpu']:.0%} of its core and came {found['audit_lag_ms']:.0f} ms late at most itself."
    )
    columns = ("redeploy", "sockets", "reconnected", "stall ms", "seconds", "MB before", "MB at most", "MB 5 s after",
               "processes")  # fmt: skip
    return Table("SIGHUP again and again (Belfry)", note, columns, rows)


def _targets(ones: list[One], found: dict[str, Any]) -> list[Target]:
    reconnects, anomalies, wait = found["reconnects"], _anomalies(found), 1000 * found["longest_wait_s"]
    stall = max(one.stall_ms for one in ones)
    memory = max(one.after / one.before for one in ones)
    growth = ones[-1].after / ones[0].before
    return [
        Target(f"{len(ones)} redeploys: reconnects", "0", f"{reconnects:,}", reconnects == 0),
        Target("anomalies seen by the audit", "0", f"{anomalies:,}", anomalies == 0),
        Target("longest wait of any client", f"<= {STALL:.0f} ms", f"{wait:.0f} ms", wait <= STALL),
        Target("longest stall by the handover's own clock", f"<= {STALL:.0f} ms", f"{stall:.0f} ms", stall <= STALL),
        Target("memory 5 s after one, of before", f"<= {BACK:g}", f"{memory:.2f}", memory <= BACK),
        Target("memory after all, of before", f"<= {BACK:g}", f"{growth:.2f}", growth <= BACK),
    ]
