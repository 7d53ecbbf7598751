"""One server on the stage: its clients brought in, loads run on it, and started anew after it broke down."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from bench import servers
from bench.load import Buckets, Generator, Load, Refusal, Seen

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

SETTLE = 0.3  # seconds after the last join, for presence to be told


@dataclass(frozen=True, slots=True)
class Step:
    """One load as it went."""

    load: Load
    seen: Seen
    server_cpu: float  # share of one core, threads included; of all servers together
    beneath_cpu: float = 0.0  # of the database and the broker

    @property
    def deliveries(self) -> float:
        """Deliveries a second."""
        return self.seen.counted / self.seen.counted_seconds

    @property
    def acks(self) -> float:
        """Acknowledgements a second, whichever group the publishers are in."""
        acks = self.seen.counted_acks + sum(other.counted_acks for other in self.seen.beside)
        return acks / self.seen.counted_seconds

    @property
    def ack_times(self) -> Buckets:
        """How long acknowledgements took."""
        return Buckets.together([self.seen.acks_latency, *(other.acks_latency for other in self.seen.beside)])

    @property
    def load_cpu(self) -> float:
        """The generator's share of its core."""
        return self.seen.cpu / self.seen.wall


class Runs(Protocol):
    """What a search for the highest rate drives."""

    def run(self, load: Load) -> Step:
        """Run a load. Raises Refusal when the clients did not get in."""

    def clear(self) -> None:
        """End the servers: the next load gets new ones."""


class Stage:
    """A server of one kind with `clients` in it, `rooms_of[i]` being the rooms of the i-th."""

    def __init__(
        self,
        generator: Generator,
        kind: servers.Kind,
        rooms_of: Sequence[tuple[str, ...]],
        *,
        arguments: tuple[str, ...] = (),
    ) -> None:
        self.generator = generator
        self.kind = kind
        self.rooms_of = rooms_of
        self.arguments = arguments
        self._exits = contextlib.ExitStack()
        self._server: servers.Server | None = None

    def __enter__(self) -> Stage:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear()

    def clear(self) -> None:
        """End the server."""
        self.generator.close()
        self._exits.close()
        self._server = None

    def server(self) -> servers.Server:
        """The server with all clients in, started when there is none."""
        if self._server is None:
            rooms = tuple(sorted({room for rooms in self.rooms_of for room in rooms}))
            server = self._exits.enter_context(servers.running(self.kind, arguments=self.arguments, rooms=rooms))
            scripts = [server.client(number, rooms) for number, rooms in enumerate(self.rooms_of)]
            self.generator.open(server.port, server.request, scripts)
            self.generator.idle(SETTLE)
            self._server = server
        return self._server

    def run(self, load: Load) -> Step:
        """Run a load; a server that did not come through whole is ended, and the next load gets a new one."""
        server = self.server()
        before = server.cpu()
        seen = self.generator.run(load)
        step = Step(load, seen, (server.cpu() - before) / seen.wall)
        if not seen.clean or not server.alive():
            self.clear()
        return step


def attempt(stage: Runs, load: Load, tries: int, good: Callable[[Step], bool]) -> Step | None:
    """The step if it held in one of so many tries."""
    for _ in range(tries):
        try:
            step = stage.run(load)
        except Refusal:
            stage.clear()
            continue
        if step.seen.clean and good(step):
            return step
        stage.clear()
    return None
