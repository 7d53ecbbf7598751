"""A real server in its own process, for pages whose promises only a real one can keep."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import trio

from compose.services.ports import free_port
from tests.family import kill_family, wait_gone

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ROOT = Path(__file__).parent.parent.parent
START = 120.0  # seconds for a server to open; two are common, a busy machine needs more


class Server:
    """`belfry up` on a directory, started, killed and started again on the same port."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.data = directory / "data"
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._starts = 0

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self, *flags: str) -> None:
        """Start it and wait until it is open."""
        self._starts += 1
        log = self.directory / f"server-{self._starts}.log"
        command = [sys.executable, "-m", "belfry", "up", "--port", str(self.port), "--data", str(self.data), *flags]
        environ = {name: value for name, value in os.environ.items() if not name.startswith("BELFRY_")}
        with log.open("wb") as file:
            # trio's own would tie its life to a task; what is killed and started again belongs to the test
            self._process = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=file, stderr=file)  # noqa: ASYNC220
        with trio.fail_after(START):
            while (opened := _opened(log)) is None:
                assert self._process.poll() is None, log.read_text()
                await trio.sleep(0.02)
        self.port = int(opened["addresses"][0].rpartition(":")[2])

    def kill(self, number: int = signal.SIGKILL) -> int:
        """Send a signal and wait for the end, with kill -9 for that of what it started too; the exit code."""
        assert self._process is not None
        family: list[int] = []
        if number == signal.SIGKILL:
            family = kill_family(self._process.pid)
        else:
            self._process.send_signal(number)
        code = self._process.wait(timeout=40)
        wait_gone(family)
        return code

    async def guest(self, name: str) -> str:
        """A guest's token."""
        async with httpx.AsyncClient() as http:
            answer = await http.post(f"http://127.0.0.1:{self.port}/v1/guests", json={"name": name})
        token: str = answer.raise_for_status().json()["token"]
        return token

    def end(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()


def _opened(log: Path) -> dict[str, Any] | None:
    for line in log.read_text().splitlines():
        if line.endswith("}") and (said := json.loads(line)).get("event") == "open":
            opened: dict[str, Any] = said
            return opened
    return None


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    """A running server with guests."""
    running = Server(tmp_path)
    try:
        await running.start()
        yield running
    finally:
        running.end()
