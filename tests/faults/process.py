"""A real server in a process of its own, to be stopped, paused and killed, and started again on the same port."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
import sys
from typing import TYPE_CHECKING

import trio

from belfry.audit.observation import Row, Stored
from compose.services.ports import free_port
from tests.family import children, kill_family, lives

if TYPE_CHECKING:
    from pathlib import Path

START_TIMEOUT = 120.0  # seconds; two on an idle machine, most of it imports
TOLD_TIMEOUT = 60.0  # seconds; what is waited for comes at once, or after a broker's start
STOP_TIMEOUT = 120.0  # seconds; the server's own deadline is shorter in these tests


class ServerProcess:
    """`belfry up` in a process of its own; it may be started again on the same data and port."""

    def __init__(self, data: Path, *flags: str) -> None:
        self.data = data
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = data.with_suffix(".log")
        self.process: trio.Process | None = None
        self.environ: dict[str, str] | None = None  # of the next start; None is ours
        self.cwd: Path | None = None  # where it runs; None is where we do
        self._flags = flags
        self._killed: list[int] = []

    def more(self, *flags: str) -> None:
        """More flags for the next start."""
        self._flags += flags

    def command(self) -> list[str]:
        """What is run."""
        belfry = [sys.executable, "-m", "belfry"]
        return [*belfry, "up", "--port", str(self.port), "--data", str(self.data), *self._flags]

    async def launch(self) -> None:
        """Start the process; it is not ready yet."""
        with self.log.open("ab") as log:
            self.process = await trio.lowlevel.open_process(
                self.command(), stdout=log, stderr=log, env=self.environ, cwd=self.cwd
            )

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
        """Send a signal to the running process; kill -9 ends its server process too, as a power cut would."""
        assert self.process is not None
        if number == signal.SIGKILL:
            self._killed += kill_family(self.process.pid)
        else:
            self.process.send_signal(number)

    def servers(self) -> list[int]:
        """The processes that a supervisor has started, the oldest first; none where there is no supervisor."""
        assert self.process is not None
        return children(self.process.pid)

    async def wait(self) -> int:
        """Wait for its end; the exit code, negative for the signal that ended it."""
        assert self.process is not None
        with trio.fail_after(STOP_TIMEOUT):
            code = await self.process.wait()
            while any(lives(pid) for pid in self._killed):  # noqa: ASYNC110  # not our children: nobody tells
                await trio.sleep(0.005)
            self._killed.clear()
            return code

    async def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        assert await self.wait() == -signal.SIGKILL, self.told()

    async def end(self) -> None:
        """Be gone, whatever the test did, paused or running."""
        if self.process is not None and self.process.poll() is None:
            self.signal(signal.SIGKILL)
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 10.0) as patience:
                await self.process.wait()
            assert not patience.cancelled_caught, f"{self.process.pid} does not end"

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

    async def until_told(self, what: str, count: int = 1) -> None:
        """Wait until it has logged this so many times."""
        with trio.move_on_after(TOLD_TIMEOUT) as patience:
            while self.log.read_text(errors="replace").count(what) < count:
                assert self.process is not None
                assert self.process.poll() is None, self.told()
                await trio.sleep(0.05)
        assert not patience.cancelled_caught, f'"{what}" was not told in {TOLD_TIMEOUT:.0f} s, but this: {self.told()}'

    def told(self) -> str:
        """The end of what it logged."""
        return self.log.read_text(errors="replace")[-4000:] if self.log.exists() else ""
