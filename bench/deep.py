"""A thousand clients come back at once, each 500 messages behind, to rooms in which the others go on talking."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.errors import Unmeasured
from bench.fleet import FleetStage, Seat
from bench.load import Load, Wave
from bench.mysql import ms
from bench.report import Table, Target

if TYPE_CHECKING:
    from bench.ground import Ground
    from bench.load import Generator, Script, Seen
    from bench.pace import Pace
    from bench.servers import Server

DATABASE = "mysql"
ROOMS = 20
MEMBERS = 5  # of each room, who stay; the first of them talks
COMING = 1_000
MISSED = 500  # messages, and up to SPREAD more: nobody leaves at the very moment of another
SPREAD = 50
HISTORY = MISSED + SPREAD  # messages in each room before
HISTORY_RATE = 2_000.0  # sends a second
RATE = 100.0  # sends a second meanwhile: each room moves on, out of what its server has in memory
PAUSE = 5.0  # seconds behind the writing, in which the database flushes what it held back: calm is to be calm
AT = 1.0  # second of the run in which they come
BACK = 5.0  # seconds
TIMES = 2.0  # of the calm p99
READS = "belfry_store_reads_total"


def table(generator: Generator, ground: Ground, pace: Pace) -> tuple[Table, list[Target]]:
    """Calm first, then with the wave."""
    names = [f"room{number}" for number in range(ROOMS)]
    seats = [Seat(0, names[number % ROOMS]) for number in range(ROOMS * MEMBERS)]
    talkers = tuple(enumerate(names))
    with FleetStage(generator, ground, DATABASE, seats) as stage:
        written = stage.run(
            Load(talkers, MEMBERS, HISTORY_RATE, ROOMS * HISTORY / HISTORY_RATE, warm=0.0, drain=20.0, give_up=30.0)
        )
        if not written.seen.clean:
            raise Unmeasured(f"the rooms' history could not be written: {written.seen.first_error or 'not whole'}")
        (server,) = stage.servers()
        generator.idle(PAUSE)
        calm = stage.run(Load(talkers, MEMBERS, RATE, seconds=AT + 2 * pace.step, warm=AT)).seen
        reads = server.metric(READS) or 0.0
        wave = Wave(server.port, server.request, _coming(server, names), AT)
        load = Load(talkers, MEMBERS, RATE, seconds=AT + BACK, warm=AT, drain=15.0, give_up=15.0, wave=wave)
        step = stage.run(load)
        reads = (server.metric(READS) or 0.0) - reads if server.alive() else float("nan")
    return _outcome(calm, step.seen, reads, step.server_cpu)


def _coming(server: Server, names: list[str]) -> tuple[Script, ...]:
    positions = {name: server.position(name) for name in names}
    scripts = []
    for number in range(COMING):
        name = names[number % ROOMS]
        epoch, head = positions[name]
        after = head - MISSED - number // ROOMS % SPREAD
        scripts.append(server.client(ROOMS * MEMBERS + number, (name,), {name: (epoch, after)}))
    return tuple(scripts)


def _outcome(calm: Seen, seen: Seen, reads: float, cpu: float) -> tuple[Table, list[Target]]:
    back = seen.beside[0]
    whole = back.entry.total == COMING and not (back.gaps or back.disorder or back.closed or back.errors)
    slowest = back.entry.quantile(1.0)
    p99, before = seen.latency.quantile(0.99), calm.latency.quantile(0.99)
    times = p99 / before
    got = (
        f"{slowest:.1f} s" if whole else f"{back.entry.total} of {COMING}, {back.gaps} gaps, {back.disorder} disordered"
    )
    return (
        Table(
            f"{COMING:,} resumes at once, each {MISSED} to {MISSED + SPREAD} messages behind",
            f"{ROOMS} rooms over MySQL, {MEMBERS} members in each stay and {RATE:.0f} sends/s go on; every client's "
            "numbers are checked one by one.",
            ("back, whole", "p50 s", "p99 s", "slowest s", "messages", "database reads", "live p99 ms: calm",
             "meanwhile", "server core"),
            [(
                f"{back.entry.total:,}", f"{back.entry.quantile(0.5):.2f}", f"{back.entry.quantile(0.99):.2f}",
                f"{slowest:.2f}", f"{back.caught:,}", f"{reads:,.0f}", ms(before), ms(p99), f"{cpu:.0%}",
            )],
        ),
        [
            Target(f"{COMING:,} resumes, {MISSED} behind, all back gap-free", f"<= {BACK:.0f} s", got,
                   whole and slowest <= BACK),
            Target("live p99 meanwhile, to calm", f"<= {TIMES:.0f}x", f"{times:.1f}x", seen.clean and times <= TIMES),
        ],
    )  # fmt: skip
