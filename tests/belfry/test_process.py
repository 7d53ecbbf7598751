"""The real program as a real process: start, stop, stop at once, and what a person can get wrong."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.family import kill_family

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PATIENCE = 120.0  # seconds for a start or a stop on a loaded machine; it takes one


class Belfry:
    """A `belfry up` that has told its address."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self.port = int(self.until(r"http://127\.0\.0\.1:(\d+)")[1])

    def until(self, pattern: str) -> re.Match[str]:
        """Read stderr up to a line that matches; the process's end ends it too."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)
            if found := re.search(pattern, line):
                return found
        raise AssertionError(f"no line matches {pattern}: {''.join(self.lines)}")

    def end(self) -> int:
        code = self.process.wait(PATIENCE)
        assert self.process.stderr is not None
        self.lines += self.process.stderr.readlines()
        assert "Traceback" not in "".join(self.lines)
        return code


@contextmanager
def killed_at_last(process: subprocess.Popen[str]) -> Iterator[None]:
    """Kill it at the end, or when it hangs: that frees whoever reads its stderr."""
    timer = threading.Timer(PATIENCE, kill_family, [process.pid])
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        kill_family(process.pid)


@contextmanager
def belfry(data: Path, *flags: str) -> Iterator[Belfry]:
    argv = [sys.executable, "-m", "belfry", "up", "--data", str(data), "--port", "0", *flags]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as process, killed_at_last(process):
        yield Belfry(process)


def failed(*argv: str, code: int = 2) -> str:
    """The one line of a run that cannot be."""
    done = subprocess.run([sys.executable, "-m", "belfry", *argv], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    return done.stderr.strip()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_up_serves_and_a_signal_ends_it_whole(tmp_path: Path, number: int) -> None:
    with belfry(tmp_path / "data") as server:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/healthz", timeout=PATIENCE) as response:
            assert response.status == 200
        server.process.send_signal(number)
        assert server.end() == 0
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["belfry.db", "belfry.lock", "secret"]
    for line in server.lines:
        json.loads(line)  # not a terminal: each line is JSON, the start-up too


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    with (
        belfry(tmp_path, "--drain-deadline", "1h") as server,
        socket.create_connection(("127.0.0.1", server.port)) as client,
    ):
        client.sendall(b"GET / HTTP/1.1\r\n")  # half a request keeps the drain waiting
        server.process.send_signal(signal.SIGTERM)
        server.until("stopping")
        server.process.send_signal(signal.SIGINT)
        assert server.end() == 128 + signal.SIGINT
    with belfry(tmp_path) as again:  # nothing is left locked
        again.process.terminate()
        assert again.end() == 0


def test_the_end_of_a_terminal_is_a_stop_and_sends_more_than_one_signal(tmp_path: Path) -> None:
    argv = ["serve", "--db", f"sqlite:///{tmp_path}/b.db", "--bus", "memory:", "--port", "0", "--drain-deadline", "2"]
    environ = os.environ | {"BELFRY_SECRET": "Zr8pQ1xLw93mTb5yVc7dKs2hNf6gJe4a"}
    with (
        subprocess.Popen(
            [sys.executable, "-m", "belfry", *argv], stderr=subprocess.PIPE, text=True, env=environ
        ) as process,
        killed_at_last(process),
    ):
        server = Belfry(process)
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(b"GET / HTTP/1.1\r\n")  # half a request keeps the drain waiting
            process.send_signal(signal.SIGHUP)
            server.until("SIGHUP: stopping")
            process.send_signal(signal.SIGHUP)
            assert server.end() == 0


def test_sighup_to_a_supervised_server_names_its_supervisor(tmp_path: Path) -> None:
    with belfry(tmp_path) as server:
        told = json.loads(server.lines[-1])
        os.kill(told["server_pid"], signal.SIGHUP)
        server.until(f"SIGHUP: send it to process {server.process.pid}, which redeploys this server")
        server.process.terminate()
        assert server.end() == 0


def test_what_is_taken_is_told(tmp_path: Path) -> None:
    with belfry(tmp_path) as server:
        line = failed("up", "--data", str(tmp_path / "other"), "--port", str(server.port))
        assert line.startswith(
            f"belfry: --port (flag): port {server.port} on 127.0.0.1 is taken by process {server.process.pid} ("
        )
        assert re.search(r"; stop it, or choose another port: --port \d+$", line)
        line = failed("up", "--data", str(tmp_path), "--port", "0")
        assert f"{tmp_path} is in use by process {server.process.pid}" in line


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "belfry.db").write_text("Dear diary, " * 1000)
    assert "is not a SQLite database" in failed("up", "--data", str(tmp_path), "--port", "0")


def test_serve_with_its_secret_in_a_file_takes_no_guests(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("Zr8pQ1xLw93mTb5yVc7dKs2hNf6gJe4a\n")
    argv = ["serve", "--db", f"sqlite:///{tmp_path}/b.db", "--bus", "memory:", "--port", "0", "--log-format", "human"]
    environ = os.environ | {"BELFRY_SECRET_FILE": str(tmp_path / "s")}
    with (
        subprocess.Popen(
            [sys.executable, "-m", "belfry", *argv], stderr=subprocess.PIPE, text=True, env=environ
        ) as process,
        killed_at_last(process),
    ):
        server = Belfry(process)
        asked = urllib.request.Request(
            f"http://127.0.0.1:{server.port}/v1/guests",
            b'{"name": "Ada"}',
            {"Content-Type": "application/json"},
            method="POST",
        )
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(asked, timeout=PATIENCE)
        with refused.value as answer:
            assert answer.status == 403
            assert json.load(answer)["code"] == "guests_off"
        process.terminate()
        assert server.end() == 0
    assert any(line.startswith("belfry: open: http://") for line in server.lines)
