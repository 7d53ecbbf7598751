"""Two servers that write one hot room over one database: together not below one alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench import mysql
from bench.fleet import FleetStage, Seat
from bench.report import Table, Target

if TYPE_CHECKING:
    from bench.ground import Ground
    from bench.load import Generator
    from bench.pace import Pace

DATABASE = "mysql"
NEAR = 0.97  # of one alone counts as not below it: a search's step is 9 % wide, two runs of one differ by 3 %


def table(generator: Generator, ground: Ground, pace: Pace) -> tuple[Table, list[Target]]:
    """One alone, then both, each with half of the publishers."""
    rows, sums = [], []
    for count in (1, 2):
        seats = [Seat(number * count // mysql.MEMBERS, mysql.HOT) for number in range(mysql.MEMBERS)]
        with FleetStage(generator, ground, DATABASE, seats, everywhere=True) as stage:
            step = mysql.best(stage, seats, pace)
        sums.append(step.acks if step else 0.0)
        rows.append(mysql.row(f"{count} of Belfry", "MySQL", "one hot room", step))
    alone, both = sums
    return (
        Table(
            "Two servers writing one hot room over MySQL and Kafka",
            f"Acknowledged/s of all with ack p99 <= {mysql.ACK_P99 * 1000:.0f} ms; {mysql.MEMBERS} publishers, all "
            "members, every message delivered to all on both. Everything shares all cores.",
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
