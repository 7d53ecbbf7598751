"""MariaDB, as Debian packages it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, ClassVar

from compose.services.cache import need
from compose.services.database import Database

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# Only the programs: the package `mariadb-server` would start a server of its own.
PACKAGE = "mariadb-server-core"
# Its installation script reads its defaults by this program, which Debian moved between packages in 10.11.19; the
# server's package does not depend on the other.
DEFAULTS = "my_print_defaults", "mariadb-client-core"


class Mariadb(Database):
    """A MariaDB server."""

    name: ClassVar[str] = "mariadb"
    version: ClassVar[str] = "of this system"
    port_wanted: ClassVar[int] = 13_307

    @classmethod
    def fetch(cls) -> None:
        need("mariadbd", PACKAGE, "MariaDB 10.6 or newer")
        need("mariadb-install-db", PACKAGE, "MariaDB 10.6 or newer")
        need(*DEFAULTS, "MariaDB 10.6 or newer with its my_print_defaults")

    def prepare(self) -> None:
        install = [
            need("mariadb-install-db", PACKAGE, "MariaDB"),
            "--no-defaults",
            "--datadir=./data",  # it is a shell script that trips over a blank in a path
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            *self._user(),
        ]
        self.run(install, "making its data directory")

    def options(self) -> Sequence[str]:
        return ["--performance-schema=OFF"]

    def _server(self) -> list[str | Path]:
        server = need("mariadbd", PACKAGE, "MariaDB")
        return [server, "--no-defaults", f"--datadir={self.directory / 'data'}", *self._user()]

    def _user(self) -> list[str]:
        return ["--user=root"] if os.geteuid() == 0 else []
