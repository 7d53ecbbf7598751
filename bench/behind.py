"""A server that comes back with 100,000 of the broker's records before it: how soon is it abreast, and who waits?"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from bench.errors import Unmeasured
from bench.fleet import FleetStage, Seat
from bench.ground import sql
from bench.load import Load
from bench.mysql import ms
from bench.report import Table, Target
from bench.servers import CORES, ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.ground import Ground
    from bench.load import Generator, Seen
    from bench.pace import Pace
    from bench.servers import Server

DATABASE = "mysql"
RECORDS = 100_000
WRITERS = len(CORES)  # processes: they must be done before the server that stands still notices that it did
STANDING = 6.0  # seconds; after 7 since its last beat it would send its clients away
BEAT = 10.0  # seconds to wait for one; they come every 2
TRIES = 3  # of standing still for so short
NEAR, FAR = "near", "far"
PUBLISHERS = 4  # in each room
MEMBERS = 20  # in each room, on the server that was behind
RATE = 200.0  # sends a second, half of them in each room
WATCHED = 8.0  # seconds from when it goes on
ABREAST = 5.0  # seconds
DELAY = 0.100  # seconds
SKIPPED, FILLED = "belfry_bus_skipped", "belfry_gap_filled_messages_total"

# Counted first: messages sent and read on the server that was behind. Then those that come to it from the other one.
SEATS = [*[Seat(0, FAR, group=2)] * PUBLISHERS, *[Seat(1, FAR, group=1)] * MEMBERS, *[Seat(1, NEAR)] * MEMBERS]


def table(generator: Generator, ground: Ground, pace: Pace) -> tuple[Table, list[Target]]:
    """Calm first, then after the records have piled up."""
    far = [(number, FAR) for number in range(PUBLISHERS)]
    near = [(PUBLISHERS + MEMBERS + number, NEAR) for number in range(PUBLISHERS)]
    who = tuple(one for both in zip(near, far, strict=True) for one in both)  # in turns: each second send is near

    def load(seconds: float) -> Load:
        return Load(who, MEMBERS // 2, RATE, seconds=seconds, warm=0.0, drain=3.0, give_up=WATCHED, late=DELAY)

    with FleetStage(generator, ground, DATABASE, SEATS) as stage:
        for _ in range(TRIES):
            calm = stage.run(load(2 * pace.step)).seen
            _, behind = stage.servers()
            with _writers(stage.plot.bus, behind.position(FAR)[0]) as writers:
                before = {name: behind.metric(name) or 0.0 for name in (SKIPPED, FILLED)}
                _wait_beat(stage.plot.db)
                stood = _pile_up(behind, writers)
                seen = stage.run(load(WATCHED)).seen
            if stood <= STANDING:
                counts = {name: (behind.metric(name) or 0.0) - before[name] for name in before}
                return _outcome(calm, seen, counts, stood)
            stage.clear()
    raise Unmeasured(f"this machine took {stood:.1f} s to write {RECORDS:,} records, over {STANDING} s")


@contextlib.contextmanager
def _writers(bus: str, epoch: str) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes that have their share of the records ready."""
    command = [sys.executable, "-m", "bench.flood", f"--bus={bus}", f"--count={RECORDS // WRITERS}"]
    started = [
        subprocess.Popen(
            [*command, f"--room={FAR}", f"--epoch={epoch}"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            preexec_fn=lambda core=core: os.sched_setaffinity(0, {core}),
        )
        for core in CORES[:WRITERS]
    ]  # fmt: skip
    try:
        for writer in started:
            _hear(writer, b"ready")
        yield started
    finally:
        for writer in started:
            writer.kill()
            writer.wait()
            for pipe in (writer.stdin, writer.stdout):
                assert pipe is not None
                pipe.close()


def _hear(writer: subprocess.Popen[bytes], word: bytes) -> None:
    assert writer.stdout is not None
    if writer.stdout.readline().strip() != word:
        raise Unmeasured("a process that was to write records ended before")


def _wait_beat(db: str) -> None:
    """Wait until the server that will be behind has just beaten."""
    asked = "SELECT seen_at FROM server WHERE id = 's1'"
    before, deadline = sql(db, asked), time.monotonic() + BEAT
    while sql(db, asked) == before and time.monotonic() < deadline:
        time.sleep(0.02)


def _pile_up(server: Server, writers: list[subprocess.Popen[bytes]]) -> float:
    """Stop the server, let the records be written, let it go on; seconds for which it stood."""
    server.process.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    try:
        for writer in writers:
            assert writer.stdin is not None
            writer.stdin.write(b"\n")
            writer.stdin.flush()
        for writer in writers:
            _hear(writer, b"done")
    finally:
        server.process.send_signal(signal.SIGCONT)
    return time.monotonic() - began


def _outcome(calm: Seen, seen: Seen, counts: dict[str, float], stood: float) -> tuple[Table, list[Target]]:
    far = seen.beside[0]
    delay = max(0.0, seen.longest - calm.latency.quantile(0.5))
    rows = [
        _row("calm", "sent and read on it", calm), _row("calm", "from the other server", calm.beside[0]),
        _row("behind", "sent and read on it", seen), _row("behind", "from the other server", far),
    ]  # fmt: skip
    whole = seen.clean and far.counted > 0
    return (
        Table(
            f"A server that is {RECORDS:,} records behind",
            f"It stood still for {stood:.1f} s while they were written, of a room it has; {RATE:.0f} sends/s, half on "
            f"it, half on the other server, both servers on one core. It skipped {counts[SKIPPED]:,.0f} records and "
            f"read {counts[FILLED]:,.0f} messages from the database.",
            ("state", "messages", "deliveries", "p50 ms", "p99 ms", "longest ms", "later than 100 ms", "the last at s"),
            rows,
        ),
        [
            Target("100,000 records behind, abreast again", f"<= {ABREAST:.0f} s", f"{far.late_until:.1f} s",
                   whole and far.late_until <= ABREAST),
            Target("100,000 records behind, delay of what is sent there", f"<= {DELAY * 1000:.0f} ms",
                   f"{ms(delay)} ms", whole and delay <= DELAY),
        ],
    )  # fmt: skip


def _row(state: str, what: str, seen: Seen) -> tuple[str, ...]:
    return (
        state, what, f"{seen.counted:,}", ms(seen.latency.quantile(0.5)), ms(seen.latency.quantile(0.99)),
        ms(seen.longest), f"{seen.late:,}", f"{seen.late_until:.1f}" if seen.late else "-",
    )  # fmt: skip
