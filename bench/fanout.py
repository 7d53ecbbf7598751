"""Fan-out: how many deliveries a second a server makes while p99 stays inside its bound, and p50 when it is calm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench import servers
from bench.load import Load, Refusal
from bench.report import Table, Target
from bench.search import highest
from bench.stage import Stage, Step, attempt

if TYPE_CHECKING:
    from bench.load import Generator
    from bench.pace import Pace

P99 = 0.100  # seconds
CALM = 100.0  # sends a second
CALM_P50 = 0.003  # seconds
MOST = 200_000.0  # sends a second; no server here parses as many


@dataclass(frozen=True, slots=True)
class Shape:
    """How clients are spread over rooms."""

    title: str
    rooms: int
    members: int  # of each room, its publishers included
    publishers: int  # of each room
    first: float  # sends a second that the search begins with

    def rooms_of(self) -> list[tuple[str, ...]]:
        return [(f"room{i % self.rooms}",) for i in range(self.rooms * self.members)]

    def load(self, rate: float, seconds: float, warm: float, tick: float = 0.0005) -> Load:
        who = [(i, f"room{i % self.rooms}") for i in range(self.rooms * self.publishers)]
        return Load(tuple(who), self.members, rate, seconds=seconds, warm=warm, tick=tick)


ONE_ROOM = Shape("Fan-out, one room of 500", 1, 500, 4, 20.0)
MANY_ROOMS = Shape("Fan-out, 50 rooms of 10", 50, 10, 1, 500.0)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One server's figures."""

    best: Step | None
    calm: Step | None


def measure(generator: Generator, kind: servers.Kind, shape: Shape, pace: Pace) -> Outcome:
    """Search the highest rate, then run calmly."""
    with Stage(generator, kind, shape.rooms_of()) as stage:
        calm = None
        for _ in range(2):  # the first may meet a server that is too slow even for this
            try:
                step = stage.run(shape.load(CALM, pace.step, pace.warm, tick=0.0))
            except Refusal:
                continue
            if step.seen.counted and step.seen.clean:
                calm = step
                break
        found = highest(
            lambda rate, roughly: attempt(
                stage,
                shape.load(rate, pace.seconds(roughly), pace.warm),
                pace.tries,
                lambda step: step.seen.latency.quantile(0.99) <= P99,
            ),
            shape.first,
            pace.refinements,
            MOST,
        )
        return Outcome(found.step, calm)


def table(
    generator: Generator, kinds: tuple[servers.Kind, ...], shape: Shape, pace: Pace
) -> tuple[Table, list[Target]]:
    """The figures of all, and how ours stand to them."""
    outcomes = {kind: measure(generator, kind, shape, pace) for kind in kinds}
    return (
        Table(
            shape.title,
            f"60 B texts, {shape.publishers} publisher(s) a room among its members; "
            f"highest deliveries/s with p99 <= {P99 * 1000:.0f} ms, and p50 at {CALM:.0f} sends/s.",
            ("server", "deliveries/s", "sends/s", "p50 ms", "p99 ms", "messages a read", "B a message",
             "server core", "generator core", f"p50 ms at {CALM:.0f}/s"),
            [_row(kind, outcome) for kind, outcome in outcomes.items()],
        ),
        _targets(outcomes) if shape is ONE_ROOM else [],
    )  # fmt: skip


def _row(kind: servers.Kind, outcome: Outcome) -> tuple[str, ...]:
    calm = _ms(outcome.calm.seen.latency.quantile(0.5)) if outcome.calm else "not held"
    step = outcome.best
    if step is None:
        return (kind.name, *["-"] * 8, calm)
    seen = step.seen
    return (
        kind.name, f"{step.deliveries:,.0f}", f"{step.load.rate:,.0f}", _ms(seen.latency.quantile(0.5)),
        _ms(seen.latency.quantile(0.99)), f"{seen.delivered / max(1, seen.reads):.1f}", f"{seen.bytes_a_delivery:.0f}",
        f"{step.server_cpu:.0%}", f"{step.load_cpu:.0%}", calm,
    )  # fmt: skip


def _targets(outcomes: dict[servers.Kind, Outcome]) -> list[Target]:
    if servers.BELFRY not in outcomes:
        return []
    ours = outcomes[servers.BELFRY]
    held = ours.best.deliveries if ours.best else 0.0
    targets = []
    for peer, asked in ((servers.PICOWS, 2.5), (servers.NAIVE, 20.0)):
        theirs = outcomes[peer].best if peer in outcomes else None
        if theirs:
            ratio = held / theirs.deliveries
            targets.append(Target(f"fan-out, to {peer.name}'s", f">= {asked}x", f"{ratio:.1f}x", ratio >= asked))
    if ours.calm:
        p50 = ours.calm.seen.latency.quantile(0.5)
        targets.append(
            Target("fan-out p50 at 100 sends/s", f"<= {_ms(CALM_P50)} ms", f"{_ms(p50)} ms", p50 <= CALM_P50)
        )
    return targets


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f}"


def ceiling(generator: Generator) -> Table:
    """What the generator itself can take in."""
    rows = []
    for joined in (1, 100):
        with servers.running(servers.BLASTER, arguments=(str(joined),)) as server:
            generator.open(server.port, server.request, [server.silent() for _ in range(500)])
            generator.idle(1.0)
            before = server.cpu()
            seen = generator.idle(2.0)
            share = (server.cpu() - before) / seen.wall
            generator.close()
        rows.append(
            (f"writes of {joined}", f"{seen.delivered / seen.wall:,.0f}", f"{seen.delivered / max(1, seen.reads):.1f}",
             f"{share:.0%}", f"{seen.cpu / seen.wall:.0%}")
        )  # fmt: skip
    return Table(
        "The load generator's own ceiling",
        "Not a chat server: prebuilt messages written to 500 clients as fast as the kernel takes them, "
        "singly and joined.",
        ("blaster", "deliveries/s", "messages a read", "blaster core", "generator core"),
        rows,
    )
