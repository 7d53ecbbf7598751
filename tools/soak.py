"""`make soak`: a server under load for a long time, killed now and then if asked, audited by what its clients saw.

Exit code 0 only when the audit's verdict is good. The server's memory is printed once a minute: it must not grow.
"""

from __future__ import annotations

import argparse
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Callable

START_TIMEOUT = 30.0  # seconds for a start on a loaded machine; it takes one
REPORT = 60.0  # seconds between lines about memory
FIRST = 10.0  # seconds after which memory is a baseline: everybody has connected


def main() -> int:
    """Run it; returns the exit code."""
    parser = argparse.ArgumentParser(prog="make soak ARGS=...", allow_abbrev=False)
    parser.add_argument("--seconds", type=float, default=600.0, help="how long (default 600)")
    parser.add_argument("--clients", type=int, default=200, help="clients (default 200)")
    parser.add_argument("--rate", type=float, default=200.0, help="messages a second of all together (default 200)")
    parser.add_argument("--kill-every", type=float, default=0.0, help="seconds between kill -9 and SIGTERM in turn")
    args = parser.parse_args()
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        port = chosen.getsockname()[1]
    environ = os.environ | {"BELFRY_SECRET": secrets.token_urlsafe(48)}
    with tempfile.TemporaryDirectory(prefix="belfry-soak-") as data:
        return soak(args, port, Path(data), environ)


def soak(args: argparse.Namespace, port: int, data: Path, environ: dict[str, str]) -> int:
    """One server at a time on the port, one audit beside it."""
    log = (data / "server.log").open("ab")
    started: list[subprocess.Popen[bytes]] = []

    def again() -> subprocess.Popen[bytes]:
        started.append(start(port, data, environ, log))
        return started[-1]

    server = again()
    print(f"soak: server {server.pid} on port {port}, {args.clients} clients, {args.rate:g} messages/s", flush=True)
    audit = subprocess.Popen(
        [sys.executable, "-m", "belfry", "audit", "--url", f"http://127.0.0.1:{port}", "--clients", str(args.clients),
         "--rate", str(args.rate), "--seconds", str(args.seconds)],
        env=environ,
    )  # fmt: skip
    try:
        server = watch(args, audit, server, again)
        server.send_signal(signal.SIGTERM)
        stopped = server.wait(START_TIMEOUT)
    finally:
        for process in (audit, *started):
            process.kill()
            process.wait()
        log.close()
    unexpected = [line for line in (data / "server.log").read_text().splitlines() if '"level":"error"' in line]
    for line in unexpected[:5]:
        print(f"soak: the server logged: {line[:300]}")
    print(f"soak: audit {audit.returncode}, last stop {stopped}, errors logged {len(unexpected)}")
    return int(audit.returncode != 0 or stopped != 0 or bool(unexpected))


def watch(
    args: argparse.Namespace,
    audit: subprocess.Popen[bytes],
    server: subprocess.Popen[bytes],
    again: Callable[[], subprocess.Popen[bytes]],
) -> subprocess.Popen[bytes]:
    """Until the audit ends: tell memory, and kill if asked; returns the server that runs then."""
    began = time.monotonic()
    report, kill, hard = began + FIRST, began + (args.kill_every or float("inf")), True
    stop_killing = began + args.seconds
    while audit.poll() is None:
        time.sleep(0.2)
        now = time.monotonic()
        if server.poll() is not None:
            raise SystemExit(f"soak: the server ended by itself with {server.returncode}")
        if now >= report:
            print(f"soak: {now - began:6.0f} s  server {server.pid}: {resident(server.pid):.1f} MB", flush=True)
            report += REPORT
        if kill <= now < stop_killing:
            number = signal.SIGKILL if hard else signal.SIGTERM
            server.send_signal(number)
            print(
                f"soak: {now - began:6.0f} s  {signal.Signals(number).name}: ended with {server.wait(60)}", flush=True
            )
            server, hard, kill = again(), not hard, now + args.kill_every
    return server


def start(port: int, data: Path, environ: dict[str, str], log: BinaryIO) -> subprocess.Popen[bytes]:
    """A server that takes connections."""
    argv = [sys.executable, "-m", "belfry", "up", "--port", str(port), "--data", str(data / "server"), "--send-rate=0",
            "--log-format=json", "--log-level=warning"]  # fmt: skip
    process = subprocess.Popen(argv, env=environ, stderr=log)
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1.0).close()
            return process
        except OSError:
            time.sleep(0.05)
    process.kill()
    raise SystemExit(f"soak: the server did not start: {(data / 'server.log').read_text()[-500:]}")


def resident(pid: int) -> float:
    """MB of memory of a process."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


if __name__ == "__main__":
    sys.exit(main())
