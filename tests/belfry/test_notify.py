"""systemd's side of the protocol, played with real sockets: before a notifier alone, and before a real server."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import structlog
from structlog.testing import capture_logs

from belfry.notify import Notifier
from tests.family import kill_family

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PATIENCE = 120.0  # seconds for a start or a stop on a loaded machine; it takes one


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """NOTIFY_SOCKET's value, and the socket behind it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.settimeout(PATIENCE)
        heard.bind(str(tmp_path / "notify"))
        yield str(tmp_path / "notify"), heard


def notifier(address: str) -> Notifier:
    return Notifier(address, structlog.get_logger())


def test_each_word_is_one_datagram(manager: tuple[str, socket.socket]) -> None:
    address, heard = manager
    telling = notifier(address)
    telling.status("opening the database")
    telling.ready("http://127.0.0.1:8000")
    telling.stopping("stopping")
    assert [heard.recv(4096) for _ in range(3)] == [
        b"STATUS=opening the database",
        b"READY=1\nSTATUS=http://127.0.0.1:8000",
        b"STOPPING=1\nSTATUS=stopping",
    ]


def test_a_name_that_is_no_file() -> None:
    name = f"belfry-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.settimeout(PATIENCE)
        heard.bind("\0" + name)
        notifier("@" + name).status("here")
        assert heard.recv(4096) == b"STATUS=here"


def test_without_a_manager_nothing_is_told() -> None:
    with capture_logs() as logs:
        notifier("").ready("http://127.0.0.1:8000")
    assert logs == []


def test_a_manager_that_is_gone_or_deaf_costs_a_warning_and_no_waiting(
    tmp_path: Path, manager: tuple[str, socket.socket]
) -> None:
    address, heard = manager
    with capture_logs() as logs:
        notifier(str(tmp_path / "nobody")).ready("http://127.0.0.1:8000")
        assert [line["log_level"] for line in logs] == ["warning"]
        assert "was not told" in logs[0]["event"]
        deaf = notifier(address)
        while len(logs) == 1:  # a few hundred datagrams fit into the kernel's queue
            deaf.status("x")
    assert heard.recv(4096) == b"STATUS=x"


def test_a_server_is_ready_when_it_serves_and_stopping_when_it_is_told_to(
    tmp_path: Path, manager: tuple[str, socket.socket]
) -> None:
    address, heard = manager
    argv = [sys.executable, "-m", "belfry", "up", "--port", "0", "--data", str(tmp_path / "data")]
    environ = os.environ | {"NOTIFY_SOCKET": address}
    log = tmp_path / "log"
    with log.open("wb") as file, subprocess.Popen(argv, stderr=file, env=environ) as server:
        try:
            told = heard.recv(4096).decode()
            while "READY=1" not in told:
                told = heard.recv(4096).decode()
            opened = next(line for line in map(json.loads, log.read_text().splitlines()) if line["event"] == "open")
            port = opened["addresses"][0].rpartition(":")[2]
            assert told == f"READY=1\nSTATUS=serving on http://127.0.0.1:{port}"
            with socket.create_connection(("127.0.0.1", int(port)), PATIENCE) as asked:
                asked.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                assert b" 200 " in asked.recv(100)
            server.send_signal(signal.SIGTERM)
            assert heard.recv(4096).decode() == "STOPPING=1\nSTATUS=moving its clients, in 25 s at most"
            assert server.wait(PATIENCE) == 0
        finally:
            kill_family(server.pid)


def test_a_server_that_cannot_start_is_never_ready(tmp_path: Path, manager: tuple[str, socket.socket]) -> None:
    address, heard = manager
    (tmp_path / "belfry.db").write_text("Dear diary, " * 1000)
    argv = [sys.executable, "-m", "belfry", "up", "--port", "0", "--data", str(tmp_path)]
    done = subprocess.run(argv, env=os.environ | {"NOTIFY_SOCKET": address}, capture_output=True, timeout=PATIENCE)
    assert done.returncode == 2
    assert heard.recv(4096) == b"STATUS=starting"
    heard.setblocking(False)
    with pytest.raises(BlockingIOError):
        heard.recv(4096)
