"""Fan-out over MySQL and Kafka: a room of 500 on the server that commits, and on another one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.fleet import FleetStage, Seat
from bench.load import Load
from bench.mysql import ms
from bench.report import Table, Target
from bench.search import highest
from bench.stage import attempt

if TYPE_CHECKING:
    from bench.ground import Ground
    from bench.load import Generator
    from bench.pace import Pace
    from bench.stage import Step

DATABASE = "mysql"
ROOM = "wide"
MEMBERS = 500
PUBLISHERS = 4
P99 = 0.100  # seconds
ASKED, AIM = 300_000.0, 1_000_000.0  # deliveries a second
FIRST = 100.0  # sends a second that a search begins with
MOST = 100_000.0

HERE = [Seat(0, ROOM)] * MEMBERS
# Who publishes is a member too; those deliveries are on the other server and not counted.
ELSEWHERE = [*[Seat(0, ROOM, group=1)] * PUBLISHERS, *[Seat(1, ROOM)] * MEMBERS]


def table(generator: Generator, ground: Ground, pace: Pace) -> tuple[Table, list[Target]]:
    """Both rows."""
    rows, targets = [], []
    for where, seats in (("on the committing server", HERE), ("on another server", ELSEWHERE)):
        with FleetStage(generator, ground, DATABASE, seats) as stage:
            step = _best(stage, pace)
        rows.append(_row(where, step))
        got = step.deliveries if step else 0.0
        targets.append(
            Target(
                f"deliveries/s over MySQL and Kafka, {where}",
                f">= {ASKED:,.0f} (aim {AIM:,.0f})",
                f"{got:,.0f}",
                got >= ASKED,
            )
        )
    return (
        Table(
            f"Fan-out over MySQL and Kafka, one room of {MEMBERS}",
            f"60 B texts, {PUBLISHERS} publishers; highest deliveries/s with p99 <= {P99 * 1000:.0f} ms. On another "
            "server: from the send on one, through its commit and the broker, to the members on the other; both "
            "servers on one core.",
            ("members", "deliveries/s", "sends/s", "p50 ms", "p99 ms", "messages a read", "servers' core",
             "database and broker", "generator core"),
            rows,
        ),
        targets,
    )  # fmt: skip


def _best(stage: FleetStage, pace: Pace) -> Step | None:
    publishers = tuple((number, ROOM) for number in range(PUBLISHERS))
    return highest(
        lambda rate, roughly: attempt(
            stage,
            Load(publishers, MEMBERS, rate, seconds=pace.seconds(roughly), warm=pace.warm),
            pace.tries,
            lambda step: step.seen.latency.quantile(0.99) <= P99,
        ),
        FIRST,
        pace.refinements,
        MOST,
    ).step


def _row(where: str, step: Step | None) -> tuple[str, ...]:
    if step is None:
        return (where, "not held", *["-"] * 7)
    seen = step.seen
    return (
        where, f"{step.deliveries:,.0f}", f"{step.load.rate:,.0f}", ms(seen.latency.quantile(0.5)),
        ms(seen.latency.quantile(0.99)), f"{seen.delivered / max(1, seen.reads):.1f}", f"{step.server_cpu:.0%}",
        f"{step.beneath_cpu:.0%}", f"{step.load_cpu:.0%}",
    )  # fmt: skip
