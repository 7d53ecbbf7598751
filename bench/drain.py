"""A server is drained to two others, one of three is killed: how everybody comes back, beside a naive peer's way."""

from __future__ import annotations

import contextlib
import gc
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench import belfry_side
from bench.crowd import Client, Crowd, busiest, share
from bench.errors import Unmeasured
from bench.processes import CORES, everywhere
from bench.report import Table, Target
from bench.servers import ROOT
from chat.tokens import Tokens
from compose.services.service import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.ground import Ground, Plot
    from bench.pace import Pace

ROOM = 100  # clients of the leaving server in one room, so that everybody hears something four times a second
SPOKEN = 4.0  # messages a second in each room
RESIDENTS = 0.1  # of the leaving server's clients: as many are on each other server, and stay
ARRIVALS = 300.0  # clients a second that come in at the start
BEFORE = 5.0  # seconds of steady talk before it happens
BREATH = 1.0  # seconds between the servers' own counts, for which this process stops to read, and what is measured
AFTER = 1.0  # seconds of it behind the last one's return
DEADLINE = 25.0  # seconds from SIGTERM to the end, by default
PATIENCE = 90.0  # seconds for everybody to be back
START = 60.0  # seconds for a server
COUNTS = ("belfry_store_reads_total", "belfry_resumes_total")
COLUMNS = (
    "what happened", "clients", "99 % back, s", "all back, s", "attempts a client", "herd factor", "busiest second",
    "silence p99 ms", "survivors' p99 ms before", "during", "store reads a resume", "missed",
)  # fmt: skip


@dataclass(slots=True)
class Server:
    """One running server of whichever kind."""

    process: subprocess.Popen[bytes]
    port: int
    id: str = ""

    def counts(self) -> list[float]:
        return [belfry_side.metric(self.port, name) or 0.0 for name in COUNTS]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one scenario was like."""

    moved: int
    most_back: float  # seconds until 99 % had their rooms again
    all_back: float  # seconds, inf if somebody never came
    attempts: float
    herd: float
    busiest: int  # handshakes in one second at one server, as its clients saw them
    silence: float  # seconds
    before: float  # seconds, p99 of deliveries to those who stay
    during: float
    reads: float  # of the store, for each resume
    missed: int
    ended: float  # seconds from the signal until the process ended with 0; inf if it did otherwise

    def row(self, what: str) -> tuple[str, ...]:
        return (
            what, f"{self.moved:,}", f"{self.most_back:.1f}", f"{self.all_back:.1f}", f"{self.attempts:.2f}",
            f"{self.herd:.2f}", f"{self.busiest:,}", f"{1000 * self.silence:.0f}", f"{1000 * self.before:.0f}",
            f"{1000 * self.during:.0f}", f"{self.reads:.3f}", f"{self.missed:,}",
        )  # fmt: skip


def table(ground: Ground, pace: Pace) -> tuple[Table, list[Target]]:
    """A drain, a kill, and what a team would have without either: its server ends, its clients try each second."""
    many = pace.sessions
    few = many * 3 // 5
    with _no_collections():
        drained = _belfry(ground.plot("mysql"), signal.SIGTERM, many, RESIDENTS)
        killed = _belfry(ground.plot("mysql"), signal.SIGKILL, few, 1.0)
        naive = _naive(many)
    rows = [
        drained.row("Belfry: SIGTERM, two others take over"),
        killed.row("Belfry: kill -9 of one of three"),
        naive.row("naive: the server ends, fixed retry of 1 s"),
    ]
    ratio = drained.during / drained.before if drained.before else float("inf")
    targets = [
        Target(f"{many:,} clients drained", "<= 15 s", f"{drained.all_back:.1f} s", drained.all_back <= 15.0),
        Target(
            f"SIGTERM to exit 0 with {many:,} clients", "<= 25 s", f"{drained.ended:.1f} s", drained.ended <= DEADLINE
        ),
        Target("drain: attempts a client", "<= 1.05", f"{drained.attempts:.3f}", drained.attempts <= 1.05),
        Target("drain: herd factor", "<= 1.5", f"{drained.herd:.2f}", drained.herd <= 1.5),
        Target("drain: silence p99", "<= 500 ms", f"{1000 * drained.silence:.0f} ms", drained.silence <= 0.5),
        Target("drain: survivors' p99, during / before", "<= 2", f"{ratio:.2f}", ratio <= 2.0),
        Target("drain: store reads a resume", "<= 0.05", f"{drained.reads:.3f}", drained.reads <= 0.05),
        Target("drain: missed", "0", f"{drained.missed}", drained.missed == 0),
        Target(f"kill -9, {few:,} clients: 99 % back", "<= 10 s", f"{killed.most_back:.1f} s", killed.most_back <= 10),
        Target("kill -9: busiest second of a survivor", "<= 500", f"{killed.busiest}", killed.busiest <= 500),
        Target("kill -9: missed", "0", f"{killed.missed}", killed.missed == 0),
    ]
    note = (
        f"Rooms of {ROOM} of the clients that move, {SPOKEN:g} messages a second in each: whoever misses nothing "
        f"still hears nothing for {1000 / SPOKEN:.0f} ms. Servers, clients, database and broker share all cores. "
        "Herd factor: the busiest second of handshakes over their mean, from the first to the last. Silence: "
        "between two messages to a client that moves. After the kill a client finds its server gone and tries "
        "another, as a balancer or the tower would tell it. Naive: trio-websocket, one process a server, no "
        "resume; what is said while a client is away it never sees. The busiest second is as clients saw the "
        "answers come, some milliseconds after they were given: a server says of itself how many it gave, and "
        "never more than its budget (`belfry_handshakes_busiest_second`)."
    )
    return Table("A server leaves", note, COLUMNS, rows), targets


@contextlib.contextmanager
def _no_collections() -> Iterator[None]:
    """Without Python's collector in this process: each time it would be 50 ms in which no client hears anything."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


