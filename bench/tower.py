"""The tower: questions where to go, a death seen, a large fleet folded."""

from __future__ import annotations

import contextlib
import json
import os
import random
import selectors
import socket
import subprocess
import sys
import time
import urllib.request
from typing import TYPE_CHECKING

from bench.processes import cpu_of
from bench.report import Table, Target
from bench.servers import ROOT, SERVER_CORE
from bus.events import Beat
from tower.fleet import Fleet

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVERS = 50  # each takes 500 clients a second: the budget is not what is measured
CONNECTIONS = 50
SECONDS = 5.0  # of questions
DEATHS = 5  # servers that fall silent, each at another moment after its last beat
BEATS = 10  # of each of FOLDED servers
FOLDED = 1_000
PATIENCE = 30.0  # seconds


def table() -> tuple[Table, list[Target]]:
    """All three."""
    rows: list[tuple[str, ...]] = []
    targets: list[Target] = []
    with _tower() as (process, port):
        rate, cost = _questions(process.pid, port)
        rows.append((f"assign, {CONNECTIONS} connections kept alive, {SERVERS} servers",
                     f"{rate:,.0f}/s at {cost * 1e6:.0f} us of the tower's core each"))  # fmt: skip
        targets.append(Target("tower: assign", ">= 2,000/s", f"{rate:,.0f}/s", rate >= 2_000))
        seen = _deaths(process, port)
        rows.append(
            (f"a death seen, the longest of {DEATHS}", f"{max(seen):.1f} s, mean {sum(seen) / len(seen):.1f} s")
        )
        targets.append(Target("tower: a server's death seen", "<= 7 s", f"{max(seen):.1f} s", max(seen) <= 7.0))
    folded = _fold()
    rows.append((f"{BEATS * FOLDED:,} beats of {FOLDED:,} servers folded, and one look", f"{folded:.2f} s"))
    targets.append(Target(f"tower: {FOLDED:,} servers folded", "< 1 s", f"{folded:.2f} s", folded < 1.0))
    note = "A tower process over simulated servers, whose beats are real; questions over HTTP from another core."
    return Table("The tower", note, ("figure", "came"), rows), targets


@contextlib.contextmanager
def _tower() -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.tower_fleet", str(port), str(SERVERS)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT,
        preexec_fn=lambda: os.sched_setaffinity(0, {SERVER_CORE}),
    )  # fmt: skip
    try:
        assert process.stdout is not None
        process.stdout.readline()
        deadline = time.monotonic() + PATIENCE
        while len(_states(port)) < SERVERS and time.monotonic() < deadline:
            time.sleep(0.1)
        yield process, port
    finally:
        process.kill()
        process.communicate()


def _questions(pid: int, port: int) -> tuple[float, float]:
    """Answers a second, and seconds of the tower's processor each."""
    ask = b"GET /v1/assign?user=u_%d&room=lobby HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    selector = selectors.DefaultSelector()
    clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(CONNECTIONS)]
    try:
        for number, client in enumerate(clients):
            selector.register(client, selectors.EVENT_READ)
            client.sendall(ask % number)
        asked, answered = CONNECTIONS, 0
        began, used = time.monotonic(), cpu_of(pid)
        while time.monotonic() - began < SECONDS:
            for key, _ in selector.select(1.0):
                client = key.fileobj
                assert isinstance(client, socket.socket)
                if client.recv(4_096).startswith(b"HTTP/1.1 200"):
                    answered += 1
                client.sendall(ask % asked)
                asked += 1
        return answered / (time.monotonic() - began), (cpu_of(pid) - used) / max(answered, 1)
    finally:
        for client in clients:
            client.close()
        selector.close()


def _deaths(process: subprocess.Popen[bytes], port: int) -> list[float]:
    """Seconds from each death until it was seen; beats are spread, so each dies at another moment after its last."""
    assert process.stdin is not None
    died: dict[str, float] = {}
    for _ in range(DEATHS):
        id = f"s{random.choice([n for n in range(SERVERS) if f's{n}' not in died])}"
        process.stdin.write(f"{id}\n".encode())
        process.stdin.flush()
        died[id] = time.monotonic()
        time.sleep(0.3)
    seen: dict[str, float] = {}
    deadline = time.monotonic() + PATIENCE
    while len(seen) < DEATHS and time.monotonic() < deadline:
        states = _states(port)
        for id in died.keys() - seen.keys():
            if states[id] == "down":
                seen[id] = time.monotonic() - died[id]
        time.sleep(0.02)
    return [seen.get(id, PATIENCE) for id in died]


def _fold() -> float:
    began = time.process_time()
    fleet, now = Fleet(), time.time()
    for beat in range(BEATS):
        for number in range(FOLDED):
            made = now + 2.0 * beat
            fleet.beat(Beat(f"s{number}", "a", "http://h", "1", "ready", 5, 500.0, made_at=made), made)
    fleet.servers(now + 2.0 * BEATS)
    return time.process_time() - began


def _states(port: int) -> dict[str, str]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/servers", headers={"Authorization": "Bearer u_bench"})
    with urllib.request.urlopen(request, timeout=PATIENCE) as response:
        return {server["id"]: server["state"] for server in json.load(response)["servers"]}
