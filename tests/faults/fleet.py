"""Several `belfry serve` over one MySQL and one Kafka, and audit clients spread over them."""

from __future__ import annotations

import contextlib
import math
import os
import secrets
import signal
import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import trio
from chat_world import Client, until

from belfry.audit.address import read_address
from belfry.audit.latencies import Latencies
from belfry.audit.observation import Acked, Saw, Sent
from belfry.audit.run import Load, Run
from chat.tokens import Tokens
from compose.services.service import wait_stopped
from db.mysql_connection import Connection
from db.url import MysqlUrl, parse_url
from tests.faults.process import ServerProcess
from tests.faults.story import Story, new_seed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from belfry.audit.observation import Observation
    from belfry.audit.verdict import Verdict
    from compose.services import Kafka
    from compose.services.database import Database

# A room that visitors come into; who listens only now and then is not taken for gone, however slow the machine is.
WITH_A_LOBBY = ("--first-rooms", "lobby", "--heartbeat", "10m")
TALK_TIMEOUT = 300.0  # seconds from the first client to the verdict, the faults between included
LONG = "TESTS_LONG"  # when this variable is set, faults last a minute


def lasting(seconds: float) -> float:
    """How long a fault lasts: as given, or a minute when TESTS_LONG is set."""
    return 60.0 if os.environ.get(LONG) else seconds


class FleetServer(ServerProcess):
    """`belfry serve` in a process of its own."""

    def __init__(self, data: Path, db: str, bus: str, secret: str, *flags: str) -> None:
        super().__init__(data, *flags)
        self.id = data.name
        self.bus = bus
        # In the environment, as people are told to give an address with a password.
        self.environ = os.environ | {"BELFRY_SECRET": secret, "BELFRY_DB": db}

    def command(self) -> list[str]:
        named = ["--server-id", self.id, "--port", str(self.port), "--bus", self.bus]
        return [sys.executable, "-m", "belfry", "serve", *named, *self._flags]

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """SIGSTOP for the block: its sockets stay open and nothing answers."""
        self.signal(signal.SIGSTOP)
        assert self.process is not None
        wait_stopped(self.process.pid)
        try:
            yield
        finally:
            self.signal(signal.SIGCONT)


@dataclass
class Fleet:
    """The servers, and what they stand on."""

    name: str
    mysql: Database
    kafka: Kafka
    secret: str
    servers: list[FleetServer] = field(default_factory=list)

    @classmethod
    async def make(cls, name: str, mysql: Database, kafka: Kafka, directory: Path, count: int, *flags: str) -> Fleet:
        """A fleet with an empty database, a user and topics of its own; nothing runs yet."""
        await sql(
            mysql.admin_url(),
            f"CREATE DATABASE {name}; CREATE USER {name} IDENTIFIED BY '{name}'; GRANT ALL ON {name}.* TO {name}",
        )
        fleet = cls(name, mysql, kafka, secrets.token_urlsafe(48))
        for number in range(count):
            fleet.add(directory / f"{name}-{number}", *flags)
        return fleet

    @property
    def db(self) -> str:
        return self.db_at(self.mysql.port)

    def db_at(self, port: int) -> str:
        """The database, reached by another port."""
        return f"mysql://{self.name}:{self.name}@127.0.0.1:{port}/{self.name}"

    @property
    def bus(self) -> str:
        return f"{self.kafka.url}?prefix={self.name}."

    def add(self, data: Path, *flags: str) -> FleetServer:
        """One more server, not running yet."""
        always = ["--guests", "--reconnect-window", "0.5", "--drain-deadline", "10", "--send-rate", "0"]
        server = FleetServer(data, self.db, self.bus, self.secret, *always, *flags)
        self.servers.append(server)
        return server

    async def start(self) -> None:
        """Start all at once; each fills the empty database if it is first."""
        async with trio.open_nursery() as nursery:
            for server in self.servers:
                nursery.start_soon(server.start)

    @contextlib.asynccontextmanager
    async def visit(self, server: FleetServer, user: str, **hello: Any) -> AsyncIterator[Client]:
        """Somebody in the room `lobby` on this server, frame by frame; gone without a word at the block's end."""
        token = Tokens(self.secret.encode()).issue(user, user.title(), 3_600.0)
        async with await trio.open_tcp_stream("127.0.0.1", server.port) as stream:
            client = await Client(stream).upgrade()
            await client.say({"t": "hello", "token": token} | hello)
            await client.hear("welcome")
            if "resume" not in hello:
                await client.join()
            yield client

    async def until_on_bus(self) -> None:
        """Wait until all servers hear each other over Kafka."""
        for server in self.servers:
            await server.until_told("is reached")

    @contextlib.asynccontextmanager
    async def talking(
        self, clients: int = 24, rooms: int = 3, rate: float = 40.0, settle: float = 120.0
    ) -> AsyncIterator[Talk]:
        """Clients spread over all servers talk while the block runs; at its end every promise must have held."""
        seed = new_seed()
        load = Load(clients, rooms, rate, math.inf, seed, settle, backoff_cap=0.7)
        first, *others = [read_address(server.url) for server in self.servers]
        talk = Talk(self, Run(load, first, others=tuple(others)))
        talk.run.also = talk.observe
        try:
            with trio.fail_after(TALK_TIMEOUT + lasting(0.0)):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(talk.go)
                    await talk.run.talking.wait()
                    await trio.sleep(0.5)
                    yield talk
                    await trio.sleep(0.5)
                    talk.run.stop.set()
        finally:
            print("\n".join([f"TESTS_SEED={seed}", *talk.lines()]))
        talk.judge()


