"""Two servers that write one hot room over one database: together not below one alone.

Each is looked for twice, in turns, and the better one counts: where a machine's speed changes by the minute, the ratio
of two single searches says which of them had the better minute. Then once more with each server held to a part of a
core, where it is the servers that end and not the machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench import mysql
from bench.fleet import FleetStage, Seat
from bench.load import Load
from bench.quota import Unheld
from bench.report import Table, Target, not_run
from bench.stage import attempt

if TYPE_CHECKING:
    from bench.ground import Ground
    from bench.load import Generator
    from bench.pace import Pace
    from bench.stage import Step

DATABASE = "mysql"
TURNS = 2
PLANNED, WAITING = "sent as planned", "one in flight"
NEAR = 0.97  # of one alone counts as not below it: a search's step is 9 % wide, two runs of one differ by 3 %
SHARE = 0.4  # of a core: so little that two, the database, the broker and the generator fit on two cores

Best = dict[tuple[str, int], "Step | None"]  # by way and number of servers


def table(generator: Generator, ground: Ground, pace: Pace) -> tuple[Table, list[Target]]:
    """One alone, then both, each with half of the publishers; then the same with servers held to a part of a core."""
    free = _measured(None, TURNS, generator, ground, pace)
    targets = _targets(free, "")
    rows = _rows(free, "")
    words = f", {SHARE} of a core each"
    try:
        held = _measured(SHARE, 1, generator, ground, pace)
    except Unheld as why:
        targets.append(not_run(f"the same{words}", str(why)))
    else:
        targets += _targets(held, words)
        rows += _rows(held, words)
    return (
        Table(
            "Two servers writing one hot room over MySQL and Kafka",
            f"Acknowledged/s of all with ack p99 <= {mysql.ACK_P99 * 1000:.0f} ms; {mysql.MEMBERS} publishers, all "
            "members, every message delivered to all on both. Everything shares all cores. The better of two "
            f'searches each, made in turns. "{WAITING}": each publisher sends its next message when the last one is '
            "acknowledged, so the rate is what comes of it. First the servers take what they get of the cores, and "
            f"the machine is what ends; then, one search each, a server has {SHARE} of a core, as on a small host of "
            "its own, and the servers are what ends.",
            mysql.COLUMNS,
            rows,
        ),
        targets,
    )


def _measured(share: float | None, turns: int, generator: Generator, ground: Ground, pace: Pace) -> Best:
    """The better of so many turns, one server and two in each."""
    best: Best = {}
    for _ in range(turns):
        for count in (1, 2):
            for way, found in _one(count, share, generator, ground, pace).items():
                best[way, count] = max(best.get((way, count)), found, key=_acks)
    return best


def _one(count: int, share: float | None, generator: Generator, ground: Ground, pace: Pace) -> dict[str, Step | None]:
    """What so many servers hold together, and what they do for publishers that wait for their acks."""
    seats = [Seat(number * count // mysql.MEMBERS, mysql.HOT) for number in range(mysql.MEMBERS)]
    everybody = tuple((number, seat.room) for number, seat in enumerate(seats))
    members = sum(seat.group == 0 for seat in seats)
    with FleetStage(generator, ground, DATABASE, seats, everywhere=True, share=share) as stage:
        waiting = Load(everybody, members, seconds=pace.step, warm=pace.warm)
        return {
            PLANNED: mysql.best(stage, seats, pace),
            WAITING: attempt(stage, waiting, pace.tries, lambda step: step.ack_times.quantile(0.99) <= mysql.ACK_P99),
        }


def _rows(best: Best, held: str) -> list[tuple[str, ...]]:
    return [
        mysql.row(f"{count} of Belfry{held}", "MySQL", f"one hot room, {way}", step)
        for (way, count), step in best.items()
    ]


def _targets(best: Best, held: str) -> list[Target]:
    return [_target(way + held, _acks(best[way, 1]), _acks(best[way, 2])) for way in (PLANNED, WAITING)]


def _target(way: str, alone: float, both: float) -> Target:
    return Target(
        f"two servers' acknowledged/s in one hot room, to one's, {way}",
        ">= 1.0x",
        f"{both / alone if alone else 0:.2f}x",
        alone > 0 and both >= alone * NEAR,
    )


def _acks(step: Step | None) -> float:
    return step.acks if step else 0.0
