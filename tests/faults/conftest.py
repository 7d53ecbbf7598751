"""Real server processes, to be stopped and killed."""

from __future__ import annotations

import contextlib
import signal
import socket
import sqlite3
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING

import pytest
import trio

from belfry.audit.observation import Row, Stored

START_TIMEOUT = 30.0  # seconds; two on an idle machine, most of it imports
STOP_TIMEOUT = 30.0  # seconds; the server's own deadline is shorter in these tests


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


class ServerProcess:
    """`belfry up` in a process of its own; it may be started again on the same data and port."""

    def __init__(self, data: Path, *flags: str) -> None:
        self.data = data
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = data.with_suffix(".log")
        self._flags = flags
        self.process: trio.Process | None = None

    async def launch(self) -> None:
        """Start the process; it is not ready yet."""
        command = [sys.executable, "-m", "belfry", "up", "--port", str(self.port), "--data", str(self.data)]
        with self.log.open("ab") as log:
            self.process = await trio.lowlevel.open_process([*command, *self._flags], stdout=log, stderr=log)

    async def start(self) -> None:
        """Start, and return once it is ready. Fails the test if it ends instead."""
        await self.launch()
        assert self.process is not None
        with trio.fail_after(START_TIMEOUT):
            while not await self._ready():
                assert self.process.poll() is None, self.told()
                await trio.sleep(0.02)

    async def _ready(self) -> bool:
        # The port takes connections while the server still starts, so an answer is asked for.
        try:
            async with await trio.open_tcp_stream("127.0.0.1", self.port) as stream:
                await stream.send_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                return b" 200 " in await stream.receive_some(100)
        except (OSError, trio.BrokenResourceError):
            return False

    def signal(self, number: int) -> None:
        """Send a signal to the running process."""
        assert self.process is not None
        self.process.send_signal(number)

    async def wait(self) -> int:
        """Wait for its end; the exit code, negative for the signal that ended it."""
        assert self.process is not None
        with trio.fail_after(STOP_TIMEOUT):
            return await self.process.wait()

    async def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        assert await self.wait() == -signal.SIGKILL, self.told()

    def history(self, room: str) -> list[Stored]:
        """A room as the database file has it, nonces included, read past the server."""
        with contextlib.closing(sqlite3.connect(f"file:{self.data}/belfry.db?mode=ro", uri=True)) as database:
            number, epoch, head = database.execute(
                "SELECT id, epoch, last_seq FROM room WHERE name = ?", (room,)
            ).fetchone()
            rows = database.execute(
                "SELECT seq, user_id, body, nonce FROM message WHERE room_id = ? ORDER BY seq", (number,)
            ).fetchall()
        return [Stored(room, epoch, head, tuple(Row(*row) for row in rows))]

    def told(self) -> str:
        """The end of what it logged."""
        return self.log.read_text(errors="replace")[-4000:]


if TYPE_CHECKING:
    from pathlib import Path

StartServer = Callable[..., Awaitable[ServerProcess]]


@pytest.fixture
async def start_server(tmp_path: Path) -> AsyncIterator[StartServer]:
    """`await start_server("--flag", ...)` gives a running server; all are gone when the test is over."""
    started: list[ServerProcess] = []

    async def start(*flags: str) -> ServerProcess:
        server = ServerProcess(tmp_path / f"data{len(started)}", *flags)
        started.append(server)
        await server.start()
        return server

    yield start
    for server in started:
        if server.process is not None and server.process.poll() is None:
            server.process.send_signal(signal.SIGKILL)
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 10.0) as patience:
                await server.process.wait()
            assert not patience.cancelled_caught, f"{server.process.pid} does not end"
