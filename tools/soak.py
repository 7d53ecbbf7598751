"""`make soak`: a fleet under load, redeployed and killed again and again, audited by what its clients saw.

First histories of the simulation for a while; then `belfry up` (with --fleet: two servers of `belfry fleet` over MySQL
and Kafka) with `belfry audit` beside it. Exit code 0 only when every verdict is good. Memory is printed once a minute.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
START_TIMEOUT = 60.0  # seconds for a start on a loaded machine; it takes two
ARRIVE_TIMEOUT = 300.0  # seconds until all clients are in
REDEPLOY_TIMEOUT = 180.0  # seconds; two on an idle machine
STOP_TIMEOUT = 60.0  # seconds; the drain's deadline is 25
VERDICT_TIMEOUT = 600.0  # seconds from the end of the talking: all history is read
REPORT = 60.0  # seconds between lines about memory
LOOK = 0.1  # seconds
MARK = "SOAK_RUN"  # a variable of the fleet's processes alone
DONE, FAILED = "redeployed ", "redeploy failed"


@dataclass
class Fleet:
    """A supervisor and its servers."""

    command: list[str]
    environ: dict[str, str]
    ports: list[int]
    log: Path
    process: subprocess.Popen[bytes] = field(init=False)

    def start(self) -> None:
        """Start the supervisor, or one more that adopts what a killed one left; return when it can be told SIGHUP."""
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(self.command, env=self.environ, cwd=ROOT, stdout=out, stderr=out)
        deadline = time.monotonic() + START_TIMEOUT
        while not (all(map(_answers, self.ports)) and _hears_sighup(self.process.pid)):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"soak: the fleet did not start: {self.log.read_text()[-1_000:]}")
            time.sleep(LOOK)

    def servers(self) -> list[int]:
        """The pids of its servers: found by a mark that they inherit, for not all are this supervisor's children."""
        mark = f"{MARK}={self.environ[MARK]}".encode()
        return [pid for pid in _processes() if pid != self.process.pid and mark in _environ(pid)]

    def resident(self) -> float:
        """MB of memory of all of them."""
        return sum(_resident(pid) for pid in (self.process.pid, *self.servers()))

    def events(self, at: int) -> Iterator[dict[str, Any]]:
        """What was logged from there on."""
        with self.log.open("rb") as lines:
            lines.seek(at)
            for line in lines:
                if line.startswith(b"{") and line.endswith(b"\n"):
                    yield json.loads(line)

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_TIMEOUT)

    def end(self) -> None:
        """Be gone, whatever happened."""
        self.process.kill()
        self.process.wait()
        for pid in self.servers():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def main() -> int:
    """Run it; returns the exit code."""
    args = _arguments()
    bad = 0
    if args.simulate:
        command = [sys.executable, "-m", "tests.simulation", "--seconds", str(args.simulate)]
        bad += bool(subprocess.run(command, cwd=ROOT, check=False).returncode)
    if args.seconds or args.redeploys:
        with tempfile.TemporaryDirectory(prefix="belfry-soak-") as name, _services(args, Path(name)) as addresses:
            bad += soak(args, _fleet(args, Path(name), addresses))
    print("soak: every promise held" if not bad else "soak: BROKEN", flush=True)
    return int(bad > 0)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make soak ARGS=...", allow_abbrev=False)
    given = [
        ("--simulate", float, 60.0, "seconds of simulated histories first"),
        ("--seconds", float, 600.0, "how long the fleet is under load, at least"),
        ("--redeploys", int, 100, "redeploys by SIGHUP, spread over that time"),
        ("--kill-every", float, 0.0, "seconds between kill -9 of a server or of the supervisor, by chance; 0 is never"),
        ("--clients", int, 200, "clients of the audit"),
        ("--rate", float, 200.0, "messages a second of all together"),
        ("--seed", int, None, "repeats the choices of whom to kill"),
    ]
    for flag, kind, default, says in given:
        parser.add_argument(flag, type=kind, default=default, help=f"{says} (default {default})")
    parser.add_argument("--fleet", action="store_true", help="two servers over MySQL and Kafka, which are started")
    return parser.parse_args()


@contextlib.contextmanager
def _services(args: argparse.Namespace, directory: Path) -> Iterator[tuple[str, str] | None]:
    """The addresses of a database and a bus, for as long as the block runs; None is SQLite and none."""
    if not args.fleet:
        yield None
        return
    sys.path.insert(0, str(ROOT))
    from compose.services import Kafka, Mysql

    with Mysql(directory / "mysql") as mysql, Kafka(directory / "kafka") as kafka:
        yield mysql.url, kafka.url


def _fleet(args: argparse.Namespace, directory: Path, addresses: tuple[str, str] | None) -> Fleet:
    environ = os.environ | {"BELFRY_SECRET": secrets.token_urlsafe(48), MARK: secrets.token_hex(8)}
    common = ["--send-rate=0", "--log-format=json", "--log-level=info"]
    belfry, ports = [sys.executable, "-m", "belfry"], _free_ports(2 if addresses else 1)
    if addresses is None:
        command = [*belfry, "up", f"--port={ports[0]}", f"--data={directory / 'data'}", "--tower-port=0", *common]
    else:
        environ["BELFRY_DB"], bus = addresses
        command = [*belfry, "fleet", f"--ports={','.join(map(str, ports))}", f"--bus={bus}", *common]
    return Fleet(command, environ, ports, directory / "fleet.log")


