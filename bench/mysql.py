"""Durable sends into MySQL and MariaDB: how many one server acknowledges in time, beside a team's first server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench import servers
from bench.fleet import FleetStage, Seat
from bench.ground import DATABASES, Missing
from bench.load import Load
from bench.report import Table, Target, not_run
from bench.search import highest
from bench.stage import attempt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.ground import Ground
    from bench.load import Generator
    from bench.pace import Pace
    from bench.stage import Step

MEMBERS = 50  # of the hot room, all of them publishers
HOT = "hot"
ROOMS = 200
ACK_P99 = 0.060  # seconds
ASKED = 4_000.0  # acknowledged a second
AIM = 10_000.0
TIMES = 5.0  # what the team's server does
FIRST = 500.0  # sends a second that a search begins with
MOST = 100_000.0

COLUMNS = (
    "server", "database", "rooms", "acks/s", "ack p50 ms", "ack p99 ms", "delivery p99 ms", "deliveries/s",
    "server core", "database and broker", "generator core",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Case:
    """One row: which server, on which database, how many rooms."""

    kind: servers.Kind
    database: str
    rooms: int

    @property
    def seats(self) -> list[Seat]:
        if self.rooms == 1:
            return [Seat(0, HOT)] * MEMBERS
        return [Seat(0, f"room{number}") for number in range(self.rooms)]

    @property
    def what(self) -> str:
        return "one hot room" if self.rooms == 1 else f"{self.rooms} rooms"


def table(generator: Generator, ground: Ground, pace: Pace) -> tuple[Table, list[Target]]:
    """All rows, and what was asked of ours."""
    found: dict[Case, Step | None] = {}
    missing: dict[str, str] = {}
    for database in DATABASES:
        for kind, rooms in ((servers.FLEET, 1), (servers.TEAM, 1), (servers.FLEET, ROOMS)):
            case = Case(kind, database, rooms)
            try:
                with FleetStage(generator, ground, database, case.seats, kind=kind) as stage:
                    found[case] = best(stage, case.seats, pace)
            except Missing as why:
                missing[database] = str(why)
                break
    return (
        Table(
            "Durable sends over MySQL and Kafka, through one server",
            f"Acknowledged/s with ack p99 <= {ACK_P99 * 1000:.0f} ms: {MEMBERS} publishers in one hot room, each "
            f"message delivered to all {MEMBERS} and told to the broker; then {ROOMS} publishers in a room each. "
            '"One INSERT a message" is what a team writes first: asyncmy, aiokafka, websockets.',
            COLUMNS,
            [row(case.kind.name, DATABASES[case.database], case.what, step) for case, step in found.items()],
        ),
        [*_targets(found), *(not_run(f"durable sends on {DATABASES[name]}", missing[name]) for name in missing)],
    )


def best(stage: FleetStage, seats: Sequence[Seat], pace: Pace) -> Step | None:
    """The step of the highest rate that everybody in these seats can send at, together."""
    rooms = [seat.room for seat in seats]
    everybody = tuple(enumerate(rooms))
    members = sum(seat.group == 0 for seat in seats) // len(set(rooms))
    return highest(
        lambda rate, roughly: attempt(
            stage,
            Load(everybody, members, rate, seconds=pace.seconds(roughly), warm=pace.warm),
            pace.tries,
            lambda step: step.ack_times.quantile(0.99) <= ACK_P99,
        ),
        FIRST,
        pace.refinements,
        MOST,
    ).step


def row(name: str, database: str, rooms: str, step: Step | None) -> tuple[str, ...]:
    """A row of COLUMNS."""
    if step is None:
        return (name, database, rooms, "not held", *["-"] * 7)
    return (
        name, database, rooms, f"{step.acks:,.0f}", ms(step.ack_times.quantile(0.5)), ms(step.ack_times.quantile(0.99)),
        ms(step.seen.latency.quantile(0.99)), f"{step.deliveries:,.0f}", f"{step.server_cpu:.0%}",
        f"{step.beneath_cpu:.0%}", f"{step.load_cpu:.0%}",
    )  # fmt: skip


def _targets(found: dict[Case, Step | None]) -> list[Target]:
    targets = []
    for case, step in found.items():
        where = f"{DATABASES[case.database]}, {case.what}"
        acks = step.acks if step else 0.0
        if case.kind is servers.FLEET:
            targets.append(
                Target(f"acknowledged/s, {where}", f">= {ASKED:,.0f} (aim {AIM:,.0f})", f"{acks:,.0f}", acks >= ASKED)
            )
        else:
            ours = found[Case(servers.FLEET, case.database, case.rooms)]
            times = ours.acks / acks if ours and acks else 0.0
            targets.append(
                Target(
                    f"acknowledged/s, to one INSERT a message, {where}",
                    f">= {TIMES:.0f}x",
                    f"{times:.1f}x",
                    times >= TIMES,
                )
            )
    return targets


def ms(seconds: float) -> str:
    """Milliseconds, for a cell."""
    return f"{seconds * 1000:.1f}"
