"""Servers of one fleet on the stage, over one database and one broker, and their clients spread over them."""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench import processes, quota, servers
from bench.load import Refusal
from bench.stage import SETTLE, Step

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from bench.ground import Ground, Plot
    from bench.load import Generator, Load

ON_BUS = 20.0  # seconds for a server to reach the broker; it takes one
QUIET = "belfry_bus_quiet_seconds"


@dataclass(frozen=True, slots=True)
class Seat:
    """A client: on which server, in which room, counted in which group."""

    server: int
    room: str
    group: int = 0


class FleetStage:
    """As many servers of one kind as the seats name, with all clients in; started anew after they broke down."""

    def __init__(
        self,
        generator: Generator,
        ground: Ground,
        database: str,
        seats: Sequence[Seat],
        *,
        kind: servers.Kind = servers.FLEET,
        everywhere: bool = False,
        share: float | None = None,
    ) -> None:
        """`everywhere`: all that takes part shares all cores; else the servers have one of their own.

        `share`: how much of one core each server may use. Its first use raises Unheld where that cannot be had.
        """
        self.generator = generator
        self.kind = kind
        self.seats = seats
        self.secret = secrets.token_hex(32)
        self._ground = ground
        self._database = database
        self._everywhere = everywhere
        self._share = share
        self._exits = contextlib.ExitStack()
        self._plot: Plot | None = None
        self._servers: list[servers.Server] = []
        self._numbers = itertools.count()  # of servers' names: that of one killed stays taken for some seconds

    def __enter__(self) -> FleetStage:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear()

    @property
    def plot(self) -> Plot:
        """The stage's own database and topics, which outlive its servers. Raises Missing."""
        if self._plot is None:
            self._plot = self._ground.plot(self._database)
        return self._plot

    def clear(self) -> None:
        """End the servers."""
        self.generator.close()
        self._servers = []
        self._exits.close()

    def servers(self) -> list[servers.Server]:
        """The servers with all clients in, started when there are none."""
        if not self._servers:
            if self._everywhere:
                others = [os.getpid(), self.plot.database.pid, self.plot.kafka.pid]
                self._exits.enter_context(processes.everywhere(others))
            rooms = tuple(sorted({seat.room for seat in self.seats}))
            try:
                for _ in range(max(seat.server for seat in self.seats) + 1):
                    self._start(rooms)
                self._seat()
            except BaseException:
                self.clear()
                raise
        return self._servers

    def run(self, load: Load) -> Step:
        """Run a load; servers that did not come through whole are ended, and the next load gets new ones."""
        running = self.servers()
        before, beneath = _cpu(running), self.plot.cpu()
        seen = self.generator.run(load)
        step = Step(load, seen, (_cpu(running) - before) / seen.wall, (self.plot.cpu() - beneath) / seen.wall)
        if not seen.clean or not all(server.alive() for server in running):
            self.clear()
        return step

    def _start(self, rooms: tuple[str, ...]) -> None:
        server = self._exits.enter_context(
            servers.running(
                self.kind,
                rooms=rooms,
                secret=self.secret,
                plot=self.plot,
                server_id=f"s{next(self._numbers)}",
                cores=processes.CORES if self._everywhere else (servers.SERVER_CORE,),
            )
        )
        if self._share is not None:
            self._exits.enter_context(quota.held(server.process.pid, self._share))
        self._servers.append(server)

    def _seat(self) -> None:
        for server in self._servers:
            _until_on_bus(server)
        numbered = enumerate(self.seats)
        for (at, group), run in itertools.groupby(numbered, key=lambda one: (one[1].server, one[1].group)):
            server = self._servers[at]
            scripts = [server.client(number, (seat.room,)) for number, seat in run]
            self.generator.open(server.port, server.request, scripts, group=group)
        self.generator.idle(SETTLE)


def _cpu(running: Sequence[servers.Server]) -> float:
    return sum(server.cpu() for server in running)


def _until_on_bus(server: servers.Server) -> None:
    """Wait until a server of ours hears the bus; peers have waited themselves before they answer."""
    deadline = time.monotonic() + ON_BUS
    while not server.kind.module:
        with contextlib.suppress(OSError):
            quiet = server.metric(QUIET)
            if quiet is not None and quiet < 1.0:
                return
        if time.monotonic() > deadline:
            raise Refusal(f"a server did not reach the broker within {ON_BUS:.0f} s")
        time.sleep(0.05)
