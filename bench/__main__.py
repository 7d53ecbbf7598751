"""`python -m bench`: every figure of ours beside the peers', in one run."""

from __future__ import annotations

import argparse
import datetime as dt
import os
import resource
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bench import autobahn, drain, durable, fanout, handshake, memory, report, servers
from bench.load import Generator
from bench.pace import FULL, QUICK, Pace
from bench.quiet import Quiet

if TYPE_CHECKING:
    from collections.abc import Callable

    Outcome = tuple[report.Table, list[report.Target]]

RESULTS = Path(__file__).parent / "results"
OPEN_FILES = 12_000  # 5,000 clients here; the server's 5,000 are its own


def scenarios(kinds: tuple[servers.Kind, ...], pace: Pace) -> dict[str, Callable[[Generator], Outcome]]:
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
        every["resume"] = lambda generator: handshake.resume_wave(generator, pace.sessions)
        every["churn"] = lambda generator: memory.churn(generator, pace.churn)
        every["drain"] = lambda generator: drain.table(pace)
        every["autobahn"] = lambda generator: autobahn.table()
    return every


def main() -> None:
    """Run what was asked for, print it, write it down."""
    options = _options()
    pace = QUICK if options.quick else FULL
    if options.minutes is not None:
        pace = pace.with_churn(options.minutes * 60)
    kinds = tuple(kind for kind in servers.ALL if not options.servers or kind.short in options.servers)
    every = scenarios(kinds, pace)
    chosen = options.only or [name for name in every if not (options.quick and name == "autobahn")]
    if wrong := [name for name in chosen if name not in every]:
        sys.exit(f"bench: no scenario {wrong[0]!r}; there are {', '.join(every)}")
    _prepare()
    generator, quiet = Generator(), Quiet()
    found = report.Report("quick" if options.quick else "full")
    machine = report.machine()
    for key, value in machine.items():
        print(f"{key}: {value}")
    for name in chosen:
        try:
            found.add(*every[name](generator))
        except autobahn.Missing as missing:
            found.targets.append(report.Target("Autobahn, failed", "0", f"not run: {missing}", False))
    if found.targets:
        report.show(found.verdict())
    machine["meanwhile"] = quiet.words()
    print(f"\n{machine['meanwhile']}")
    name = dt.datetime.now(dt.UTC).date().isoformat()
    parts = [name, *(["quick"] if options.quick else []), *(options.only or []), *(options.servers or [])]
    page = found.write(options.out, "-".join(parts), machine)
    print(f"\nwritten: {os.path.relpath(page)} and .json")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few minutes instead of twenty: shorter, coarser")
    parser.add_argument(
        "--only",
        type=_names,
        metavar="NAMES",
        help=f"scenarios with commas between: {','.join(scenarios(servers.ALL, FULL))}",
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


if __name__ == "__main__":
    main()
