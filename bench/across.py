"""Clients that must go to other hosts: a server that is drained, and one that is killed; and a naive one beside them.

Three `belfry serve` and a `belfry tower` over MySQL and Kafka, on other ports of this machine instead of other hosts:
no socket can be handed over. All servers share one core, the audit and the services the other.
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
import threading
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import belfry_side
from bench.audited import anomalies, auditing
from bench.errors import Unmeasured
from bench.load import CACHE
from bench.report import Table, Target
from bench.servers import ROOT, SERVER_CORE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.ground import Ground
    from bench.pace import Pace

DATABASE = "mysql"
RATE = 200.0  # sends a second of those who move
BESIDE = 0.1  # of that many clients stay on the two other servers, to see what the drain costs them
BUDGET = 500  # handshakes a second that each server says it takes: the default
START_TIMEOUT = 60.0  # seconds; two on an idle machine
DRAINED = 15.0  # seconds
DEADLINE = 25.0  # seconds from SIGTERM to the end, the default
STEADY = 10.0  # seconds in which the others' steady state is measured
BACK = 10.0  # seconds after a kill in which 99 % are live again
AFTER = 25.0  # seconds of talking after a kill


@dataclass
class Hosts:
    """The servers, by number, and the tower."""

    secret: str
    directory: Path
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    ports: list[int] = field(default_factory=list)
    tower: int = 0

    def reads(self, *numbers: int) -> float:
        """Reads of the store that these servers made for joins, and for holes."""
        return sum(belfry_side.metric(self.ports[number], "belfry_store_reads_total") or 0.0 for number in numbers)


@contextlib.contextmanager
def hosts(ground: Ground) -> Iterator[Hosts]:
    """Three servers and their tower, ready; ended when the block is left."""
    plot = ground.plot(DATABASE)
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="hosts-") as name:
        found = Hosts(secrets.token_urlsafe(48), Path(name))
        environ = os.environ | {"BELFRY_SECRET": found.secret, "BELFRY_DB": plot.db}
        found.tower = _free_port()
        common = [f"--bus={plot.bus}", "--log-format=json", "--log-level=info"]
        commands = [["tower", f"--port={found.tower}", "--open-dashboard", *common]]
        for number in range(3):
            port = _free_port()
            found.ports.append(port)
            commands.append(
                ["serve", f"--port={port}", f"--server-id=s{number}", f"--tower=http://127.0.0.1:{found.tower}",
                 "--guests", "--send-rate=0", "--connections=20000", f"--handshakes-per-second={BUDGET}", *common]
            )  # fmt: skip
        started: list[subprocess.Popen[bytes]] = []
        migrated = subprocess.run(
            [sys.executable, "-m", "belfry", "db", "migrate"], env=environ, cwd=ROOT, capture_output=True, text=True
        )
        if migrated.returncode:
            raise Unmeasured(migrated.stderr.strip().splitlines()[-1])
        try:
            for number, command in enumerate(commands):
                with (found.directory / f"{number}.log").open("wb") as log:
                    started.append(
                        subprocess.Popen(
                            [sys.executable, "-m", "belfry", *command], stdin=subprocess.DEVNULL, stdout=log,
                            stderr=log, env=environ, cwd=ROOT,
                            preexec_fn=lambda: os.sched_setaffinity(0, {SERVER_CORE}),
                        )
                    )  # fmt: skip
            found.processes = started[1:]
            _until_ready(found)
            yield found
        finally:
            for process in started:
                process.kill()
                process.wait()


def _until_ready(found: Hosts) -> None:
    """Until the tower knows all three as ready."""
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, ValueError):
            if sum(server["state"] == "ready" for server in _fleet(found.tower)) == len(found.ports):
                return
        time.sleep(0.1)
    logs = " ".join(path.read_text(errors="replace")[-200:] for path in sorted(found.directory.glob("*.log")))
    raise Unmeasured(f"the fleet was not ready within {START_TIMEOUT:g} s: {logs}")


def _fleet(tower: int) -> list[dict[str, Any]]:
    with urllib.request.urlopen(f"http://127.0.0.1:{tower}/v1/servers", timeout=5) as response:
        servers: list[dict[str, Any]] = json.load(response)["servers"]
        return servers


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


class Peaks:
    """The most handshakes within one second that each server told its tower, while the block runs."""

    def __init__(self, tower: int) -> None:
        self._tower = tower
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.peaks: dict[str, int] = {}

    def _watch(self) -> None:
        while not self._over.wait(1.0):
            with contextlib.suppress(OSError, ValueError):
                for server in _fleet(self._tower):
                    self.peaks[server["id"]] = max(self.peaks.get(server["id"], 0), server["handshakes_peak"])

    def __enter__(self) -> Peaks:
        self._thread.start()
        return self

    def __exit__(self, *problem: object) -> None:
        self._over.set()
        self._thread.join()


# --- drain -------------------------------------------------------------------------------------------------------


def drain(ground: Ground, pace: Pace) -> tuple[Table, list[Target]]:
    """SIGTERM to the server that has everybody; the two others take them at the tower's pace."""
    clients, beside = pace.sessions, max(20, int(pace.sessions * BESIDE))
    with hosts(ground) as found:
        with auditing(found.ports[1:], found.secret, beside, RATE * BESIDE, seconds=STEADY) as calm:
            steady = calm.verdict()
        with (
            auditing(found.ports[:1], found.secret, clients, RATE) as audit,
            auditing(found.ports[1:], found.secret, beside, RATE * BESIDE) as others,
            Peaks(found.tower) as peaks,
        ):
            audit.wait_talking()
            others.wait_talking()
            time.sleep(3.0)
            reads, began = found.reads(1, 2), time.monotonic()
            found.processes[0].send_signal(signal.SIGTERM)
            audit.watch(lambda: found.processes[0].poll() is not None, 2 * DEADLINE, "the server was drained")
            took, code = time.monotonic() - began, found.processes[0].returncode
            others.stop()
            beside_it = others.verdict()
            resumes = found.reads(1, 2) - reads
            time.sleep(3.0)
            audit.stop()
            seen = audit.verdict()
    return _drained(
        clients, took, code, seen, steady, beside_it, resumes / clients, max(peaks.peaks.values(), default=0)
    )


