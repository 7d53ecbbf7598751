"""Real server processes, to be stopped and killed: one on SQLite, or a fleet on services that may be killed too."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING

import pytest
import trio

from compose.services import Kafka, Mysql
from tests.faults.fleet import Fleet
from tests.faults.process import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from compose.services.database import Database

StartServer = Callable[..., Awaitable[ServerProcess]]
MakeFleet = Callable[..., Awaitable[Fleet]]

_numbers = itertools.count()


@pytest.fixture
async def start_server(tmp_path: Path) -> AsyncIterator[StartServer]:
    """`await start_server("--flag", ...)` gives a running server; all are gone when the test is over."""
    started: list[ServerProcess] = []

    async def start(*flags: str) -> ServerProcess:
        server = ServerProcess(tmp_path / f"data{len(started)}", *flags)
        started.append(server)
        await server.start()
        return server

    yield start
    for server in started:
        await server.end()


@pytest.fixture(scope="session")
def faulty_mysql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mysql]:
    """MySQL that fleets' tests kill and pause: their own, for others are promised one that stays."""
    with Mysql(tmp_path_factory.mktemp("faulty-mysql")) as server:
        yield server


@pytest.fixture(scope="session")
def faulty_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    """Kafka, with the same rule."""
    with Kafka(tmp_path_factory.mktemp("faulty-kafka")) as server:
        yield server


@pytest.fixture
async def make_fleet(faulty_mysql: Mysql, faulty_kafka: Kafka, tmp_path: Path) -> AsyncIterator[MakeFleet]:
    """`await make_fleet(2)` gives two running servers over a database and topics of the test's own."""
    made: list[Fleet] = []

    async def make(count: int = 2, *flags: str, start: bool = True, database: Database = faulty_mysql) -> Fleet:
        for service in (database, faulty_kafka):  # as the test before may have left them
            service.resume()
            if not service.is_running:
                await trio.to_thread.run_sync(service.start)
        fleet = await Fleet.make(f"fleet{next(_numbers)}", database, faulty_kafka, tmp_path, count, *flags)
        made.append(fleet)
        if start:
            await fleet.start()
        return fleet

    yield make
    for fleet in made:
        for server in fleet.servers:
            await server.end()
