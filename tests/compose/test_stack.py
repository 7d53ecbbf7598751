"""Everything that compose.yaml and the Dockerfile execute, executed: on real MySQL and Kafka, behind a real HAProxy."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import httpx
import pytest
import trio

from chat.tokens import Tokens
from db.mysql_connection import Connection
from db.url import MysqlUrl, parse_url
from tests.compose import image
from tests.compose.stack import SERVICES, Stack, seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

TALK = 8  # seconds the audit's clients talk; two restarts fit in
AUDIT = 150.0  # seconds it may take with its start and end on a busy machine


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The image built, the secrets made, MySQL running, and the user there that MySQL's image would make."""
    stack = Stack(tmp_path_factory.mktemp("stack"))
    assert not stack.is_healthy("mysql")
    with stack.mysql:
        stack.wait_healthy("mysql")
        password = (stack.secrets / "mysql_password").read_text().strip()
        trio.run(_change_password, stack.mysql.admin_url(), SERVICES["mysql"]["environment"]["MYSQL_USER"], password)
        yield stack


async def _change_password(url: str, user: str, password: str) -> None:
    parsed = parse_url(url)
    assert isinstance(parsed, MysqlUrl)
    connection = Connection(parsed)
    await connection.open()
    await connection.run(f"ALTER USER '{user}'@'%' IDENTIFIED BY '{password}'".encode())
    connection.drop()


@pytest.fixture(scope="module")
def migrated(stack: Stack) -> Stack:
    """The migrate step has run, twice, as it does at every `docker compose up`."""
    for line in ("made now, with schema", "nothing to do"):
        done = stack.run("migrate")
        assert done.returncode == 0, done.stderr
        assert line in done.stderr
    return stack


@pytest.fixture(scope="module")
def kafka(stack: Stack) -> Iterator[None]:
    """Kafka running; the tests before those that ask for it have none."""
    assert not stack.is_healthy("kafka")
    with stack.kafka:
        stack.wait_healthy("kafka")
        yield


def ask(stack: Stack, path: str) -> httpx.Response:
    context = ssl.create_default_context(cafile=stack.secrets / "tls.pem")
    return httpx.get(f"{stack.url}{path}", verify=context, timeout=20.0)


def test_an_image_without_a_command_tells_what_there_is(stack: Stack) -> None:
    done = stack.run("migrate", "--help")
    assert done.returncode == 0
    assert "belfry COMMAND" in done.stdout
    assert done.stderr == ""


def test_a_server_needs_no_kafka_to_start(migrated: Stack) -> None:
    with migrated.started("chat-2") as alone:
        stop(migrated, "chat-2", alone)


def test_the_image_says_itself_whether_it_lives(migrated: Stack) -> None:
    port = str(migrated.ports["chat-1"])
    check = [word.replace("/opt/belfry", str(migrated.belfry)) for word in image.healthcheck()]
    environ = migrated.environment("chat-1") | {"BELFRY_PORT": port}
    assert subprocess.run(check, env=environ, capture_output=True).returncode == 1
    with migrated.started("chat-1"):
        assert subprocess.run(check, env=environ, capture_output=True).returncode == 0


def test_what_the_balancer_says_while_no_server_is_there(migrated: Stack) -> None:
    with migrated.started("balancer"):
        assert ask(migrated, "/readyz").status_code == 503


def test_the_doctor_is_content_with_the_options_of_both(migrated: Stack, kafka: None) -> None:
    assert migrated.run("chat-1", "bus", "make").returncode == 0
    done = migrated.run("chat-1", "doctor", "--json")
    assert done.returncode == 0, done.stdout
    unhappy = {check["name"] for check in json.loads(done.stdout)["checks"] if check["level"] != "ok"}
    assert unhappy == {"secret"}, "docs/how-to/compose.md says why the secret's file is open inside a container"


def test_the_servers_live_stop_and_are_replaced_under_talk(migrated: Stack, kafka: None) -> None:
    stack = migrated
    environ = os.environ | {
        "SSL_CERT_FILE": str(stack.secrets / "tls.pem"),
        "BELFRY_SECRET_FILE": str(stack.secrets / "belfry_secret"),
    }
    with (
        stack.started("tower") as tower,
        stack.started("chat-1") as first,
        stack.started("chat-2") as second,
        stack.started("balancer") as balancer,
    ):
        await_servers(stack, {"chat-1", "chat-2"})
        assert ask(stack, "/healthz").json() == {"status": "ok"}
        assert ask(stack, "/metrics").status_code == 404
        argv = [sys.executable, "-m", "belfry", "audit", "--url", stack.url, "--clients", "12", "--seconds", str(TALK)]
        with subprocess.Popen(argv, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as audit:
            try:
                time.sleep(2.0)  # they talk
                stop(stack, "chat-1", first)
                with stack.started("chat-1") as first_again:
                    stop(stack, "chat-2", second)
                    with stack.started("chat-2") as second_again:
                        told, _ = audit.communicate(timeout=AUDIT)
                        assert audit.returncode == 0, told
                        balancer.send_signal(getattr(signal, SERVICES["balancer"]["stop_signal"]))
                        balancer.wait(seconds(SERVICES["balancer"]["stop_grace_period"]))
                        stop(stack, "chat-1", first_again)
                        stop(stack, "chat-2", second_again)
                        stop(stack, "tower", tower)
            finally:
                audit.kill()


def await_servers(stack: Stack, names: set[str]) -> None:
    """Wait until the tower, asked with a token from the fleet's own secret, knows these as ready."""
    secret = (stack.secrets / "belfry_secret").read_text().strip()
    token = Tokens(secret.encode()).issue("u_operator", "Operator", 600.0, admin=True)
    deadline = time.monotonic() + 60.0
    ready: set[str] = set()
    while ready != names:
        assert time.monotonic() < deadline, ready
        answer = httpx.get(
            f"http://127.0.0.1:{stack.ports['tower']}/v1/servers",
            headers={"Authorization": f"Bearer {token}"},
            timeout=20.0,
        )
        assert answer.status_code == 200, answer.text
        ready = {server["id"] for server in answer.json()["servers"] if server["state"] == "ready"}
        time.sleep(0.2)


def stop(stack: Stack, service: str, process: subprocess.Popen[bytes]) -> None:
    """As `docker compose stop` does, with the file's signal and grace."""
    process.send_signal(getattr(signal, SERVICES[service]["stop_signal"]))
    assert process.wait(seconds(SERVICES[service]["stop_grace_period"])) == 0, stack.log(service).read_text()
    assert "Traceback" not in stack.log(service).read_text()
