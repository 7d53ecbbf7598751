"""Several processes have one service: started by the first that asks, there as long as any of them."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import ClassVar

import pytest

from compose.services import Service, ServiceError, Shared
from compose.services.ports import is_free

ROOT = Path(__file__).resolve().parents[2]
WAIT = 60.0  # seconds no step comes near to

LISTENS = """
import socket, sys, time
with socket.create_server(("127.0.0.1", int(sys.argv[1]))):
    print("listening", flush=True)
    time.sleep(600)
"""
USES = """
import pathlib, sys
from compose.services import Shared
from tests.compose.test_shared import Listener
with Shared(pathlib.Path(sys.argv[1])) as shared:
    print(shared.service(Listener).port, flush=True)
    input()
"""


class Listener(Service):
    """A service that starts at once."""

    name: ClassVar[str] = "listener"
    version: ClassVar[str] = "1"
    port_wanted: ClassVar[int] = 0

    @classmethod
    def fetch(cls) -> None:
        pass

    @property
    def url(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    def prepare(self) -> None:
        (self.directory / "settings").write_text(str(self.port))  # as Kafka has its port

    def command(self) -> list[str | Path]:
        return [sys.executable, "-c", LISTENS, (self.directory / "settings").read_text()]

    def is_ready(self) -> bool:
        return "listening" in self.log_of_start()


class User:
    """Another process that uses it."""

    def __init__(self, directory: Path) -> None:
        command = [sys.executable, "-c", USES, str(directory)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def end(self) -> None:
        _, _ = self.process.communicate("\n", timeout=WAIT)
        assert self.process.returncode == 0


def test_the_second_finds_what_the_first_started_and_cannot_stop_it(tmp_path: Path) -> None:
    with Shared(tmp_path) as shared:
        first = shared.service(Listener)
        other = User(tmp_path)
        assert other.port == first.port
        other.end()
        assert not is_free(first.port)
    assert is_free(first.port)
    other = User(tmp_path)  # who comes later starts it anew
    assert not is_free(other.port)
    with Shared(tmp_path) as shared:
        second = shared.service(Listener)
        assert second.port == other.port
        with pytest.raises(ServiceError, match="does not run"):
            second.pause()
        second.kill()
        assert not is_free(second.port)
        other_ends = threading.Thread(target=other.end)
        other_ends.start()
        other_ends.join(0.5)
        assert other_ends.is_alive(), "it was stopped under our feet"
        assert not is_free(second.port)
    other_ends.join(WAIT)
    assert is_free(second.port)


def test_what_a_killed_one_had_started_is_gone_with_it_and_started_anew(tmp_path: Path) -> None:
    other = User(tmp_path)
    other.process.kill()
    other.process.communicate()
    deadline = time.monotonic() + WAIT
    while not is_free(other.port):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    with Shared(tmp_path) as shared:
        service = shared.service(Listener)
        assert service.is_running
        assert not is_free(service.port)