def _drained(
    clients: int,
    took: float,
    code: int,
    seen: dict[str, Any],
    steady: dict[str, Any],
    beside: dict[str, Any],
    reads: float,
    peak: int,
) -> tuple[Table, list[Target]]:
    attempts, herd = seen["attempts_per_client"]["mean"], seen["handshakes"]["herd_factor"]
    silence = 1000 * seen["silence_p99_s"]
    before, during = steady["delivery_ms"]["p99"], beside["delivery_ms"]["p99"]
    wrong = anomalies(seen) + anomalies(beside)
    note = (
        f"{clients:,} clients and {RATE:g} sends/s on one server, SIGTERM, two others; "
        f"{seen['reconnects']:,} moves in all, {seen['counts']['gaps']} gaps, flaps {seen['counts']['flaps']}. The"
        f" audit used {seen['audit_cpu']:.0%} of its core and came {seen['audit_lag_ms']:.0f} ms late at most itself."
    )
    row = (
        f"{took:.1f}", f"{attempts:.3f}", f"{herd:.2f}", f"{seen['handshakes']['peak_per_second']:,}", f"{peak:,}",
        f"{silence:.0f}", f"{1000 * seen['longest_wait_s']:.0f}", f"{before:.0f}", f"{during:.0f}", f"{reads:.3f}",
    )  # fmt: skip
    columns = ("seconds to exit", "attempts a client", "herd factor", "peak/s of all", "peak/s of one server",
               "silence p99 ms", "longest wait ms", "others' p99 before, ms", "others' p99 meanwhile, ms",
               "store reads a resume")  # fmt: skip
    targets = [
        Target(
            f"{clients:,} clients drained to other servers in", f"<= {DRAINED:g} s", f"{took:.1f} s", took <= DRAINED
        ),
        Target("SIGTERM to exit 0", f"<= {DEADLINE:g} s", f"{took:.1f} s, exit {code}", took <= DEADLINE and not code),
        Target("connection attempts a client", "<= 1.05", f"{attempts:.3f}", attempts <= 1.05),
        Target("herd factor of the drain", "<= 1.5", f"{herd:.2f}", herd <= 1.5),
        Target("silence of a client, p99", "<= 500 ms", f"{silence:.0f} ms", silence <= 500.0),
        Target(
            "survivors' delivery p99, to steady", "<= 2x", f"{during / max(before, 0.1):.1f}x", during <= 2 * before
        ),
        Target("store reads a resume", "<= 0.05", f"{reads:.3f}", reads <= 0.05),
        Target("anomalies of the drain", "0", f"{wrong:,}", wrong == 0),
    ]
    return Table("Drained to other servers (Belfry)", note, columns, [row]), targets


# --- crash -------------------------------------------------------------------------------------------------------


def crash(ground: Ground, pace: Pace) -> tuple[Table, list[Target]]:
    """kill -9 of one of three; its clients go to the other two."""
    each = pace.sessions * 3 // 5
    with (
        hosts(ground) as found,
        auditing(found.ports, found.secret, 3 * each, RATE) as audit,
        Peaks(found.tower) as peaks,
    ):
        audit.wait_talking()
        time.sleep(3.0)
        peaks.peaks.clear()
        found.processes[0].kill()
        time.sleep(AFTER)
        audit.stop()
        seen = audit.verdict()
    back, wrong = seen["away_s"]["p99"], anomalies(seen) + seen["counts"]["gaps"]
    peak = max((peaks.peaks.get(f"s{number}", 0) for number in (1, 2)), default=0)
    note = (
        f"3 x {each:,} clients, {RATE:g} sends/s, kill -9 of one server. The audit used {seen['audit_cpu']:.0%} of its"
        f" core. Refused meanwhile: {seen['refusals']}."
    )
    row = (
        f"{seen['away_s']['times']:,}", f"{back:.1f}", f"{seen['away_s']['max']:.1f}",
        f"{seen['attempts_per_client']['max']}", f"{seen['handshakes']['herd_factor']:.2f}", f"{peak:,}", f"{wrong:,}",
    )  # fmt: skip
    columns = ("came back", "p99 s", "last s", "most attempts", "herd factor", "peak/s of a survivor", "anomalies")
    targets = [
        Target("after kill -9 99 % are live again within", f"<= {BACK:g} s", f"{back:.1f} s", 0.0 < back <= BACK),
        Target("handshakes/s of a survivor", f"<= {BUDGET}", f"{peak:,}", peak <= BUDGET),
        Target("anomalies and gaps of the crash", "0", f"{wrong:,}", wrong == 0),
    ]
    return Table("One of three killed (Belfry)", note, columns, [row]), targets
