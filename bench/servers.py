"""Servers under test: started as processes of their own on one core, measured from outside, always ended."""

from __future__ import annotations

import contextlib
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
from typing import TYPE_CHECKING

from bench import belfry_side
from bench.errors import Unmeasured
from bench.frames import upgrade_request
from bench.load import CACHE, Script
from bench.processes import CORES, cpu_of, family, resident

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bench.ground import Plot

ROOT = Path(__file__).parent.parent
START_TIMEOUT = 60.0  # seconds; two here, and a database's schema and 200 rooms on a busy machine take ten
STOP_OURS = 30.0  # seconds; its own deadline is 25, and one that is killed leaves its name in the fleet taken
STOP_TIMEOUT = 5.0  # seconds from SIGTERM to SIGKILL: a peer that drains is not what is measured
SERVER_CORE, LOAD_CORE = CORES[0], CORES[-1]


@dataclass(frozen=True, slots=True)
class Kind:
    """A server that can be benchmarked."""

    name: str
    short: str  # on the command line
    module: str = ""  # of a peer; "" is Belfry
    fleet: bool = False  # it stands on a database and a broker


BELFRY = Kind("Belfry", "belfry")
NAIVE = Kind("naive trio-websocket", "naive", "bench.peers.naive")
WEBSOCKETS = Kind("websockets broadcast", "websockets", "bench.peers.websockets_asyncio")
STARLETTE = Kind("Starlette on uvicorn", "starlette", "bench.peers.starlette_uvicorn")
PICOWS = Kind("picows", "picows", "bench.peers.picows_hub")
FLEET = Kind("Belfry", "belfry", fleet=True)
TEAM = Kind("one INSERT a message", "team", "bench.peers.team", fleet=True)
BLASTER = Kind("blaster", "blaster", "bench.peers.blaster")
ECHO = Kind("Belfry's echo", "echo", "tests.chat.echo_server")
ALL = (BELFRY, PICOWS, WEBSOCKETS, STARLETTE, NAIVE)


class NotStarted(Unmeasured):
    """A server did not come up."""


class Server:
    """One running server: what clients need to reach it, and what it uses."""

    def __init__(self, kind: Kind, port: int, process: subprocess.Popen[bytes], log: Path, secret: str) -> None:
        self.kind = kind
        self.port = port
        self.process = process
        self._log = log
        self.secret = secret

    @property
    def request(self) -> bytes:
        """The upgrade request of a client."""
        return upgrade_request("/ws", self.port, None if self.kind.module else belfry_side.SUBPROTOCOL)

    def client(self, number: int, rooms: tuple[str, ...], resume: dict[str, tuple[str, int]] | None = None) -> Script:
        """What the n-th client says to be in `rooms`."""
        if self.kind.module:
            return Script(tuple(b'{"t":"join","room":"%b"}' % room.encode() for room in rooms), len(rooms))
        return belfry_side.script(self.secret, number, rooms, resume or {})

    def silent(self) -> Script:
        """A client that says nothing after its upgrade."""
        return Script()

    def metric(self, name: str) -> float | None:
        """A counter of Belfry's /metrics, summed over its labels; None where there is none."""
        return None if self.kind.module else belfry_side.metric(self.port, name)

    def position(self, room: str) -> tuple[str, int]:
        """Belfry's (epoch, head) of a room."""
        return belfry_side.position(self.port, self.secret, room)

    def cpu(self) -> float:
        """Seconds of processor time it has used, its threads and children included."""
        return sum(map(cpu_of, family(self.process.pid)))

    def resident(self) -> int:
        """Bytes resident in memory."""
        return sum(map(resident, family(self.process.pid)))

    def alive(self) -> bool:
        return self.process.poll() is None

    def last_words(self) -> str:
        """The end of what it printed."""
        return self._log.read_text(errors="replace")[-2000:]


@contextlib.contextmanager
def running(
    kind: Kind,
    *,
    rooms: tuple[str, ...] = (),
    arguments: tuple[str, ...] = (),
    keep: Path | None = None,
    secret: str = "",
    plot: Plot | None = None,
    server_id: str = "s1",
    cores: Iterable[int] = (SERVER_CORE,),
) -> Iterator[Server]:
    """A server that answers, kept on its cores; ended when the block is left, however it is left.

    `arguments` are a peer's own; `keep` and `secret` are Belfry's, for a second start on the first one's data; `plot`
    is what a server of a fleet stands on.
    """
    CACHE.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    # Beside the checkout, not in /tmp: that may be memory, and then a commit would cost nothing.
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="run-") as directory:
        log = Path(directory) / "log"
        secret = secret or secrets.token_hex(32)
        environment = dict(os.environ, PYTHONPATH=str(ROOT))
        if kind.module:
            where = ["--port", str(port)] if kind is ECHO else [str(port)]
            command = [sys.executable, "-m", kind.module, *where, *arguments]
            if plot is not None:
                command += ["--db", plot.db, "--bus", plot.bus]
        elif plot is not None:
            command, more = belfry_side.serve(port, server_id, plot.db, plot.bus, secret, rooms)
            environment.update(more)
        else:
            command, more = belfry_side.command(port, keep or Path(directory) / "data", secret, rooms)
            environment.update(more)
        with log.open("wb") as out:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment, cwd=directory,
                start_new_session=True,
                preexec_fn=lambda: os.sched_setaffinity(0, cores),
            )  # fmt: skip
        server = Server(kind, port, process, log, secret)
        try:
            _wait_until_it_answers(server)
            yield server
        finally:
            _end(server)


def _wait_until_it_answers(server: Server) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline and server.alive():
        # Belfry's supervisor listens before its server is there: a connect alone proves nothing.
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", server.port), timeout=1) as asked:
            if server.kind.module:
                return
            asked.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            if b" 200 " in asked.recv(100):
                return
        time.sleep(0.05)
    raise NotStarted(f"{server.kind.name} did not start; its last words: {server.last_words().strip() or 'none'}")


def _end(server: Server) -> None:
    everybody = family(server.process.pid)
    server.process.send_signal(signal.SIGTERM)
    try:
        server.process.wait(STOP_TIMEOUT if server.kind.module else STOP_OURS)
    except subprocess.TimeoutExpired:
        for pid in everybody:  # the supervisor first: it would start another
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        server.process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