# --- Belfry ------------------------------------------------------------------------------------------------------


def _belfry(plot: Plot, number: signal.Signals, moving: int, residents: float) -> Outcome:
    secret = secrets.token_hex(32)
    tokens = Tokens(secret.encode())
    rooms = [f"room{at}" for at in range(max(1, moving // ROOM))]
    with contextlib.ExitStack() as exits:
        exits.enter_context(everywhere([os.getpid(), plot.database.pid, plot.kafka.pid]))
        servers = [exits.enter_context(_serving(plot, f"s{at}", secret, rooms)) for at in range(3)]
        crowd = Crowd([server.port for server in servers])
        exits.callback(crowd.close)

        def client(server: Server, at: int, group: str) -> Client:
            user = f"{group}{server.id}-{at}"
            return Client(at, rooms[at % len(rooms)], server.port, tokens.issue(user, "Bench", 7_200.0), group)

        for at in range(len(rooms)):
            crowd.add(client(servers[1], at, "publisher"), at / ARRIVALS, publishes=True)
        for at in range(moving):
            crowd.add(client(servers[0], at, "moving"), at / ARRIVALS)
        for server in servers[1:]:
            for at in range(int(moving * residents)):
                crowd.add(client(server, at, "staying"), at / ARRIVALS)
        return _happen(crowd, servers, number)


@contextlib.contextmanager
def _serving(plot: Plot, id: str, secret: str, rooms: list[str]) -> Iterator[Server]:
    port = free_port()
    flags = {
        "server-id": id, "port": port, "bus": plot.bus, "first-rooms": ",".join(rooms), "send-rate": 0,
        "connections": 20_000, "log-level": "warning",
    }  # fmt: skip
    command = [sys.executable, "-m", "belfry", "serve", *(f"--{name}={value}" for name, value in flags.items())]
    with _process(command, {"BELFRY_SECRET": secret, "BELFRY_DB": plot.db}) as process:
        _until_ready(process, port)
        yield Server(process, port, id)


# --- the naive peer ----------------------------------------------------------------------------------------------


def _naive(moving: int) -> Outcome:
    rooms = [f"naive{at}" for at in range(max(1, moving // ROOM))]
    with contextlib.ExitStack() as exits:
        exits.enter_context(everywhere([os.getpid()]))
        servers = []
        for at in range(2):
            port = free_port()
            command = [sys.executable, "-m", "bench.peers.naive", str(port)]
            servers.append(Server(exits.enter_context(_process(command, {})), port, f"n{at}"))
            _until_answering(servers[-1])
        crowd = Crowd([server.port for server in servers], naive=True)
        exits.callback(crowd.close)
        # The two know nothing of each other, so each room is spoken in on both: a bus that loses nothing.
        for server in servers:
            for at, room in enumerate(rooms):
                crowd.add(Client(at, room, server.port, "", "publisher"), at / ARRIVALS, publishes=True)
        for at in range(moving):
            crowd.add(Client(at, rooms[at % len(rooms)], servers[0].port, "", "moving"), at / ARRIVALS)
        for at in range(int(moving * RESIDENTS)):
            crowd.add(Client(at, rooms[at % len(rooms)], servers[1].port, "", "staying"), at / ARRIVALS)
        return _happen(crowd, servers, signal.SIGTERM)


# --- both --------------------------------------------------------------------------------------------------------


def _happen(crowd: Crowd, servers: list[Server], number: signal.Signals) -> Outcome:
    """Everybody is in, talk flows, and the first server gets the signal."""
    leaving, *others = servers
    everybody = len(crowd.clients)
    moving = [client for client in crowd.clients if client.group == "moving"]
    if not crowd.run(everybody / ARRIVALS + PATIENCE, lambda: crowd.live() == everybody):
        raise Unmeasured(f"{everybody - crowd.live()} of {everybody} clients did not come in")
    crowd.publish(SPOKEN * len({client.room for client in crowd.clients}))
    crowd.run(2.0)
    crowd.watch()
    crowd.run(BEFORE)
    before = share(crowd.tally.latencies.get("staying", ()), 0.99)
    belfry = bool(others[0].id.startswith("s"))
    counts = [server.counts() for server in others] if belfry else []
    crowd.run(BREATH)  # what waited meanwhile was late by our own fault
    crowd.watch()
    began = time.perf_counter()
    leaving.process.send_signal(number)
    gone = {id(client) for client in crowd.clients if client.port == leaving.port and client.group == "publisher"}

    def settled() -> bool:
        return all(
            client.link is not None and client.link.live and client.link.port != leaving.port
            for client in crowd.clients
            if id(client) not in gone
        )

    crowd.run(PATIENCE, settled)
    crowd.run(DEADLINE + AFTER, lambda: leaving.process.poll() is not None)
    ended = time.perf_counter() - began if leaving.process.returncode == 0 else float("inf")
    during = share(crowd.tally.latencies.get("staying", ()), 0.99)
    crowd.run(AFTER)
    crowd.publish(0)
    crowd.run(AFTER)
    back = sorted(client.back - began if client.back > began else float("inf") for client in moving)
    moments = [at for at, port in crowd.tally.handshakes if port != leaving.port]
    window = max(moments) - min(moments) if len(moments) > 1 else 1.0
    by_port = [[at for at, port in crowd.tally.handshakes if port == server.port] for server in others]
    reads = resumes = 0.0
    for server, (read, resumed) in zip(others, counts, strict=False):
        now = server.counts()
        reads, resumes = reads + now[0] - read, resumes + now[1] - resumed
    return Outcome(
        moved=len(moving),
        most_back=share(back, 0.99),
        all_back=back[-1],
        attempts=sum(client.attempts for client in moving) / len(moving),
        herd=busiest(moments) / (len(moments) / max(window, 1.0)) if moments else 0.0,
        busiest=max(map(busiest, by_port)),
        silence=share([client.silence for client in moving], 0.99),
        before=before,
        during=during,
        reads=reads / resumes if resumes else 0.0,
        missed=sum(client.missed for client in moving),
        ended=ended,
    )


@contextlib.contextmanager
def _process(command: list[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process on all cores, ended with the block."""
    process = subprocess.Popen(
        command, env=os.environ | {"PYTHONPATH": str(ROOT)} | environment, cwd=ROOT, stdin=subprocess.DEVNULL,
        preexec_fn=lambda: os.sched_setaffinity(0, CORES),
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _until_ready(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + START
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2):
            return
        time.sleep(0.1)
    raise Unmeasured("a server did not become ready")


def _until_answering(server: Server) -> None:
    deadline = time.monotonic() + START
    while time.monotonic() < deadline and server.process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", server.port), timeout=1):
            return
        time.sleep(0.1)
    raise Unmeasured("the naive peer did not start")
