"""What `belfry up` and `belfry serve` tell at the start: where to open it, what it keeps, what is unsafe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from belfry.terminal import BOLD, DIM, YELLOW, painted


@dataclass(frozen=True, slots=True)
class Facts:
    """All there is to tell about a server that has just opened."""

    version: str
    addresses: tuple[str, ...]  # URLs
    database: str
    bus: str
    migrated: str  # "" when nothing had to be
    unsafe: tuple[str, ...]
    pid: int  # whom a person signals
    server: int  # the pid of the server itself, which a supervisor may have started
    deadline: float  # seconds a stop takes at most
    redeploys: bool = False  # whether SIGHUP redeploys it
    dashboard: str = ""  # its tower's URL

    def lines(self, *, terminal: bool, colours: bool) -> list[str]:
        """For people: a small table on a terminal, else one fact a line that says who speaks."""
        stop = f"Ctrl-C, or kill {self.pid}: everybody finishes, in {self.deadline:g} s at most; twice stops at once"
        redeploy = f"kill -HUP {self.pid}: new code, the same open connections"
        rows = [
            *(("open", address, BOLD) for address in self.addresses),
            *((("dashboard", self.dashboard, ""),) if self.dashboard else ()),
            ("database", self.database, ""),
            *((("migrated", self.migrated, ""),) if self.migrated else ()),
            ("bus", self.bus, ""),
            *(("unsafe", what, YELLOW) for what in self.unsafe),
            *((("processes", f"{self.pid} watches over {self.server}, the server", ""),) if self.redeploys else ()),
            ("stop", stop, ""),
            *((("redeploy", redeploy, ""),) if self.redeploys else ()),
        ]
        if not terminal:
            return [f"belfry: {name}: {text}" for name, text, _ in rows]
        table = [
            f"  {painted(f'{name:<10}', DIM, colours)}{painted(text, colour, colours and colour != '')}"
            for name, text, colour in rows
        ]
        return ["", f"  {painted('Belfry', BOLD, colours)} {self.version}", "", *table, ""]

    def event(self) -> dict[str, Any]:
        """For programs: the fields of one log line."""
        return {
            "version": self.version,
            "addresses": list(self.addresses),
            "dashboard": self.dashboard or None,
            "database": self.database,
            "bus": self.bus,
            "migrated": self.migrated or None,
            "unsafe": list(self.unsafe),
            "pid": self.pid,
            "server_pid": self.server,
        }
