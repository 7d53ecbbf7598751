"""The server is killed and stopped again and again while people talk, and every promise holds."""

from __future__ import annotations

import math
import os
import random
import signal
from collections import deque
from typing import TYPE_CHECKING

import trio

from belfry.audit.address import read_address
from belfry.audit.run import Load, Run

if TYPE_CHECKING:
    from belfry.audit.observation import Observation
    from tests.faults.conftest import ServerProcess, StartServer

CLIENTS = 200
ROUNDS = 20  # of each kind
KILLED_YOUNG = 0.1  # of the restarts: killed again before the server is ready, or just then
TEST_TIMEOUT = 300.0  # seconds; 80 on two idle cores
KEPT = 200_000  # observations kept to tell the story of a fault: 40 MB
STORY = 60  # of them told


def seed_of_today() -> int:
    """A new seed each time, told in the output; BELFRY_TEST_SEED repeats one."""
    given = os.environ.get("BELFRY_TEST_SEED")
    return int(given) if given else random.SystemRandom().getrandbits(32)


async def test_twenty_kills_and_twenty_stops_lose_nothing(start_server: StartServer) -> None:
    seed = seed_of_today()
    print(f"BELFRY_TEST_SEED={seed}")
    rng = random.Random(seed)
    server = await start_server("--reconnect-window", "0.5", "--drain-deadline", "5", "--send-rate", "0")
    kept: deque[tuple[float, Observation]] = deque(maxlen=KEPT)
    run = Run(
        Load(clients=CLIENTS, rooms=20, rate=60, seconds=math.inf, seed=seed, backoff_cap=0.7),
        read_address(server.url),
        also=lambda observation: kept.append((trio.current_time(), observation)),
    )
    events: list[str] = []
    with trio.fail_after(TEST_TIMEOUT):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_harass, run, server, rng, events)
            verdict = await run.run()
    story = "\n".join([*verdict.lines(), *events, server.told()])
    assert verdict.ok, story
    assert run.settled, story
    assert not run.meter.stopped, story
    assert verdict.counts.gaps == 0, story  # the store keeps everything, so nobody is told of a gap
    assert verdict.counts.unacknowledged == 0, story
    assert run.meter.reconnects > CLIENTS, story


async def _harass(run: Run, server: ServerProcess, rng: random.Random, events: list[str]) -> None:
    """Kill and stop in a random order, at random moments: also while everybody is still coming back."""
    await run.talking.wait()
    ways = [signal.SIGKILL, signal.SIGTERM] * ROUNDS
    rng.shuffle(ways)
    for way in ways:
        await trio.sleep(rng.choice([rng.uniform(0.0, 0.3), rng.uniform(0.3, 1.2)]))
        events.append(f"{trio.current_time():.3f} {way.name}, {run.connected} connected")
        server.signal(way)
        code = await server.wait()
        assert code == (-signal.SIGKILL if way == signal.SIGKILL else 0), server.told()
        if rng.random() < KILLED_YOUNG:
            await server.launch()
            await trio.sleep(rng.uniform(0.0, 1.5))
            await server.kill()
            events.append(f"{trio.current_time():.3f} SIGKILL while it started")
        await server.start()
    await trio.sleep(1.0)
    run.stop.set()
