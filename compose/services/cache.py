"""Where downloads are kept, and how they get there: by Maven, by apt-get, once."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from fcntl import LOCK_EX, flock
from pathlib import Path
from typing import TYPE_CHECKING

from compose.services.errors import ServiceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DOWNLOAD = 900.0  # seconds; 4 on a good line
PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1"


def cache() -> Path:
    """The directory of everything downloaded; never in the source tree, made if missing."""
    base = os.environ.get("XDG_CACHE_HOME")
    directory = (Path(base) if base else Path.home() / ".cache") / "belfry" / "services"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def say(line: str) -> None:
    """Progress, for people."""
    print(f"services: {line}", file=sys.stderr, flush=True)


def cached(name: str, make: Callable[[Path], None]) -> Path:
    """The directory `name` of the cache, filled by `make` the first time: whole or not there, whoever is killed.

    Two processes that need it at once take turns.
    """
    target = cache() / name
    if target.exists():
        return target
    with _lock(cache() / f"{name}.lock"):
        if not target.exists():
            with tempfile.TemporaryDirectory(dir=cache(), prefix=f"{name}.part-") as part:
                content = Path(part) / "content"
                content.mkdir()
                make(content)
                content.rename(target)
    return target


def maven(what: str, directory: Path, *arguments: str) -> None:
    """Run one goal of Maven's dependency plugin in `directory`, telling its progress. Raises ServiceError."""
    need("java", "default-jre-headless", "Java 17 or newer")
    need("mvn", "maven", "Maven")
    began, told, files = time.monotonic(), 0.0, 0
    lines: list[str] = []
    say(f"{what}: downloading by Maven into {cache()}")
    process = subprocess.Popen(
        ["mvn", "-B", *arguments], cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            lines = [*lines[-14:], line.rstrip()]
            files += line.startswith("[INFO] Downloaded") or line.startswith("Downloaded")
            elapsed = time.monotonic() - began
            if elapsed > told + 2:
                told = elapsed
                say(f"{what}: {files} files, {elapsed:.0f} s")
            if elapsed > DOWNLOAD:
                process.kill()
    if process.wait() != 0:
        raise ServiceError(
            "\n".join([f"{what} could not be downloaded; Maven said:", *(f"  | {one}" for one in lines)])
        )
    say(f"{what}: done in {time.monotonic() - began:.0f} s")


def need(program: str, package: str, label: str) -> str:
    """The path of a program, installed by apt-get where that is possible. Raises ServiceError: what to install."""
    if (path := _which(program)) is None:
        apt_install(package)
        path = _which(program)
    if path is None:
        raise ServiceError(f"{label} is needed and missing: install it, e.g. apt-get install {package}")
    return path


def apt_install(*packages: str) -> None:
    """Install Debian packages where we are root and apt is there; else nothing happens."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return
    say(f"installing {' '.join(packages)} by apt-get")
    environ = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    with _lock(cache() / "apt.lock"):
        for command in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
            done = subprocess.run(["apt-get", "-qq", *command], env=environ, capture_output=True, text=True)
            if done.returncode != 0:
                say("\n".join(done.stderr.splitlines()[-5:]))
                return


def refuse_other_machines(what: str) -> None:
    """Raise ServiceError where the downloaded program cannot run."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise ServiceError(f"{what} comes as a program for Linux on x86-64 only; on others use compose/compose.yaml")


def _which(program: str) -> str | None:
    # Daemons live in sbin, which the PATH of an ordinary user need not hold.
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin:/usr/local/sbin")


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        flock(file, LOCK_EX)
        yield
