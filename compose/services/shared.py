"""One set of services for several processes: who first needs one starts it, and stops it when nobody needs any.

    with Shared(directory) as shared:  # in each process
        shared.service(Mysql).url

It is all done by locks on files in the directory: a process that is killed leaves nothing that others wait for.
"""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from fcntl import LOCK_EX, LOCK_SH, LOCK_UN, flock
from typing import TYPE_CHECKING, Self, TypeVar

from compose.services.ports import is_free
from compose.services.service import Service

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType

S = TypeVar("S", bound=Service)


class Shared:
    """One process's part in the services below a directory; a context manager."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._started: list[tuple[Service, Path]] = []

    def service(self, kind: type[S]) -> S:
        """The running service of this kind. Only who started it can stop, kill or pause it. Raises ServiceError."""
        told = self._directory / f"{kind.name}.port"
        with self._lock(f"{kind.name}.lock"):
            # Who started it may have been killed, and it with them.
            if told.exists() and not is_free(port := int(told.read_text().split()[0])):
                found = kind(self._directory / kind.name, port)
                found.elsewhere = int(told.read_text().split()[1])
                return found
            # What an earlier one left there was set up for another port.
            shutil.rmtree(self._directory / kind.name, ignore_errors=True)
            service = kind(self._directory / kind.name)
            service.start()
            self._started.append((service, told))
            told.write_text(f"{service.port} {service.pid}")
            return service

    def __enter__(self) -> Self:
        self._directory.mkdir(parents=True, exist_ok=True)
        self._users = (self._directory / "users.lock").open("w")
        flock(self._users, LOCK_SH)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # Let go first: of two that have each started something, neither may wait for the other.
        flock(self._users, LOCK_UN)
        with self._users:
            if self._started:
                flock(self._users, LOCK_EX)
            while self._started:
                service, told = self._started.pop()
                told.unlink()  # who comes now starts it anew
                service.stop()

    @contextmanager
    def _lock(self, name: str) -> Iterator[None]:
        with (self._directory / name).open("w") as file:
            flock(file, LOCK_EX)
            yield
