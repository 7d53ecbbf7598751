"""The real services, started at most once a session, when the first test asks; one that cannot start is an error."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from compose.services import Kafka, Mariadb, Mysql

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def mysql_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mysql]:
    """MySQL 8.0. A test that stops, pauses or sets anything on it takes a server of its own instead."""
    with Mysql(tmp_path_factory.mktemp("mysql")) as server:
        yield server


@pytest.fixture(scope="session")
def mariadb_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mariadb]:
    """MariaDB, with the same rule."""
    with Mariadb(tmp_path_factory.mktemp("mariadb")) as server:
        yield server


@pytest.fixture(scope="session")
def kafka_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    """Kafka, with the same rule; each test has topics of its own, by a prefix."""
    with Kafka(tmp_path_factory.mktemp("kafka")) as server:
        yield server
