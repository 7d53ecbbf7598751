"""Two people in two browsers on two servers, over MySQL and Kafka: the broker is killed while they talk."""

from __future__ import annotations

import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
import trio
from playwright.sync_api import expect

from compose.services import Kafka, Mysql
from db.mysql_connection import Connection
from db.url import MysqlUrl, parse_url
from tests.browser.conftest import Server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.browser.conftest import MakePerson, Person


class FleetServer(Server):
    """`belfry serve`, one of several."""

    def command(self) -> list[str]:
        return ["serve", "--server-id", self.data.name]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Kafka]:
    """A broker of the test's own, to be killed."""
    with Kafka(tmp_path / "kafka") as kafka:
        yield kafka


@pytest.fixture
def servers(tmp_path: Path, mysql_server: Mysql, broker: Kafka) -> Iterator[list[FleetServer]]:
    """Two running servers over an empty database."""
    name = f"browsers_{secrets.token_hex(4)}"
    with ThreadPoolExecutor(1) as elsewhere:  # Playwright has a loop of its own in this thread
        elsewhere.submit(trio.run, make_database, mysql_server, name).result()
    shared = {
        "BELFRY_DB": mysql_server.admin_url(name),
        "BELFRY_BUS": broker.url,
        "BELFRY_SECRET": secrets.token_urlsafe(48),
    }
    made = [FleetServer(tmp_path / name, "--guests", "--first-rooms", "lobby") for name in ("s1", "s2")]
    for server in made:
        server.environ = shared
    try:
        for server in made:
            server.start()
        yield made
    finally:
        for server in made:
            server.end()


async def make_database(server: Mysql, name: str) -> None:
    url = parse_url(server.admin_url())
    assert isinstance(url, MysqlUrl)
    connection = Connection(url)
    await connection.open()
    await connection.run(f"CREATE DATABASE {name}".encode())
    connection.drop()


def talk(people: list[Person], said: list[str], about: str) -> None:
    """Everybody says something by turns, and sees what everybody said."""
    for turn in range(3):
        for person in people:
            said.append(f"{about} {turn} from {person.server.data.name}")
            person.say(said[-1])
            for reader in people:
                expect(reader.log.get_by_text(said[-1], exact=True)).to_be_visible()


def test_two_browsers_on_two_servers_talk_on_while_the_broker_is_killed(
    servers: list[FleetServer], broker: Kafka, make_person: MakePerson
) -> None:
    people = [make_person(server) for server in servers]
    for person, name in zip(people, ("Ada", "Bo"), strict=True):
        person.join(name)
    for person in people:
        expect(person.page.get_by_role("complementary", name="People").get_by_role("listitem")).to_have_count(2)
    said: list[str] = []
    talk(people, said, "with the broker")
    broker.kill()
    talk(people, said, "without it")
    for person in people:
        expect(person.status).to_have_attribute("data-state", "live")  # nobody is told: nothing is wrong for them
    broker.start()
    talk(people, said, "with it again")
    for person, server in zip(people, servers, strict=True):
        person.settled()
        assert person.texts() == said
        assert [message["text"] for message in server.history("lobby")] == said
        expect(person.page.get_by_role("complementary", name="People").get_by_role("listitem")).to_have_count(2)
