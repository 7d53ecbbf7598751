"""From a send on one server to its delivery on another, through the database and the broker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.fleet import FleetStage, Seat
from bench.load import Load
from bench.mysql import ms
from bench.report import Table, Target

if TYPE_CHECKING:
    from bench.ground import Ground
    from bench.load import Generator
    from bench.pace import Pace
    from bench.stage import Step

DATABASE = "mysql"
RATE = 1_000.0  # sends a second
P50, P99, AIM = 0.010, 0.050, 0.015  # seconds
# Rooms, publishers and members elsewhere of each; sends a second, 0: the next when the last is acknowledged.
SHAPES = {"one room": (1, 20, 20, RATE), "50 rooms": (50, 1, 5, RATE), "one sender": (1, 1, 20, 0.0)}
TICK = 0.000_1  # seconds: to spin, as where latency alone counts, would starve the database on the same core
WARM = 3.0  # seconds: a broker just started compiles itself while it is asked first
RUNS = 3  # of which the middle one counts: a page flush of the database falls into one or the other


def table(generator: Generator, ground: Ground, pace: Pace) -> tuple[Table, list[Target]]:
    """All shapes."""
    rows, targets = [], []
    for what, (rooms, publishers, members, rate) in SHAPES.items():
        names = [f"room{number}" for number in range(rooms)]
        seats = [Seat(0, name, group=1) for name in names for _ in range(publishers)]
        seats += [Seat(1, name) for name in names for _ in range(members)]
        who = tuple((number, seat.room) for number, seat in enumerate(seats) if seat.server == 0)
        seconds = max(WARM, pace.warm) + 2 * pace.step
        load = Load(who, members, rate, seconds=seconds, warm=max(WARM, pace.warm), tick=TICK, drain=3.0, give_up=5.0)
        with FleetStage(generator, ground, DATABASE, seats, everywhere=True) as stage:
            steps = sorted((stage.run(load) for _ in range(RUNS)), key=lambda step: step.seen.latency.quantile(0.99))
        step = steps[RUNS // 2]
        rows.append(_row(what, step, [steps[0], steps[-1]]))
        targets += _targets(what, step)
    return (
        Table(
            f"Send on one server to delivery on another, {RATE:,.0f} sends/s",
            "Over MySQL and Kafka; everything shares all cores. One sender waits for each ack. "
            f"The middle of {RUNS} runs by its p99, and the p99 of the others.",
            ("rooms", "p50 ms", "p99 ms", "best, worst p99 ms", "longest ms", "ack p50 ms", "ack p99 ms",
             "servers' core", "database and broker", "generator core", "clean"),
            rows,
        ),
        targets,
    )  # fmt: skip


def _row(what: str, step: Step, others: list[Step]) -> tuple[str, ...]:
    seen = step.seen
    return (
        what, ms(seen.latency.quantile(0.5)), ms(seen.latency.quantile(0.99)),
        ", ".join(ms(other.seen.latency.quantile(0.99)) for other in others), ms(seen.longest),
        ms(step.ack_times.quantile(0.5)), ms(step.ack_times.quantile(0.99)), f"{step.server_cpu:.0%}",
        f"{step.beneath_cpu:.0%}", f"{step.load_cpu:.0%}", "yes" if seen.clean else "NO",
    )  # fmt: skip


def _targets(what: str, step: Step) -> list[Target]:
    p50, p99 = (step.seen.latency.quantile(q) for q in (0.5, 0.99))
    whole = step.seen.clean
    return [
        Target(f"another server's delivery, {what}, p50", f"<= {ms(P50)} ms", f"{ms(p50)} ms", whole and p50 <= P50),
        Target(
            f"another server's delivery, {what}, p99", f"<= {ms(P99)} ms (aim {ms(AIM)})", f"{ms(p99)} ms",
            whole and p99 <= P99,
        ),
    ]  # fmt: skip
