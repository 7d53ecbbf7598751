"""The server is killed and stopped again and again while people talk, and every promise holds."""

from __future__ import annotations

import math
import random
import signal
from typing import TYPE_CHECKING

import pytest
import trio

from belfry.audit.address import read_address
from belfry.audit.run import Load, Run
from tests.faults.story import Story, new_seed

if TYPE_CHECKING:
    from tests.faults.conftest import StartServer
    from tests.faults.process import ServerProcess

CLIENTS = 200
ROUNDS = 10  # of each kind
KILLED_YOUNG = 0.1  # of the restarts: killed again before the server is ready, or just then
TEST_TIMEOUT = 900.0  # seconds; 45 on two idle cores, most of it the twenty starts; 240 where five others ran tests
SETTLE = 120.0  # seconds for the last of them to have everything; two, if nobody else has work


# Twenty of each in all, in two pieces that two processes can run at a time.
@pytest.mark.parametrize("half", [1, 2])
async def test_kills_and_stops_lose_nothing(start_server: StartServer, half: int) -> None:
    seed = new_seed()
    print(f"TESTS_SEED={seed}")
    story = Story()
    server = await start_server("--reconnect-window", "0.5", "--drain-deadline", "20", "--send-rate", "0")
    run = Run(
        Load(clients=CLIENTS, rooms=20, rate=40, seconds=math.inf, seed=seed, settle=SETTLE, backoff_cap=0.7),
        read_address(server.url),
        also=story.observe,
        store=server.history,
    )
    with trio.fail_after(TEST_TIMEOUT):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_harass, run, server, random.Random(seed), story)
            verdict = await run.run()
    print("\n".join([*verdict.lines(), *story.events]))
    assert verdict.ok, story.about(run, server)
    assert run.settled, story.about(run, server)
    assert not run.meter.stopped, story.about(run, server)
    assert verdict.counts.gaps == 0, story.about(run, server)  # this store keeps everything: no reason for a gap
    assert verdict.counts.unacknowledged == 0
    assert verdict.counts.sent > 1_000
    assert verdict.counts.resumes > CLIENTS


async def _harass(run: Run, server: ServerProcess, rng: random.Random, story: Story) -> None:
    """Kill and stop in a random order, at random moments: also while everybody is still coming back."""
    await run.talking.wait()
    ways = [signal.SIGKILL, signal.SIGTERM] * ROUNDS
    rng.shuffle(ways)
    for way in ways:
        await trio.sleep(rng.choice([rng.uniform(0.0, 0.3), rng.uniform(0.3, 1.2)]))
        story.note(f"{way.name} with {run.connected} connected")
        server.signal(way)
        code = await server.wait()
        assert code == (-signal.SIGKILL if way == signal.SIGKILL else 0), server.told()
        if rng.random() < KILLED_YOUNG:
            await server.launch()
            await trio.sleep(rng.uniform(0.0, 1.5))
            story.note("SIGKILL while it started")
            await server.kill()
        await server.start()
        story.note("ready again")
    await trio.sleep(1.0)
    run.stop.set()
