"""Durable sends: how many a hot room acknowledges in time, and how long one alone waits for its ack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench import servers
from bench.load import Load, Refusal
from bench.report import Table, Target, fdatasync
from bench.search import highest
from bench.stage import Stage, Step, attempt

if TYPE_CHECKING:
    from bench.load import Generator
    from bench.pace import Pace

MEMBERS = 50  # of the hot room, all of them publishers
ROOM = "hot"
ACK_P99 = 0.050  # seconds
ACK_P50 = 0.005  # seconds, of one send in flight
ASKED = 4_000.0  # acknowledged a second
FIRST = 200.0  # sends a second that the search begins with
MOST = 200_000.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """One server's figures."""

    best: Step | None
    alone: Step | None


def measure(generator: Generator, kind: servers.Kind, pace: Pace) -> Outcome:
    """Search the highest rate, then one publisher with one send in flight."""
    everybody = tuple((i, ROOM) for i in range(MEMBERS))
    with Stage(generator, kind, [(ROOM,)] * MEMBERS, arguments=("--acks",)) as stage:
        alone = None
        try:
            step = stage.run(Load(everybody[:1], MEMBERS, 0.0, seconds=pace.step, warm=pace.warm, tick=0.0))
            alone = step if step.seen.counted_acks else None
        except Refusal:
            stage.clear()
        found = highest(
            lambda rate, roughly: attempt(
                stage,
                Load(everybody, MEMBERS, rate, seconds=pace.seconds(roughly), warm=pace.warm),
                pace.tries,
                lambda step: step.seen.acks_latency.quantile(0.99) <= ACK_P99,
            ),
            FIRST,
            pace.refinements,
            MOST,
        )
        return Outcome(found.step, alone)


def table(generator: Generator, kinds: tuple[servers.Kind, ...], pace: Pace) -> tuple[Table, list[Target]]:
    """The figures of all."""
    disk = fdatasync()
    outcomes = {kind: measure(generator, kind, pace) for kind in kinds}
    rows = [_row(kind, outcome) for kind, outcome in outcomes.items()]
    return (
        Table(
            "Durable sends, one hot room of 50, all publishing",
            "Acknowledged/s with ack p99 <= 50 ms, each message also delivered to all 50; then one publisher with one "
            f"send in flight. Belfry's acks come after its commit, the peers' at once. A 4 KiB "
            f"fdatasync alone: {disk}.",
            ("server", "acks/s", "ack p50 ms", "ack p99 ms", "delivery p99 ms", "deliveries/s", "server core",
             "generator core", "one in flight: p50 ms", "p99 ms"),
            rows,
        ),
        _targets(outcomes.get(servers.BELFRY)),
    )  # fmt: skip


def _row(kind: servers.Kind, outcome: Outcome) -> tuple[str, ...]:
    alone = ("-", "-")
    if outcome.alone:
        alone = (_ms(outcome.alone, 0.5), _ms(outcome.alone, 0.99))
    step = outcome.best
    if step is None:
        return (kind.name, *["-"] * 7, *alone)
    delivery = step.seen.latency.quantile(0.99) * 1000
    return (
        kind.name, f"{step.acks:,.0f}", _ms(step, 0.5), _ms(step, 0.99), f"{delivery:.1f}",
        f"{step.deliveries:,.0f}", f"{step.server_cpu:.0%}", f"{step.load_cpu:.0%}", *alone,
    )  # fmt: skip


def _targets(ours: Outcome | None) -> list[Target]:
    targets = []
    if ours and ours.best:
        acks = ours.best.acks
        targets.append(Target("durable sends, acknowledged/s", f">= {ASKED:,.0f}", f"{acks:,.0f}", acks >= ASKED))
    if ours and ours.alone:
        p50 = ours.alone.seen.acks_latency.quantile(0.5)
        targets.append(Target("ack p50, one in flight", "<= 5.0 ms", f"{p50 * 1000:.1f} ms", p50 <= ACK_P50))
    return targets


def _ms(step: Step, q: float) -> str:
    return f"{step.seen.acks_latency.quantile(q) * 1000:.1f}"
