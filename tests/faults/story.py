"""What happened, for whoever has to find out why: the servers' lives and the last observations."""

from __future__ import annotations

import os
import random
from collections import deque
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from belfry.audit.observation import Observation
    from belfry.audit.run import Run
    from tests.faults.process import ServerProcess

KEPT = 100_000  # observations kept to tell the story of a fault: 30 MB
TOLD = 40  # of them


def new_seed() -> int:
    """A new seed each time, told in the output; TESTS_SEED repeats one."""
    given = os.environ.get("TESTS_SEED")
    return int(given) if given else random.SystemRandom().getrandbits(32)


class Story:
    """Events and observations in the order they happened."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self._seen: deque[tuple[float, Observation]] = deque(maxlen=KEPT)

    def note(self, what: str) -> None:
        self.events.append(f"{trio.current_time():.3f} {what}")

    def observe(self, observation: Observation) -> None:
        self._seen.append((trio.current_time(), observation))

    def about(self, run: Run, *servers: ServerProcess) -> str:
        """All of it; the observations are those of the client that the first fault names."""
        lines = [
            f"TESTS_SEED={run.load.seed}",
            *self.events,
            f"refusals: {dict(run.meter.errors)}",
        ]
        for server in servers:
            lines += [f"--- {server.url}", server.told()]
        examples = [example for examples in run.checker.verdict().examples.values() for example in examples]
        for example in examples[:3]:
            words = set(example.replace("'s", "").split())
            seen = [f"{at:.3f} {what}" for at, what in self._seen if getattr(what, "client", None) in words]
            lines += [example, *seen[-TOLD:]]
        return "\n".join(lines)
