"""Handshakes: how many clients a second get in, and what a wave of resumes asks of the store."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from bench import servers
from bench.load import CACHE, Load
from bench.report import Table, Target

if TYPE_CHECKING:
    from bench.load import Generator
    from bench.pace import Pace

ROOMS = 50
ASKED = 800.0  # a second
IN_FLIGHT = 64  # clients on their way in at a time
WAVE_ROOMS = 10
HISTORY = 200  # messages in each room of the wave
MISSED = 20  # of these, how many each client has yet to see
READS = "belfry_store_reads_total"


def table(generator: Generator, kinds: tuple[servers.Kind, ...], pace: Pace) -> tuple[Table, list[Target]]:
    """Clients a second that get in: ours to `joined`, the peers' to their upgrade."""
    rows, targets = [], []
    names = tuple(f"room{i}" for i in range(ROOMS))
    for kind in kinds:
        with servers.running(kind, rooms=names) as server:
            if kind is servers.BELFRY:
                scripts = [server.client(i, (names[i % ROOMS],)) for i in range(pace.handshakes)]
            else:
                scripts = [server.silent()] * pace.handshakes
            generator.open(server.port, server.request, scripts[:100])
            generator.close()
            before = server.cpu()
            seen = generator.open(server.port, server.request, scripts, in_flight=IN_FLIGHT)
            share = (server.cpu() - before) / seen.wall
            generator.close()
        rate = pace.handshakes / seen.wall
        what = "TCP, upgrade, hello, joined" if kind is servers.BELFRY else "TCP, upgrade"
        rows.append(
            (kind.name, what, f"{rate:,.0f}", f"{seen.entry.quantile(0.5) * 1000:.1f}",
             f"{seen.entry.quantile(0.99) * 1000:.1f}", f"{share:.0%}", f"{seen.cpu / seen.wall:.0%}")
        )  # fmt: skip
        if kind is servers.BELFRY:
            targets.append(Target("handshakes to joined", f">= {ASKED:.0f}/s", f"{rate:,.0f}/s", rate >= ASKED))
    return (
        Table(
            "Handshakes",
            f"{pace.handshakes:,} new clients, {IN_FLIGHT} on their way in at a time, {ROOMS} rooms.",
            ("server", "from dialling to", "clients/s", "p50 ms", "p99 ms", "server core", "generator core"),
            rows,
        ),
        targets,
    )


def resume_wave(generator: Generator, sessions: int) -> tuple[Table, list[Target]]:
    """Everybody comes back at once: to a server that knows the rooms, and to one that has just started."""
    names = tuple(f"wave{i}" for i in range(WAVE_ROOMS))
    rows: list[tuple[str, ...]] = []
    targets: list[Target] = []
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="wave-") as directory:
        data = Path(directory) / "data"
        with servers.running(servers.BELFRY, rooms=names, keep=data) as server:
            generator.open(server.port, server.request, [server.client(i, (name,)) for i, name in enumerate(names)])
            publishers = tuple((i, name) for i, name in enumerate(names))
            seconds = 2.0
            load = Load(publishers, 1, WAVE_ROOMS * HISTORY / seconds, seconds=seconds, warm=0.0)
            generator.run(load)
            generator.close()
            positions = {name: server.position(name) for name in names}
            rows.append(_wave(generator, server, "still running", names, positions, sessions, targets))
            secret = server.secret
        with servers.running(servers.BELFRY, rooms=names, keep=data, secret=secret) as server:
            rows.append(_wave(generator, server, "just started", names, positions, sessions, targets))
    return (
        Table(
            f"A wave of {sessions:,} resumes (Belfry)",
            f"{WAVE_ROOMS} rooms, each client {MISSED} messages behind, inside the rooms' recent window.",
            ("server was", "clients/s", "p99 ms", "store reads", "reads a room", "server core"),
            rows,
        ),
        targets,
    )


def _wave(
    generator: Generator,
    server: servers.Server,
    state: str,
    names: tuple[str, ...],
    positions: dict[str, tuple[str, int]],
    sessions: int,
    targets: list[Target],
) -> tuple[str, ...]:
    scripts = []
    for i in range(sessions):
        name = names[i % len(names)]
        epoch, head = positions[name]
        scripts.append(server.client(i, (name,), {name: (epoch, head - MISSED)}))
    reads, cpu = server.metric(READS), server.cpu()
    seen = generator.open(server.port, server.request, scripts, in_flight=500)
    share = (server.cpu() - cpu) / seen.wall
    after = server.metric(READS)
    generator.close()
    made = after - reads if after is not None and reads is not None else None
    if made is not None:
        each = made / len(names)
        targets.append(Target(f"store reads a room, resumes, {state}", "<= 1", f"{each:.1f}", each <= 1))
    return (
        state, f"{sessions / seen.wall:,.0f}", f"{seen.entry.quantile(0.99) * 1000:.0f}",
        "unknown" if made is None else f"{made:.0f}", "unknown" if made is None else f"{made / len(names):.1f}",
        f"{share:.0%}",
    )  # fmt: skip