class Talk:
    """A run of the audit over a fleet, and how long deliveries from server to server took."""

    def __init__(self, fleet: Fleet, run: Run) -> None:
        self.fleet = fleet
        self.run = run
        self.story = Story()
        self.verdict: Verdict | None = None
        self.delays: dict[str, Latencies] = {}
        self.acks: Counter[int] = Counter()  # by the port of the server
        self._phase = "calm"
        self._sent: dict[str, tuple[float, int, str]] = {}  # text -> when, from which port, in which phase

    async def go(self) -> None:
        self.verdict = await self.run.run()

    def note(self, what: str, phase: str = "") -> None:
        """What happens now; from here on delays are counted under `phase`, if one is given."""
        self.story.note(what)
        self._phase = phase or self._phase

    def observe(self, observation: Observation) -> None:
        self.story.observe(observation)
        if isinstance(observation, Sent):
            self._sent[observation.text] = trio.current_time(), self._port(observation.client), self._phase
        elif isinstance(observation, Acked):
            self.acks[self._port(observation.client)] += 1
        elif isinstance(observation, Saw) and (sent := self._sent.get(observation.text)) is not None:
            at, port, phase = sent
            if self._port(observation.client) != port:
                self.delays.setdefault(phase, Latencies()).add(trio.current_time() - at)

    def _port(self, client: str) -> int:
        link = self.run.clients[int(client[1:])].link
        return link.address.port if link is not None else 0

    def crossed(self, phase: str) -> int:
        """Deliveries of messages sent in this phase to a client on another server."""
        return self.delays[phase].total if phase in self.delays else 0

    async def until_crossed(self, phase: str, count: int = 100) -> None:
        """Wait until so many deliveries of this phase went from server to server."""
        await until(lambda: self.crossed(phase) >= count)

    async def until_acked(self, server: ServerProcess, count: int = 50) -> None:
        """Wait until this server has acknowledged so many more."""
        enough = self.acks[server.port] + count
        await until(lambda: self.acks[server.port] >= enough)

    def lines(self) -> list[str]:
        """What it was like, for people: no test asserts a time."""
        said = [
            f"{phase}: {delays.total:,} deliveries to another server, p50 {1000 * delays.share(0.5):.0f} ms,"
            f" p99 {1000 * delays.share(0.99):.0f} ms, longest {1000 * delays.longest:.0f} ms"
            for phase, delays in self.delays.items()
        ]
        meter = self.run.meter
        said.append(f"acks p99 {1000 * meter.acks.share(0.99):.0f} ms, longest {1000 * meter.acks.longest:.0f} ms")
        return [*self.story.events, *said, *(self.verdict.lines() if self.verdict is not None else [])]

    def judge(self) -> None:
        """Every promise held, everybody has everything, nobody was told a gap: the store keeps all."""
        verdict, run = self.verdict, self.run
        assert verdict is not None
        told = self.story.about(run, *self.fleet.servers)
        assert verdict.ok, told
        assert run.settled, told
        assert not run.meter.stopped, told
        assert verdict.counts.gaps == 0, told
        assert verdict.counts.unacknowledged == verdict.counts.refused == 0, told
        assert verdict.counts.sent > 20, told
        assert self.crossed("calm") > 0, told


async def sql(url: str, statements: str) -> tuple[tuple[Any, ...], ...]:
    """Run statements as whom the address names; the rows of the last."""
    parsed = parse_url(url)
    assert isinstance(parsed, MysqlUrl)
    connection = Connection(parsed)
    with trio.fail_after(30.0):
        await connection.open()
        results = await connection.run(statements.encode())
    connection.drop()
    return results[-1].rows
