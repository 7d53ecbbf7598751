"""What MySQL and MariaDB have in common: durable, small, two users, ready when they greet."""

from __future__ import annotations

import socket
from abc import abstractmethod
from typing import TYPE_CHECKING

from compose.services.ports import HOST
from compose.services.service import Service

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

USER = PASSWORD = NAME = "belfry"
ADMIN = "admin"  # not root: MariaDB makes several of that name, each for one host and before '%'
GREETING = 10  # the protocol's version, first in what a server that takes logins sends; 255 is an error
GREETING_WAIT = 1.0  # seconds

# Executed at each start, before the port opens; one statement a line.
INIT = f"""\
CREATE DATABASE IF NOT EXISTS {NAME};
CREATE USER IF NOT EXISTS '{USER}'@'%' IDENTIFIED BY '{PASSWORD}';
GRANT ALL ON {NAME}.* TO '{USER}'@'%';
CREATE USER IF NOT EXISTS '{ADMIN}'@'%' IDENTIFIED BY '{ADMIN}';
GRANT ALL ON *.* TO '{ADMIN}'@'%' WITH GRANT OPTION;
"""

# Durable as a server in earnest must be, in 200 MB.
OPTIONS = (
    "--innodb-flush-log-at-trx-commit=1",
    "--sync-binlog=1",
    "--log-bin=binlog",
    "--server-id=1",
    "--binlog-format=ROW",
    "--innodb-buffer-pool-size=128M",
    "--innodb-log-file-size=64M",
    "--character-set-server=utf8mb4",
    "--skip-name-resolve",  # 127.0.0.1 is '%' and nothing is asked of DNS
)


class Database(Service):
    """A server that speaks MySQL's protocol; `url` is the empty database for development."""

    extra: Sequence[str] = ()  # options of the next start, over all others

    @abstractmethod
    def options(self) -> Sequence[str]:
        """Its own besides OPTIONS."""

    @abstractmethod
    def _server(self) -> list[str | Path]:
        """The program, where its data is, and whom it runs as."""

    @property
    def url(self) -> str:
        return f"mysql://{USER}:{PASSWORD}@{HOST}:{self.port}/{NAME}"

    def admin_url(self, name: str = "mysql") -> str:
        """The address for a user who may do everything."""
        return f"mysql://{ADMIN}:{ADMIN}@{HOST}:{self.port}/{name}"

    def command(self) -> Sequence[str | Path]:
        init = self.directory / "init.sql"
        init.write_text(INIT)
        return [
            *self._server(),
            f"--bind-address={HOST}",
            f"--port={self.port}",
            f"--socket={self._socket}",
            f"--pid-file={self.directory / 'pid'}",
            f"--init-file={init}",
            *OPTIONS,
            *self.options(),
            *self.extra,
        ]

    def environment(self) -> dict[str, str]:
        # MariaDB removes from there, as it starts, what looks like a temporary table: another's, which then fails.
        temporary = self.directory / "tmp"
        temporary.mkdir(exist_ok=True)
        return super().environment() | {"TMPDIR": str(temporary)}

    def is_ready(self) -> bool:
        try:
            with socket.create_connection((HOST, self.port), GREETING_WAIT) as asked:
                greeting = asked.recv(5)
        except OSError:
            return False
        return len(greeting) == 5 and greeting[4] == GREETING

    @property
    def _socket(self) -> str:
        # A path of over 107 bytes is refused, and temporary directories of tests are long; the server's cwd is ours.
        return "socket"
