"""`belfry up` is redeployed under load: nobody notices, and whatever breaks meanwhile loses nothing."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
import trio
from chat_world import until

from tests.faults.redeploying import Redeployed, Talk, talking

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    Start = Callable[..., Awaitable[Redeployed]]

REDEPLOYS = 10

# A fault at one of these costs nothing: the old process serves on.
HARMLESS = [
    ("taker-start", "kill"), ("taker-prepared", "raise"), ("taker-offered", "kill"), ("taker-offered", "hang"),
    ("taker-told", "kill"), ("taker-told", "raise"), ("taker-over", "kill"), ("taker-over", "stop"),
    ("taker-taken", "kill"), ("taker-taken", "stop"), ("taker-start", "hang"),
]  # fmt: skip
# Here the old process dies when its successor has been told everything: it serves, and nobody notices either.
SUCCESSFUL = [("giver-over", "kill"), ("giver-gone", "kill")]
# Here both are gone, or nobody knows what was written: everybody comes back, once.
COSTLY = [
    ("giver-offered", "kill"), ("giver-told", "kill"), ("giver-frozen", "kill"),
    ("taker-gone", "kill"), ("taker-serving", "kill"), ("taker-gone", "hang"), ("taker-serving", "stop"),
]  # fmt: skip


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """`await start("--flag", ...)` gives a running server on its own copy of the code."""
    made: list[Redeployed] = []

    async def one(*flags: str, faulty: bool = False) -> Redeployed:
        server = Redeployed(tmp_path / f"data{len(made)}", *flags)
        made.append(server)
        if faulty:
            server.make_faulty()
            server.edit("chat/handover/give.py", "TOLD_TIMEOUT = 20.0", "TOLD_TIMEOUT = 3.0")
            server.edit("chat/handover/give.py", "FROZEN_TIMEOUT = 3.0", "FROZEN_TIMEOUT = 2.0")
            server.edit("chat/handover/give.py", "SETTLE_TIMEOUT = 5.0", "SETTLE_TIMEOUT = 2.0")
        await server.start()
        return server

    yield one
    for server in made:
        await server.end()


def nobody_noticed(talk: Talk) -> None:
    assert max(talk.reconnects()) == 0, talk.about()


async def test_ten_redeploys_at_random_moments_are_noticed_by_nobody(start: Start) -> None:
    server = await start()
    async with talking(server, clients=40, rate=100.0) as talk:
        pids = {server.server}
        for _ in range(REDEPLOYS):
            await trio.sleep(random.uniform(0.0, 0.7))
            told = await server.redeploy()
            assert told.startswith("redeployed 1 server: "), talk.about()
            assert "told to reconnect" not in told, talk.about()
            talk.story.note(told)
            await server.until_alone()
            pids.add(server.server)
            nobody_noticed(talk)
        assert len(pids) == REDEPLOYS + 1
    nobody_noticed(talk)
    assert talk.verdict is not None
    assert talk.verdict.counts.flaps == talk.verdict.counts.departures == 0, talk.about()


async def test_a_successor_that_fails_before_it_has_the_sockets_costs_nothing(start: Start) -> None:
    server = await start("--ready-deadline", "6", faulty=True)
    async with talking(server) as talk:
        old = server.server
        for place, how in HARMLESS:
            talk.story.note(f"{how} at {place}")
            server.plan(place, how)
            told = await server.redeploy()
            talk.story.note(told)
            assert told.startswith("redeploy failed, s1 stays as it was: "), talk.about()
            assert not server.planned
            await server.until_alone()
            assert server.server == old
            await talk.until_acked()
            nobody_noticed(talk)
        for place, how in SUCCESSFUL:
            talk.story.note(f"{how} at {place}")
            server.plan(place, how)
            told = await server.redeploy()
            talk.story.note(told)
            assert told.startswith("redeployed 1 server: "), talk.about()
            assert not server.planned
            await talk.until_acked()
            nobody_noticed(talk)
    nobody_noticed(talk)


async def test_a_process_that_dies_with_the_sockets_costs_a_reconnect_each(start: Start) -> None:
    server = await start(faulty=True)
    async with talking(server) as talk:
        for number, (place, how) in enumerate(COSTLY, start=1):
            talk.story.note(f"{how} at {place}")
            server.plan(place, how)
            told = await server.redeploy()
            talk.story.note(told)
            await until(lambda: not server.planned)
            await talk.until_acked()
            await talk.until_all_are_back()
            # One for the loss, and one more where the port was found again before its server was.
            assert max(talk.reconnects()) <= 2 * number, talk.about()
            await server.until_alone()
        talk.story.note(await server.redeploy())
