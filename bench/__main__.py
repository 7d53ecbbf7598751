"""`python -m bench`: every figure of ours beside the peers', in one run."""

from __future__ import annotations

import argparse
import datetime as dt
import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench import (
    autobahn,
    behind,
    cross,
    deep,
    drain,
    durable,
    fanout,
    handshake,
    memory,
    mysql,
    pair,
    redeploy,
    report,
    servers,
    spread,
    tower,
)
from bench.errors import Unmeasured
from bench.ground import Ground, cores_words
from bench.load import Generator, Refusal
from bench.pace import FULL, QUICK, Pace
from bench.quiet import Quiet

if TYPE_CHECKING:
    from collections.abc import Callable

    Outcome = tuple[report.Table, list[report.Target]]

RESULTS = Path(__file__).parent / "results"
LIMIT = 1_200.0  # seconds for a scenario besides its churning; the longest takes a quarter of that
OPEN_FILES = 12_000  # 5,000 clients here; the server's 5,000 are its own


def scenarios(kinds: tuple[servers.Kind, ...], pace: Pace, ground: Ground) -> dict[str, Callable[[Generator], Outcome]]:
    """What can be named in --only, in the order it is run."""
    every = {
        "ceiling": lambda generator: (fanout.ceiling(generator), []),
        "fanout": lambda generator: fanout.table(generator, kinds, fanout.ONE_ROOM, pace),
        "rooms": lambda generator: fanout.table(generator, kinds, fanout.MANY_ROOMS, pace),
        "durable": lambda generator: durable.table(generator, kinds, pace),
        "memory": lambda generator: memory.table(generator, kinds, pace),
        "handshake": lambda generator: handshake.table(generator, kinds, pace),
    }
    if servers.BELFRY in kinds:
        every |= {
            "resume": lambda generator: handshake.resume_wave(generator, pace.sessions),
            "churn": lambda generator: memory.churn(generator, pace.churn),
            "redeploy": lambda generator: redeploy.table(pace),
            "tower": lambda generator: tower.table(),
            "autobahn": lambda generator: autobahn.table(),
            # From here on over real services, which are started for the first of them.
            "cross": lambda generator: cross.table(generator, ground, pace),
            "mysql": lambda generator: mysql.table(generator, ground, pace),
            "pair": lambda generator: pair.table(generator, ground, pace),
            "spread": lambda generator: spread.table(generator, ground, pace),
            "behind": lambda generator: behind.table(generator, ground, pace),
            "deep": lambda generator: deep.table(generator, ground, pace),
            "drain": lambda generator: drain.table(ground, pace),
        }
    return every


def main() -> None:
    """Run what was asked for, print it, write it down."""
    options = _options()
    pace = QUICK if options.quick else FULL
    if options.minutes is not None:
        pace = pace.with_churn(options.minutes * 60)
    kinds = tuple(kind for kind in servers.ALL if not options.servers or kind.short in options.servers)
    ground = Ground(servers.LOAD_CORE)
    every = scenarios(kinds, pace, ground)
    chosen = options.only or [name for name in every if not (options.quick and name == "autobahn")]
    if wrong := [name for name in chosen if name not in every]:
        sys.exit(f"bench: no scenario {wrong[0]!r}; there are {', '.join(every)}")
    _prepare()
    generator, quiet = Generator(), Quiet()
    found = report.Report("quick" if options.quick else "full")
    machine = report.machine()
    for key, value in machine.items():
        print(f"{key}: {value}")
    began = time.monotonic()
    try:
        for name in chosen:
            _scenario(name, every[name], generator, found, LIMIT + pace.churn)
    finally:
        ground.close()
    if found.targets:
        report.show(found.verdict())
    machine["services"] = ground.words()
    machine["cores"] = cores_words(servers.SERVER_CORE, servers.LOAD_CORE)
    machine["the run took"] = f"{(time.monotonic() - began) / 60:.1f} min"
    machine["meanwhile"] = quiet.words()
    print(f"\n{machine['meanwhile']}")
    name = dt.datetime.now(dt.UTC).date().isoformat()
    parts = [name, *(["quick"] if options.quick else []), *(options.only or []), *(options.servers or [])]
    page = found.write(options.out, "-".join(parts), machine)
    print(f"\nwritten: {os.path.relpath(page)} and .json")


def _scenario(
    name: str, run: Callable[[Generator], Outcome], generator: Generator, found: report.Report, limit: float
) -> None:
    """Run one; what keeps it from being measured becomes a line of the verdict, and the run goes on."""
    began = time.monotonic()
    signal.setitimer(signal.ITIMER_REAL, limit)
    try:
        outcome = run(generator)
    except (Unmeasured, Refusal) as why:
        found.targets.append(report.not_run(name, str(why)))
        print(f"\n{name}: not run: {why}", flush=True)
    else:
        found.add(*outcome)
        print(f"  ({name} took {time.monotonic() - began:.0f} s)", flush=True)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        generator.close()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="about fifteen minutes instead of fifty: shorter, coarser")
    parser.add_argument(
        "--only",
        type=_names,
        metavar="NAMES",
        help=f"scenarios with commas between: {','.join(scenarios(servers.ALL, FULL, Ground(servers.LOAD_CORE)))}",
    )
    parser.add_argument(
        "--servers",
        type=_names,
        metavar="NAMES",
        help=f"servers with commas between: {','.join(kind.short for kind in servers.ALL)}",
    )
    parser.add_argument("--minutes", type=float, help="of joining and leaving, in the churn scenario (10; quick 0.1)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="directory of the results (bench/results)")
    return parser.parse_args()  # fmt: skip


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _prepare() -> None:
    """Take the generator's core, and enough descriptors for it and, inherited, for the servers."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < OPEN_FILES:
        if hard != resource.RLIM_INFINITY and hard < OPEN_FILES:
            sys.exit(f"bench: needs {OPEN_FILES} open files, the hard limit is {hard}; raise it with ulimit -Hn")
        resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, hard))
    os.sched_setaffinity(0, {servers.LOAD_CORE})
    # An interrupted or ended run must end its servers too: as an exception, it unwinds through their `finally`.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGALRM, _too_long)


def _too_long(*_: object) -> None:
    raise Unmeasured("it did not come to an end in time")


if __name__ == "__main__":
    main()
