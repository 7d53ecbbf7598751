"""The real services, started at most once, when the first test asks; one that cannot start is an error.

Several pytest processes of one run (`-n 3`) share them: none of them sees more of the others than their load.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadFileScheduling

from compose.services import Kafka, Mariadb, Mysql, Shared

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xdist.remote import Producer


# No test says how fast anything is: on a machine that does other things too, none could.
settings.register_profile("belfry", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("belfry")

TESTS = Path(__file__).parent
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")  # which of several processes of one run this is; "" is the only one

# What takes the longest first: what is short then fills the gaps at the end. Browsers compute while faults wait, so
# these two are mixed, evenly.
FIRST = ("faults/test_kill.py", "faults|browser", "bus", "compose", "db", "chat")
APART = "tests/faults/"  # each test here starts servers of its own and takes up to minutes; elsewhere a file is a piece


class Pieces(LoadFileScheduling):
    """What several processes share out among themselves: files, and single tests where these take minutes."""

    def _split_scope(self, nodeid: str) -> str:
        return _piece(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Pieces:
    """Called by pytest-xdist in the process that shares out."""
    return Pieces(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order what several processes share out."""
    if not WORKER:
        return
    pieces: dict[str, dict[str, int]] = {}  # folder -> its pieces, with their places in it
    for item in items:
        of_folder = pieces.setdefault(_folder(item), {})
        of_folder.setdefault(_piece(item.nodeid), len(of_folder))

    def place(item: pytest.Item) -> tuple[int, float]:
        path = item.path.relative_to(TESTS).as_posix()
        rank = next((number for number, first in enumerate(FIRST) if re.match(first, path)), len(FIRST))
        of_folder = pieces[_folder(item)]
        return rank, of_folder[_piece(item.nodeid)] / len(of_folder)

    items.sort(key=place)


def _folder(item: pytest.Item) -> str:
    return item.path.relative_to(TESTS).parts[0]


def _piece(nodeid: str) -> str:
    return nodeid if nodeid.startswith(APART) else nodeid.split("::", 1)[0]


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    """The services of this run."""
    base = tmp_path_factory.getbasetemp()  # a process's own, below the run's if it is one of several
    with Shared((base.parent if WORKER else base) / "services") as services:
        yield services


@pytest.fixture(scope="session")
def mysql_server(shared: Shared) -> Mysql:
    """MySQL 8.0. A test that stops, pauses or sets anything on it takes a server of its own instead."""
    return shared.service(Mysql)


@pytest.fixture(scope="session")
def mariadb_server(shared: Shared) -> Mariadb:
    """MariaDB, with the same rule."""
    return shared.service(Mariadb)


@pytest.fixture(scope="session")
def kafka_server(shared: Shared) -> Kafka:
    """Kafka, with the same rule; each test has topics of its own, by a prefix."""
    return shared.service(Kafka)
