"""One service as one child process: started until ready, stopped, killed, paused, gone with its parent."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from compose.services.errors import ServiceError
from compose.services.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

READY = 90.0  # seconds a start may take; 1 to 4 here, but a machine that runs all tests at once is slow
STOP = 30.0  # seconds for a clean stop before it is killed; MySQL writes back its pages
POLL = 0.02  # seconds between looks
TAIL = 40  # lines of the log in an error; what a failed mariadb-install-db advises is 25, after the cause

# The kernel's "parent" whose death ends a child is the thread that forked it. This one lives as long as the process.
_starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="services")


class Service(ABC):
    """A service with its own directory and port on 127.0.0.1; a context manager that starts and stops it."""

    name: ClassVar[str]
    version: ClassVar[str]
    port_wanted: ClassVar[int]  # what `python -m compose.services run` takes if it is free

    def __init__(self, directory: Path, port: int = 0) -> None:
        self.directory = directory.absolute()
        self.port = port or free_port()
        self.log = self.directory / f"{self.name}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.elsewhere: int | None = None  # the pid, where another process has started it
        self._paused = False
        self._log_from = 0  # where the log of the last start begins

    # --- what each of them says of itself ----------------------------------------------------------------------

    @classmethod
    @abstractmethod
    def fetch(cls) -> None:
        """Make sure that everything it needs is here, downloading or installing what is not. Raises ServiceError."""

    @property
    @abstractmethod
    def url(self) -> str:
        """Its address as Belfry's flags take it."""

    @abstractmethod
    def prepare(self) -> None:
        """Make the data directory's content; only called when there is none."""

    @abstractmethod
    def command(self) -> Sequence[str | Path]:
        """What is executed; it must stay in the foreground."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Whether it serves; called again and again after a start."""

    def environment(self) -> dict[str, str]:
        return dict(os.environ)

    # --- what one does with it ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Start it on its data and port, and wait until it is ready. Raises ServiceError with the end of its log."""
        if self.is_running:
            raise ServiceError(f"{self.name} runs already")
        self.fetch()
        if not (self.directory / "prepared").exists():
            self.directory.mkdir(parents=True, exist_ok=True)
            self.prepare()
            (self.directory / "prepared").touch()
        self._log_from = self.log.stat().st_size if self.log.exists() else 0
        self._process = self._spawn(self.command())
        self._wait_ready(self._process)

    def stop(self) -> None:
        """Stop it as its vendor says (SIGTERM), at last by force; nothing happens if it does not run."""
        if self._process is None:
            return
        self.resume()
        self._process.terminate()
        try:
            self._process.wait(STOP)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
            self._paused = False

    def pause(self) -> None:
        """SIGSTOP, and wait until it stands still: its sockets stay open and nothing answers."""
        self._signal(signal.SIGSTOP)
        self._paused = True
        wait_stopped(self.pid)

    def resume(self) -> None:
        """SIGCONT; nothing happens if it is not paused."""
        if self._paused:
            self._signal(signal.SIGCONT)
            self._paused = False

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        if self._process is not None:
            return self._process.pid
        if self.elsewhere is not None:
            return self.elsewhere
        raise ServiceError(f"{self.name} does not run")

    def log_of_start(self) -> str:
        """What it logged since the last start."""
        if not self.log.exists():
            return ""
        with self.log.open("rb") as file:
            file.seek(self._log_from)
            return file.read().decode(errors="replace")

    def run(self, command: Sequence[str | Path], what: str) -> None:
        """Run a command of its set-up to its end, logged. Raises ServiceError."""
        process = self._spawn(command)
        try:
            code = process.wait(READY)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise ServiceError(f"{self.name}: {what} took over {READY:g} s\n{self._tail()}") from None
        if code != 0:
            raise ServiceError(f"{self.name}: {what} failed with {code}\n{self._tail()}")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    # --- inside ------------------------------------------------------------------------------------------------

    def _spawn(self, command: Sequence[str | Path]) -> subprocess.Popen[bytes]:
        return _starter.submit(self._popen, command).result()

    def _popen(self, command: Sequence[str | Path]) -> subprocess.Popen[bytes]:
        # KILL, because it also ends what is paused; every one of them survives it by design.
        tied = ["setpriv", "--pdeathsig", "KILL", "--"] if shutil.which("setpriv") else []
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [*tied, *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                env=self.environment(),
                start_new_session=True,  # Ctrl-C is ours to obey, in order
            )

    def _wait_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + READY
        try:
            while not self.is_ready():
                if process.poll() is not None:
                    raise ServiceError(f"{self.name} ended with {process.returncode} at its start\n{self._tail()}")
                if time.monotonic() > deadline:
                    raise ServiceError(f"{self.name} was not ready within {READY:g} s\n{self._tail()}")
                time.sleep(POLL)
        except BaseException:
            self.kill()
            raise

    def _tail(self) -> str:
        lines = self.log_of_start().splitlines()[-TAIL:]
        return "\n".join(f"  | {line}" for line in lines) or f"  (nothing in {self.log})"

    def _signal(self, number: int) -> None:
        if self._process is None:
            raise ServiceError(f"{self.name} does not run")
        self._process.send_signal(number)


def wait_stopped(pid: int) -> None:
    """Wait until every thread of a process that was sent SIGSTOP stands still: on a busy machine that takes a while."""
    tasks = Path(f"/proc/{pid}/task")
    deadline = time.monotonic() + STOP
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):  # a thread that ends meanwhile
            if all((task / "stat").read_text().rpartition(")")[2].split()[0] in "TZ" for task in tasks.iterdir()):
                return
        time.sleep(POLL)
    raise ServiceError(f"process {pid} does not stop")
