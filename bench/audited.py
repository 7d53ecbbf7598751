"""`belfry audit` beside what is measured: clients that know what they were promised, in a process of their own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import Unmeasured
from bench.load import CACHE
from bench.servers import LOAD_CORE, ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

ARRIVE_TIMEOUT = 180.0  # seconds until 9,000 clients are in: 40 s at the audit's pace on an idle machine
END_TIMEOUT = 300.0  # seconds from the end of the talking to the verdict: all history is read over HTTP
MEMBERS = 100  # of a room; each client is in two


class Audited(Unmeasured):
    """The audit came to no verdict."""


class Audit:
    """One running audit."""

    def __init__(self, process: subprocess.Popen[bytes], directory: Path) -> None:
        self.process = process
        self._directory = directory

    def told(self) -> str:
        """What it printed while it ran."""
        return (self._directory / "err").read_text(errors="replace")

    def watch(self, holds: Callable[[], Any], seconds: float, what: str) -> None:
        """Wait until something holds; the audit must live so long. Raises Audited."""
        deadline = time.monotonic() + seconds
        while not holds():
            if self.process.poll() is not None:
                raise Audited(f"the audit ended while {what}: {self.told()[-300:]}")
            if time.monotonic() > deadline:
                raise Audited(f"{what}: not within {seconds:g} s; {self.told()[-300:]}")
            time.sleep(0.02)

    def wait_talking(self) -> None:
        """Wait until everybody is in."""
        self.watch(lambda: "talking" in self.told(), ARRIVE_TIMEOUT, "the clients came in")

    def stop(self) -> None:
        """End the talking."""
        self.process.send_signal(signal.SIGINT)

    def verdict(self) -> dict[str, Any]:
        """What it found."""
        try:
            self.process.wait(END_TIMEOUT)
        except subprocess.TimeoutExpired:
            raise Audited(f"the audit came to no verdict in {END_TIMEOUT:g} s") from None
        out = (self._directory / "out").read_bytes()
        if not out:
            raise Audited(f"the audit came to no verdict: {self.told()[-300:]}")
        found: dict[str, Any] = json.loads(out)
        return found


@contextlib.contextmanager
def auditing(
    ports: Sequence[int], secret: str, clients: int, rate: float, *, seconds: float = 0.0, settle: float = 60.0
) -> Iterator[Audit]:
    """An audit on the generator's core, the first part of its clients on the first port; ended with the block."""
    urls = ",".join(f"http://127.0.0.1:{port}" for port in ports)
    command = [
        sys.executable, "-m", "belfry", "audit", f"--url={urls}", f"--clients={clients}",
        f"--rooms={max(1, 2 * clients // MEMBERS)}", f"--rate={rate:g}", f"--seconds={seconds:g}",
        f"--settle={settle:g}", "--json",
    ]  # fmt: skip
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="audit-") as name:
        directory = Path(name)
        with (directory / "out").open("wb") as out, (directory / "err").open("wb") as err:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=ROOT,
                env=os.environ | {"BELFRY_SECRET": secret}, preexec_fn=lambda: os.sched_setaffinity(0, {LOAD_CORE}),
            )  # fmt: skip
        try:
            yield Audit(process, directory)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


def anomalies(found: dict[str, Any]) -> int:
    """Broken promises, rooms that could not be proven, and flaps that were nobody's fault but the servers'."""
    return sum(found["faults"].values()) + len(found["unread"]) + (not found["settled"])
