"""What a fleet stands on: MySQL, MariaDB and Kafka of the bench's own, durable, started when a scenario first asks."""

from __future__ import annotations

import contextlib
import itertools
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

from bench.errors import Unmeasured
from bench.load import CACHE
from bench.processes import cpu_of, on_cores
from compose.services import SERVICES, Kafka, ServiceError
from compose.services.database import Database
from db.mysql_connection import Connection
from db.url import MysqlUrl, parse_url

if TYPE_CHECKING:
    from compose.services import Service

DATABASES = {"mysql": "MySQL", "mariadb": "MariaDB"}
SQL_TIMEOUT = 30.0  # seconds for a statement of the set-up
DURABLE = {"innodb_flush_log_at_trx_commit": 1, "sync_binlog": 1, "log_bin": 1}


class Missing(Unmeasured):
    """A service cannot be had on this machine; the message is one line that says why."""


@dataclass(frozen=True, slots=True)
class Plot:
    """One stage's own database and topics."""

    db: str  # its address
    bus: str
    database: Database
    kafka: Kafka

    def cpu(self) -> float:
        """Seconds of processor time that the database and the broker have used."""
        return cpu_of(self.database.pid) + cpu_of(self.kafka.pid)


class Ground:
    """The services, on the core that is not the servers'; `close` stops them."""

    def __init__(self, core: int) -> None:
        self._core = core
        self._exits = contextlib.ExitStack()
        self._running: dict[str, Service] = {}
        self._missing: dict[str, str] = {}
        self._numbers = itertools.count()
        self._versions: dict[str, str] = {}

    def close(self) -> None:
        """Stop what runs."""
        self._running.clear()
        self._exits.close()

    def words(self) -> str:
        """What runs, and how durable, for the report."""
        return ", ".join(self._versions.values()) or "none asked for"

    def plot(self, database: str) -> Plot:
        """An empty database on "mysql" or "mariadb", and a prefix for topics. Raises Missing."""
        server, kafka = self._service(database), self._service("kafka")
        assert isinstance(server, Database)
        assert isinstance(kafka, Kafka)
        name = f"bench{next(self._numbers)}"
        sql(server.admin_url(), f"CREATE DATABASE {name}")
        return Plot(server.admin_url(name), f"{kafka.url}?prefix={name}.", server, kafka)

    def _service(self, name: str) -> Service:
        if name in self._missing:
            raise Missing(self._missing[name])
        service = self._running.get(name)
        if service is not None and service.is_running:
            return service
        CACHE.mkdir(parents=True, exist_ok=True)
        # Beside the checkout, not in /tmp: that may be memory, and then a commit would cost nothing.
        home = self._exits.enter_context(tempfile.TemporaryDirectory(dir=CACHE, prefix=f"{name}-"))
        service = SERVICES[name](Path(home))
        try:
            self._exits.enter_context(service)
        except ServiceError as error:
            self._missing[name] = f"{name} cannot be started: {str(error).splitlines()[0]}"
            raise Missing(self._missing[name]) from None
        on_cores(service.pid, {self._core})
        self._running[name] = service
        self._versions[name] = self._words(service)
        return service

    def _words(self, service: Service) -> str:
        if not isinstance(service, Database):
            return f"Kafka {service.version}"
        ((version, *values),) = sql(
            service.admin_url(), f"SELECT VERSION(), {', '.join('@@' + one for one in DURABLE)}"
        )
        if values != list(DURABLE.values()):
            found = ", ".join(f"{key}={value}" for key, value in zip(DURABLE, values, strict=True))
            raise SystemExit(f"bench: {service.name} is not durable ({found}): its figures would mean nothing")
        return f"{DATABASES[service.name]} {version} (flush at commit 1, sync_binlog 1, binlog on)"


def sql(url: str, statements: str) -> tuple[tuple[Any, ...], ...]:
    """Run statements; the rows of the last."""

    async def run() -> tuple[tuple[Any, ...], ...]:
        parsed = parse_url(url)
        assert isinstance(parsed, MysqlUrl)
        connection = Connection(parsed)
        with trio.fail_after(SQL_TIMEOUT):
            await connection.open()
            try:
                return (await connection.run(statements.encode()))[-1].rows
            finally:
                connection.drop()

    return trio.run(run)


def cores_words(server: int, load: int) -> str:
    """What runs where, for the report."""
    if os.cpu_count() == 1 or server == load:
        return "everything on one core"
    return f"chat servers on core {server}; load generator, database and broker on core {load}"
