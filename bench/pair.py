"""Two servers that write one hot room over one database: together not below one alone.

Each is looked for twice, in turns, and the better one counts: where a machine's speed changes by the minute, the ratio
of two single searches says which of them had the better minute.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench import mysql
from bench.fleet import FleetStage, Seat
from bench.report import Table, Target

if TYPE_CHECKING:
    from bench.ground import Ground
    from bench.load import Generator
    from bench.pace import Pace
    from bench.stage import Step

DATABASE = "mysql"
TURNS = 2
NEAR = 0.97  # of one alone counts as not below it: a search's step is 9 % wide, two runs of one differ by 3 %


def table(generator: Generator, ground: Ground, pace: Pace) -> tuple[Table, list[Target]]:
    """One alone, then both, each with half of the publishers."""
    best: dict[int, Step | None] = {}
    for _ in range(TURNS):
        for count in (1, 2):
            found = _search(count, generator, ground, pace)
            best[count] = max(best.get(count), found, key=_acks)
    rows = [mysql.row(f"{count} of Belfry", "MySQL", "one hot room", step) for count, step in best.items()]
    alone, both = (_acks(step) for step in best.values())
    return (
        Table(
            "Two servers writing one hot room over MySQL and Kafka",
            f"Acknowledged/s of all with ack p99 <= {mysql.ACK_P99 * 1000:.0f} ms; {mysql.MEMBERS} publishers, all "
            "members, every message delivered to all on both. Everything shares all cores. The better of two "
            "searches each, made in turns.",
            mysql.COLUMNS,
            rows,
        ),
        [
            Target(
                "two servers' acknowledged/s in one hot room, to one's", ">= 1.0x",
                f"{both / alone if alone else 0:.2f}x", alone > 0 and both >= alone * NEAR,
            )
        ],
    )  # fmt: skip


def _search(count: int, generator: Generator, ground: Ground, pace: Pace) -> Step | None:
    """What so many servers hold together."""
    seats = [Seat(number * count // mysql.MEMBERS, mysql.HOT) for number in range(mysql.MEMBERS)]
    with FleetStage(generator, ground, DATABASE, seats, everywhere=True) as stage:
        return mysql.best(stage, seats, pace)


def _acks(step: Step | None) -> float:
    return step.acks if step else 0.0
