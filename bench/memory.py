"""Memory: what an idle session costs, and whether joining and leaving for minutes costs anything for ever."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from bench import servers
from bench.load import Script
from bench.report import Table, Target

if TYPE_CHECKING:
    from bench.load import Generator
    from bench.pace import Pace

ROOMS = 100  # so that a room of 5,000 sessions has 50 members
ASKED = 25.0  # KB a session
WARM_UP = 200  # sessions opened and closed first, for what a server makes once
SETTLE = 2.0  # seconds
STAYING = 200  # sessions that change rooms during the churn
COMING = 100  # sessions that come and go in each of its rounds
SAMPLES = 20  # of the churn's memory
SETTLED = 60.0  # seconds, or half of the run: until then caches and the allocator's arenas fill, once
GROWTH = 0.02  # share of the memory at the churn's start that counts as none: an allocator's own unrest


def rooms() -> tuple[str, ...]:
    return tuple(f"room{i}" for i in range(ROOMS))


def idle_session(generator: Generator, kind: servers.Kind, sessions: int) -> float:
    """KB of resident memory a session, at `sessions` of them."""
    names = rooms()
    with servers.running(kind, rooms=names) as server:
        generator.open(server.port, server.request, [server.client(i, (names[i % ROOMS],)) for i in range(WARM_UP)])
        generator.close()
        generator.idle(SETTLE)
        before = server.resident()
        scripts = [server.client(i, (names[i % ROOMS],)) for i in range(sessions)]
        generator.open(server.port, server.request, scripts)
        generator.idle(SETTLE)
        after = server.resident()
        generator.close()
        return (after - before) / sessions / 1000


def table(generator: Generator, kinds: tuple[servers.Kind, ...], pace: Pace) -> tuple[Table, list[Target]]:
    """What an idle session costs each."""
    cost = {kind: idle_session(generator, kind, pace.sessions) for kind in kinds}
    targets = []
    if servers.BELFRY in cost:
        ours = cost[servers.BELFRY]
        targets.append(Target("idle session", f"<= {ASKED:.0f} KB", f"{ours:.1f} KB", ours <= ASKED))
    return (
        Table(
            f"Idle memory of a session, at {pace.sessions:,}",
            f"Growth of resident memory; each session joined one of {ROOMS} rooms (and said hello, at Belfry). "
            "The kernel's socket buffers are not in it.",
            ("server", "KB a session"),
            [(kind.name, f"{kb:.1f}") for kind, kb in cost.items()],
        ),
        targets,
    )


def churn(generator: Generator, seconds: float) -> tuple[Table, list[Target]]:
    """Belfry's resident memory while sessions join, leave, come and go."""
    names = rooms()
    samples: list[tuple[float, int, int]] = []
    with servers.running(servers.BELFRY, rooms=names) as server:
        generator.open(server.port, server.request, [server.client(i, (names[i % ROOMS],)) for i in range(STAYING)])
        start, rounds, next_sample = time.monotonic(), 0, 0.0
        while (elapsed := time.monotonic() - start) < seconds or not samples:
            _round(generator, server, names, rounds)
            rounds += 1
            if elapsed >= next_sample:
                samples.append((elapsed, rounds, server.resident()))
                next_sample += seconds / SAMPLES
        generator.idle(SETTLE)
        samples.append((time.monotonic() - start, rounds, server.resident()))
        generator.close()
    return _churn_table(samples, seconds)


def _round(generator: Generator, server: servers.Server, names: tuple[str, ...], number: int) -> None:
    moves = []
    for i in range(STAYING):
        here, there = names[(i + number) % ROOMS], names[(i + number + 1) % ROOMS]
        leave = b'{"t":"leave","room":"%b"}' % here.encode()
        join = b'{"t":"join","room":"%b"}' % there.encode()
        moves.append(Script((leave, join), 1))
    generator.say(0, moves)
    comers = [server.client(STAYING + i, (names[(i + number) % ROOMS],)) for i in range(COMING)]
    generator.open(server.port, server.request, comers)
    generator.close(STAYING)


def _churn_table(samples: list[tuple[float, int, int]], seconds: float) -> tuple[Table, list[Target]]:
    settled = [sample for sample in samples if sample[0] >= min(SETTLED, seconds / 2)] or samples
    (_, first_rounds, first), (_, rounds, last) = settled[0], settled[-1]
    joins = (rounds - first_rounds) * (STAYING + COMING)
    growth = (last - first) / first
    rows = [(f"{at:.0f}", f"{done * (STAYING + COMING):,}", f"{resident / 1e6:.1f}") for at, done, resident in samples]
    what = f"growth over {seconds / 60:.0f} min of joins" if seconds >= 60 else f"growth over {seconds:.0f} s of joins"
    return (
        Table(
            "Memory over joins and leaves (Belfry)",
            f"{STAYING} sessions change rooms, {COMING} come and go, round after round: {joins:,} joins after "
            f"the first {settled[0][0]:.0f} s, {last - first:+,} B, {(last - first) / max(1, joins):+.1f} B a join.",
            ("seconds", "joins", "resident MB"),
            rows,
        ),
        [Target(what, f"<= {GROWTH:.0%}", f"{growth:+.1%}", growth <= GROWTH)],
    )
