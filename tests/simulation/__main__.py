"""`python -m tests.simulation`: histories until the time is over, or one that is read."""

from __future__ import annotations

import argparse
import secrets
import sys
import time
from collections import Counter

from tests.simulation.world import live

REPORT = 10.0  # seconds between lines


def main() -> int:
    """Run it; 1 if a history broke a promise."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__, allow_abbrev=False)
    parser.add_argument("--seed", type=int, help="tell this one history; else histories from a new seed on")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long (default 60)")
    args = parser.parse_args()
    if args.seed is not None:
        outcome = live(args.seed, keep=True)
        print(outcome)
        return int(bool(outcome.problems))
    first = secrets.randbelow(2**40)
    began = report = time.monotonic()
    done, steps, bad, happened = 0, 0, 0, Counter[str]()
    while (now := time.monotonic()) < began + args.seconds:
        outcome = live(first + done)
        done, steps = done + 1, steps + outcome.steps
        happened.update(outcome.happened)
        if outcome.problems:
            bad += 1
            print(f"simulation: BELFRY_SIM_SEED={outcome.seed}: {'; '.join(outcome.problems)}", flush=True)
        if now > report + REPORT:
            report = now
            print(f"simulation: {done:,} histories, {60 * done / (now - began):,.0f} a minute", flush=True)
    what = ", ".join(f"{name} {count:,}" for name, count in happened.most_common())
    print(f"simulation: {done:,} histories of {steps / max(1, done):.0f} steps from {first} on, {bad} bad; {what}")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
