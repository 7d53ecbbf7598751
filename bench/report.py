"""What came out: tables for the terminal, the same as Markdown and JSON, with the machine they were made on."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import socket
import sqlite3
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bench.load import CACHE
from bench.servers import CORES

if TYPE_CHECKING:
    from collections.abc import Sequence

LIBRARIES = ("trio", "trio-websocket", "msgspec", "picows", "websockets", "starlette", "uvicorn", "uvloop", "httptools",
             "trio-mysql", "kafka-python", "asyncmy", "aiokafka")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Table:
    """One scenario's figures; the first column names the server."""

    title: str
    note: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Target:
    """What was asked for, and what came."""

    what: str
    asked: str
    got: str
    met: bool


def not_run(what: str, why: str) -> Target:
    """A figure that could not be had here, which is no figure met."""
    return Target(what, "a figure", f"not run: {why}", False)


@dataclass(slots=True)
class Report:
    """Everything that one run found."""

    kind: str
    tables: list[Table] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)

    def add(self, table: Table, targets: list[Target]) -> None:
        """Keep a scenario's outcome and print it."""
        self.tables.append(table)
        self.targets += targets
        print("\n" + _plain(table), flush=True)

    def verdict(self) -> Table:
        """What was asked for beside what came."""
        rows = [(one.what, one.asked, one.got, "yes" if one.met else "NO") for one in self.targets]
        return Table("Asked and got", "", ("figure", "asked", "got", "met"), rows)

    def write(self, directory: Path, name: str, machine: dict[str, str]) -> Path:
        """Write NAME.md and NAME.json; returns the former's path."""
        directory.mkdir(parents=True, exist_ok=True)
        lines = [f"# Figures of {name}", "", f"A {self.kind} run. {METHOD}", ""]
        lines += [f"- {key}: {value}" for key, value in machine.items()]
        for table in (self.verdict(), *self.tables):
            lines += ["", f"## {table.title}", ""]
            lines += [table.note, ""] if table.note else []
            lines += _markdown(table)
        page = directory / f"{name}.md"
        page.write_text("\n".join(lines) + "\n")
        data = {
            "kind": self.kind,
            "machine": machine,
            "targets": [asdict(target) for target in self.targets],
            "tables": [asdict(table) for table in self.tables],
        }
        page.with_suffix(".json").write_text(json.dumps(data, indent=1) + "\n")
        return page


METHOD = (
    "Each server runs alone, as one process on one core; the load generator has another core, and its share of it "
    "stands in every row. Publishers are open-loop: latency counts from the moment a message was meant to be sent, so "
    "a stall is not hidden by a generator that waits with it; every message carries that moment and every delivery is "
    "counted, up to half a millisecond late, because the generator gathers what it reads (it spins where only latency "
    "is asked). A rate holds when nothing is lost, out of order, refused or closed and p99 is inside the bound; a "
    "rate that fails is tried once more. Belfry commits every message before it acknowledges or delivers "
    "it; the peers keep nothing, but for those that are said to write to a database. The asyncio peers run on uvloop. "
    "Where a database and a broker stand beneath, they share the generator's core; what all of them "
    "took of their cores stands in each row."
)


def machine() -> dict[str, str]:
    """The machine as far as figures depend on it: no names, no paths."""
    versions = [f"{name} {importlib.metadata.version(name)}" for name in LIBRARIES]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processor": f"{_processor()}, {len(CORES)} cores",
        "memory": f"{memory:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}, SQLite {sqlite3.sqlite_version}",
        "libraries": ", ".join(versions),
        "fdatasync of 4 KiB": fdatasync(),
        "kernel's price of one send of 186 B over loopback, read included": f"{_send_price():.1f} us",
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def fdatasync() -> str:
    """What the disk takes for the least durable write, now."""
    times = []
    with tempfile.TemporaryFile(dir=CACHE) as file:
        for _ in range(200):
            file.write(bytes(4096))
            file.flush()
            before = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append((time.perf_counter() - before) * 1000)
    times.sort()
    return f"p50 {times[100]:.2f} ms, p99 {times[198]:.2f} ms"


def _send_price() -> float:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
        near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        best = float("inf")
        with near, far:
            for _ in range(10):
                before = time.perf_counter()
                for _ in range(1000):
                    near.send(bytes(186))
                    far.recv(4096)
                best = min(best, time.perf_counter() - before)
    return best * 1000


def _plain(table: Table) -> str:
    rows = [table.columns, *table.rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(table.columns))]
    lines = [table.title, *([table.note] if table.note else [])]
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        lines.append("  ".join(("", row[0].ljust(widths[0]), *cells[1:])))
    return "\n".join(lines)


def _markdown(table: Table) -> list[str]:
    lines = ["| " + " | ".join(table.columns) + " |", "|---" * len(table.columns) + "|"]
    lines += ["| " + " | ".join(row) + " |" for row in table.rows]
    return lines


def show(table: Table) -> None:
    """Print a table."""
    print("\n" + _plain(table), flush=True)