def soak(args: argparse.Namespace, fleet: Fleet) -> int:
    """The fleet, the audit beside it, and what happens to the fleet; how much went wrong."""
    fleet.start()
    urls = ",".join(f"http://127.0.0.1:{port}" for port in fleet.ports)
    print(f"soak: {urls}, supervisor {fleet.process.pid}, {args.clients} clients, {args.rate:g} messages/s", flush=True)
    # Where nobody is killed, a redeploy on one host is seen by nobody.
    bounds = [] if args.kill_every else ["--max-reconnects=0"]
    command = [sys.executable, "-m", "belfry", "audit", f"--url={urls}", f"--clients={args.clients}",
               f"--rate={args.rate}", "--seconds=0", "--settle=60", *bounds]  # fmt: skip
    watched = fleet.log.with_name("audit.log")
    with watched.open("wb") as err:
        audit = subprocess.Popen(command, env=fleet.environ | {MARK: ""}, cwd=ROOT, stderr=err)
    try:
        _until(lambda: b"talking" in watched.read_bytes(), ARRIVE_TIMEOUT, "the audit's clients did not get in")
        worst = Events(args, fleet, audit).run()
        audit.send_signal(signal.SIGINT)
        verdict = audit.wait(VERDICT_TIMEOUT)
        stopped = fleet.stop()
    finally:
        audit.kill()
        audit.wait()
        fleet.end()
    errors = [] if args.kill_every else [event for event in fleet.events(0) if event.get("level") == "error"]
    for event in errors[:5]:
        print(f"soak: logged as an error: {str(event)[:300]}")
    print(f"soak: audit {verdict}, stop {stopped}, errors logged {len(errors)}, longest handover {worst:.0f} ms")
    return bool(verdict) + bool(stopped) + bool(errors)


class Events:
    """What happens to the fleet, in its order."""

    def __init__(self, args: argparse.Namespace, fleet: Fleet, audit: subprocess.Popen[bytes]) -> None:
        self._args = args
        self._fleet = fleet
        self._audit = audit
        seed = secrets.randbelow(2**32) if args.seed is None else args.seed
        print(f"soak: --seed {seed}", flush=True)
        self._chance = random.Random(seed)
        self._began = time.monotonic()
        self._done = 0
        self._worst = 0.0

    def run(self) -> float:
        """Until the time is over and everything was done; the longest stall that a handover told, in ms."""
        args, began = self._args, self._began
        report, kill = began + REPORT, began + (args.kill_every or float("inf"))
        every = args.seconds / max(1, args.redeploys)
        while time.monotonic() < began + args.seconds or self._done < args.redeploys:
            time.sleep(LOOK)
            now = time.monotonic()
            if self._audit.poll() is not None:
                raise SystemExit(f"soak: the audit ended by itself with {self._audit.returncode}")
            if self._fleet.process.poll() is not None:
                raise SystemExit(f"soak: the supervisor ended by itself with {self._fleet.process.returncode}")
            if now >= report:
                report = now + REPORT
                self._say(f"{self._fleet.resident():.1f} MB, {self._done} redeploys")
            if now >= kill:
                kill = now + args.kill_every
                self._kill()
            elif self._done < args.redeploys and now >= began + every * (self._done + 0.5):
                self._redeploy()
        return self._worst

    def _say(self, what: str) -> None:
        print(f"soak: {time.monotonic() - self._began:6.0f} s  {what}", flush=True)

    def _redeploy(self) -> None:
        """SIGHUP, and now and then a kill -9 in the middle of it; return when it is over."""
        fleet, at = self._fleet, self._fleet.log.stat().st_size
        os.kill(fleet.process.pid, signal.SIGHUP)
        self._done += 1
        cut = self._args.kill_every > 0 and self._chance.random() < 0.2
        if cut:
            time.sleep(self._chance.uniform(0.0, 3.0))
            self._kill()
            return
        deadline = time.monotonic() + REDEPLOY_TIMEOUT
        while time.monotonic() < deadline and fleet.process.poll() is None:
            for event in fleet.events(at):
                if str(event.get("event")).startswith(DONE):
                    self._worst = max(self._worst, float(event.get("stall_ms", 0.0)))
                    return
                if str(event.get("event")).startswith(FAILED):
                    if not self._args.kill_every:
                        raise SystemExit(f"soak: {event['event']}")
                    return
            time.sleep(LOOK)
        raise SystemExit(f"soak: no redeploy within {REDEPLOY_TIMEOUT:g} s: {fleet.log.read_text()[-1_000:]}")

    def _kill(self) -> None:
        """kill -9 one of the servers, which the supervisor starts again, or the supervisor, whose place we take."""
        fleet, servers = self._fleet, self._fleet.servers()
        if servers and self._chance.random() < 0.7:
            victim = self._chance.choice(servers)
            self._say(f"kill -9 of server {victim}")
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
            return
        self._say(f"kill -9 of supervisor {fleet.process.pid}")
        fleet.process.kill()
        fleet.process.wait()
        fleet.start()


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1.0).close()
    except OSError:
        return False
    return True


def _hears_sighup(pid: int) -> bool:
    """Whether the process catches it: whoever does not yet ends by it."""
    with contextlib.suppress(OSError):
        found = re.search(r"SigCgt:\s+([0-9a-f]+)", Path(f"/proc/{pid}/status").read_text())
        return found is not None and bool(int(found[1], 16) >> (signal.SIGHUP - 1) & 1)
    return False


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        taken = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in taken]


def _processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]


def _environ(pid: int) -> list[bytes]:
    """A process's variables; none where they are not ours to read, or it is gone."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return []


def _until(holds: Any, seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise SystemExit(f"soak: {what} within {seconds:g} s")
        time.sleep(LOOK)


def _resident(pid: int) -> float:
    """MB of memory of a process, 0 when it is gone."""
    with contextlib.suppress(OSError):
        found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
        return int(found[1]) / 1024 if found else 0.0
    return 0.0


if __name__ == "__main__":
    sys.exit(main())
