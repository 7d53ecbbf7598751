"""The command line on MySQL and MariaDB: migrate, status, doctor, serve, and what each says when it cannot."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import secrets
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import trio

from belfry import doctor_mysql
from belfry.cli import main
from belfry.doctor_mysql import Facts
from db.mysql_connection import Connection
from db.url import MysqlUrl, parse_url

if TYPE_CHECKING:
    from collections.abc import Iterator

    from compose.services import Mariadb, Mysql

PATIENCE = 120.0  # seconds for a start or a stop on a loaded machine; it takes one
SECRET = secrets.token_urlsafe(48)


def as_admin(url: str, sql: str) -> None:
    async def run() -> None:
        connection = Connection(mysql(url))
        await connection.open()
        await connection.run(sql.encode())
        connection.drop()

    trio.run(run)


def mysql(url: str) -> MysqlUrl:
    parsed = parse_url(url)
    assert isinstance(parsed, MysqlUrl)
    return parsed


@pytest.fixture(params=["mysql", "mariadb"])
def server(request: pytest.FixtureRequest) -> Mysql | Mariadb:
    found: Mysql | Mariadb = request.getfixturevalue(f"{request.param}_server")
    return found


@pytest.fixture
def db(server: Mysql | Mariadb) -> str:
    """The address of a new empty database."""
    name = f"cli_{secrets.token_hex(8)}"
    as_admin(server.admin_url(), f"CREATE DATABASE {name}")
    return server.admin_url(name)


def test_migrate_and_status(db: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["db", "status", "--db", db]) == 1
    assert "no tables yet; `belfry serve` or `belfry db migrate` makes them" in capsys.readouterr().out
    assert main(["db", "migrate", "--db", db]) == 0
    assert "made now, with schema" in capsys.readouterr().err
    assert main(["db", "migrate", "--db", db]) == 0
    assert "nothing to do" in capsys.readouterr().err
    assert main(["db", "status", "--json", "--db", db]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["pending"] == []
    assert "admin:***@" in told["database"]


def test_what_is_wrong_is_one_line(db: str, capsys: pytest.CaptureFixture[str]) -> None:
    url = mysql(db)
    for wrong, code, line in [
        (dataclasses.replace(url, password="hunter2"), 2, "refuses the user or the password"),
        (dataclasses.replace(url, name="nowhere"), 2, "CREATE DATABASE `nowhere`"),
        (dataclasses.replace(url, port=1), 1, "no database answers at 127.0.0.1:1: start it"),
    ]:
        text = f"mysql://{wrong.user}:{wrong.password}@{wrong.host}:{wrong.port}/{wrong.name}"
        for verb in ("migrate", "status"):
            assert main(["db", verb, "--db", text]) == code
            said = capsys.readouterr()
            assert said.out == ""
            assert said.err.count("\n") == 1
            assert line in said.err
            assert "hunter2" not in said.err


# --- doctor ----------------------------------------------------------------------------------------------------


def test_doctor_finds_nothing_wrong_with_the_services(
    db: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BELFRY_SECRET", SECRET)
    main(["db", "migrate", "--db", db])
    capsys.readouterr()
    assert main(["doctor", "--json", "--port", "0", "--connections", "10", "--db", db]) == 0
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
    assert {"database", "durability", "sql mode", "privileges", "capacity", "its clock", "schema"} <= checks.keys()
    assert [check for check in checks.values() if check["level"] == "fail"] == []
    assert re.match(r"(MySQL 8\.0|MariaDB 10\.)", checks["database"]["says"])


def test_doctor_says_why_it_cannot_ask(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BELFRY_SECRET", SECRET)
    assert main(["doctor", "--port", "0", "--db", "mysql://u:hunter2@127.0.0.1:1/chat"]) == 1
    lines = capsys.readouterr().out.splitlines()
    (database,) = [line for line in lines if line.startswith("fail  database")]
    assert "no database answers at 127.0.0.1:1: start it, or correct the URL" in database
    assert "hunter2" not in "".join(lines)


GOOD = Facts(
    variables={
        "version": "8.0.36",
        "innodb_flush_log_at_trx_commit": "1",
        "innodb_doublewrite": "ON",
        "log_bin": "ON",
        "sync_binlog": "1",
        "binlog_format": "ROW",
        "read_only": "OFF",
        "max_allowed_packet": "67108864",
        "max_connections": "151",
        "sql_mode": "STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION",
        "time_zone": "+00:00",
    },
    connected=3,
    grants=("GRANT USAGE ON *.* TO `u`@`%`", "GRANT ALL PRIVILEGES ON `chat`.* TO `u`@`%`"),
    ahead=0.001,
    round_trip=0.0002,
    encrypted=False,
)
HERE = MysqlUrl("u", "p", "127.0.0.1", 3306, "chat")
SERVING = "GRANT SELECT, INSERT, UPDATE, DELETE ON `chat`.* TO `u`@`%`"


def test_doctor_has_nothing_to_say_of_a_good_server() -> None:
    assert {check.level for check in doctor_mysql.judge(GOOD, HERE)} == {"ok"}


@pytest.mark.parametrize(
    ("change", "name", "level", "says"),
    [
        ({"version": "5.7.44"}, "database", "fail", "use MySQL 8.0 or newer"),
        ({"version": "5.5.5-10.5.1-MariaDB"}, "database", "fail", "use MariaDB 10.6 or newer"),
        ({"version": "5.5.5-10.11.6-MariaDB-log"}, "database", "ok", ""),
        ({"version": "11.4.2-MariaDB"}, "database", "ok", ""),
        ({"innodb_flush_log_at_trx_commit": "2"}, "durability", "fail", "innodb_flush_log_at_trx_commit = 1"),
        ({"sync_binlog": "0"}, "durability", "fail", "SET GLOBAL sync_binlog = 1"),
        ({"sync_binlog": "0", "log_bin": "OFF"}, "durability", "ok", ""),
        ({"binlog_format": "STATEMENT"}, "durability", "fail", "binlog_format = ROW"),
        ({"binlog_format": "MIXED"}, "durability", "ok", ""),
        ({"innodb_doublewrite": "OFF"}, "durability", "warn", "my.cnf"),
        ({"sql_mode": ""}, "sql mode", "fail", "a proxy between"),
        ({"time_zone": "SYSTEM"}, "sql mode", "fail", "a proxy between"),
        ({"read_only": "ON"}, "privileges", "fail", "read_only = OFF"),
        ({"max_allowed_packet": "65536"}, "capacity", "fail", "max_allowed_packet = 67108864"),
        ({"max_connections": "8"}, "capacity", "warn", "raise max_connections"),
    ],
)
def test_doctor_finds_a_setting(change: dict[str, str], name: str, level: str, says: str) -> None:
    facts = dataclasses.replace(GOOD, variables={**GOOD.variables, **change})
    (check,) = [check for check in doctor_mysql.judge(facts, HERE) if check.name == name]
    assert check.level == level
    assert says in check.do


@pytest.mark.parametrize(
    ("change", "host", "name", "level"),
    [
        ({"ahead": -3.0}, "127.0.0.1", "its clock", "warn"),
        ({"round_trip": 0.05}, "127.0.0.1", "database", "warn"),
        ({}, "db.example", "database", "warn"),
        ({"encrypted": True}, "db.example", "database", "ok"),
        ({}, "localhost", "database", "ok"),
        ({"grants": (SERVING,)}, "127.0.0.1", "privileges", "warn"),
        ({"grants": (SERVING.replace("DELETE", "DROP"),)}, "127.0.0.1", "privileges", "fail"),
        ({"grants": (SERVING.replace("chat", "other"),)}, "127.0.0.1", "privileges", "fail"),
        ({"grants": (SERVING.replace("`chat`", "*"),)}, "127.0.0.1", "privileges", "warn"),
        ({"grants": ("GRANT ALL PRIVILEGES ON *.* TO 'u'@'%' WITH GRANT OPTION",)}, "127.0.0.1", "privileges", "ok"),
    ],
)
def test_doctor_finds_a_fact(change: dict[str, Any], host: str, name: str, level: str) -> None:
    facts = dataclasses.replace(GOOD, **change)
    (check,) = [one for one in doctor_mysql.judge(facts, dataclasses.replace(HERE, host=host)) if one.name == name]
    assert check.level == level


# --- serve -----------------------------------------------------------------------------------------------------


@contextmanager
def serving(db: str) -> Iterator[tuple[httpx.Client, subprocess.Popen[str]]]:
    """A `belfry serve` of its own process, and a client of its API who has come in as a guest."""
    argv = [sys.executable, "-m", "belfry", "serve", "--port", "0", "--guests", "--first-rooms", "lobby",
            "--bus", "memory:", "--log-format", "json"]  # fmt: skip
    environ = os.environ | {"BELFRY_SECRET": SECRET, "BELFRY_DB": db}
    with subprocess.Popen(argv, env=environ, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            for line in process.stderr:
                if found := re.search(r'"(http://127\.0\.0\.1:\d+)"', line):
                    break
            else:
                pytest.fail("it did not start")
            with httpx.Client(base_url=found[1], timeout=PATIENCE) as client:
                guest = client.post("/v1/guests", json={"name": "Ada"}).raise_for_status().json()
                client.headers["Authorization"] = f"Bearer {guest['token']}"
                yield client, process
        finally:
            process.kill()


def texts(client: httpx.Client) -> list[str]:
    page = client.get("/v1/rooms/lobby/messages").raise_for_status().json()
    return [message["text"] for message in page["messages"]]


def say(client: httpx.Client, text: str) -> int:
    sent = client.post(
        "/v1/rooms/lobby/messages", json={"text": text}, headers={"Idempotency-Key": text.replace(" ", "-")}
    )
    seq: int = sent.raise_for_status().json()["seq"]
    return seq


def test_two_servers_on_one_database_are_one_chat(db: str) -> None:
    with serving(db) as (one, first), serving(db) as (two, _):
        assert say(one, "from one") == 1
        assert say(two, "from two") == 2
        assert texts(one) == texts(two) == ["from one", "from two"]
        first.kill()
        assert say(two, "alone") == 3
    with serving(db) as (again, process):
        assert texts(again) == ["from one", "from two", "alone"]
        assert say(again, "alone") == 4  # another guest's key
        process.terminate()
        assert process.wait(PATIENCE) == 0


def ended(db: str) -> tuple[int, str]:
    """The exit code of a `belfry serve` that cannot start, and what it said."""
    argv = [sys.executable, "-m", "belfry", "serve", "--port", "0", "--bus", "memory:"]
    environ = os.environ | {"BELFRY_SECRET": SECRET, "BELFRY_DB": db}
    done = subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=PATIENCE)
    return done.returncode, done.stderr


def test_a_server_that_cannot_start_says_why_in_one_line(db: str, capsys: pytest.CaptureFixture[str]) -> None:
    url = mysql(db)
    home = f"{url.host}:{url.port}"
    assert main(["db", "migrate", "--db", db]) == 0
    as_admin(db, "INSERT INTO schema_version VALUES (9999, 'far', NOW(6))")
    for address, code, line in (
        (f"mysql://{url.user}:hunter2@{home}/{url.name}", 2, "refuses the user or the password: correct the URL"),
        (f"mysql://{url.user}:{url.password}@{home}/nowhere", 2, "CREATE DATABASE `nowhere` CHARACTER SET utf8mb4"),
        (f"mysql://{url.user}:{url.password}@127.0.0.1:1/x", 1, "no database answers at 127.0.0.1:1: start it"),
        (db, 2, "has schema 9999, made by a newer Belfry"),
    ):
        got, said = ended(address)
        assert (got, said.count("\n")) == (code, 1), said
        assert line in said
        assert "hunter2" not in said


def test_a_schema_that_is_behind_is_left_to_its_operator(db: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["db", "migrate", "--db", db])
    as_admin(db, "DELETE FROM schema_version")
    as_admin(db, "INSERT INTO schema_version VALUES (9999, 'far', NOW(6))")
    capsys.readouterr()
    assert main(["db", "migrate", "--db", db]) == 2
    assert "schema 9999, made by a newer Belfry" in capsys.readouterr().err
