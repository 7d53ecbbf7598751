"""`belfry up` is redeployed under load: nobody notices, and whatever breaks meanwhile loses nothing."""

from __future__ import annotations

import random
import signal
from typing import TYPE_CHECKING

import pytest
import trio
from chat_world import until

from tests.faults.process import free_port, lives
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
    server = await start("--ready-deadline", "15", faulty=True)  # which one of them needs, who hangs
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


async def test_sighups_together_and_while_it_stops(start: Start) -> None:
    server = await start()
    async with talking(server) as talk:
        for _ in range(3):
            server.signal(signal.SIGHUP)
        await server.until_told("redeployed 1 server")
        server.signal(signal.SIGHUP)
        await talk.until_acked()
        told = await server.redeploy()
        assert told.startswith("redeployed"), talk.about()
        await server.until_alone()
        # Five signals: one each, one more after the one under way for those that came together, and the last ones.
        assert 2 <= sum(line.startswith("redeployed") for line in server.lines()) <= 5
        nobody_noticed(talk)
    server.signal(signal.SIGTERM)
    server.signal(signal.SIGHUP)
    assert await server.wait() == 0, server.told()
    assert server.left() == []


@pytest.mark.parametrize("delay", [0.0, 0.2, 0.6, 1.2, 1.8])
async def test_a_stop_during_a_redeploy_leaves_nobody_behind(start: Start, delay: float) -> None:
    server = await start("--drain-deadline", "4")
    server.signal(signal.SIGHUP)
    await trio.sleep(delay)
    server.signal(signal.SIGTERM)
    assert await server.wait() == 0, server.told()
    await until(lambda: server.left() == [])


@pytest.mark.parametrize("place", [None, "taker-start", "taker-serving"])
async def test_the_supervisor_is_killed_and_another_adopts(start: Start, place: str | None) -> None:
    """Idle, or during a redeploy: the server goes on, and a new supervisor takes it with all its connections."""
    server = await start(faulty=True)
    async with talking(server) as talk:
        if place is not None:
            server.plan(place, "pause")
            server.signal(signal.SIGHUP)
            await until(lambda: not server.planned)
        assert server.process is not None
        server.process.kill()
        await server.process.wait()
        await talk.until_acked()
        await until(lambda: len(server.left()) == 1)  # whoever was to be the next, or was the one before, has ended
        (pid,) = server.left()
        await server.launch()
        await server.until_told("runs already: adopted")
        assert server.left() != [pid]
        assert pid in server.left()
        nobody_noticed(talk)
        told = await server.redeploy()
        assert told.startswith("redeployed 1 server"), talk.about()
        nobody_noticed(talk)
        await until(lambda: pid not in server.left())
    server.signal(signal.SIGTERM)
    assert await server.wait() == 0, server.told()
    await until(lambda: server.left() == [])


async def test_another_supervisor_with_another_port_replaces_it(start: Start) -> None:
    server = await start("--drain-deadline", "3")
    assert server.process is not None
    server.process.kill()
    await server.process.wait()
    await server.until_told_by_anybody("the supervisor is gone")
    (orphan,) = server.left()
    old, server.port = server.port, free_port()
    await server.start()
    assert f"runs already, but on port {old}: it is stopped first" in "\n".join(server.lines())
    assert not lives(orphan)
    assert (await server.redeploy()).startswith("redeployed")


async def test_new_code_is_told_and_the_supervisor_is_new_too(start: Start) -> None:
    server = await start()
    assert server.process is not None
    async with talking(server) as talk:
        server.edit("belfry/__init__.py", '__version__ = "', '__version__ = "9.')
        server.edit("belfry/supervisor/supervisor.py", 'info(f"redeploying {', 'info(f"newly redeploying {')
        await server.redeploy()
        await server.until_alone()
        (record,) = [one for one in server.records() if one["event"].startswith("redeployed")]
        assert record["version"].startswith("9.")
        await server.until_begun_again()
        await server.redeploy()
        assert any(line.startswith("newly redeploying") for line in server.lines()), talk.about()
        nobody_noticed(talk)


async def test_a_migration_and_the_way_back(start: Start) -> None:
    server = await start()
    async with talking(server) as talk:
        new = server.code / "db/migrations/sqlite/0003_expand_mood.sql"
        new.write_text("CREATE TABLE mood (id INTEGER PRIMARY KEY);\n")
        (server.code / "db/migrations/mysql/0003_expand_mood.sql").write_text(
            "CREATE TABLE mood (id INT PRIMARY KEY);\n"
        )
        assert (await server.redeploy()).startswith("redeployed"), talk.about()
        await talk.until_acked()
        new.unlink()
        (server.code / "db/migrations/mysql/0003_expand_mood.sql").unlink()
        assert (await server.redeploy()).startswith("redeployed"), talk.about()
        nobody_noticed(talk)


async def test_code_that_is_wrong_costs_nothing_and_says_why(start: Start, tmp_path: Path) -> None:
    config = tmp_path / "belfry.toml"
    config.write_text("heartbeat = 20\n")
    server = await start("--config", str(config))
    async with talking(server) as talk:
        for path, old, new, why in [
            ("chat/handover/record.py", "FORMAT = 1", "FORMAT = 2", "declined: its format is 1, ours 2"),
            ("chat/server.py", "import trio\n", "import trio\nthis is no Python\n", "ended with exit code 1"),
            ("belfry/up.py", "import trio\n", "import trio\nimport nothing_of_that_name\n", "ended with exit code 1"),
        ]:
            server.edit(path, old, new)
            told = await server.redeploy()
            assert why in told, talk.about()
            server.edit(path, new, old)
        config.write_text("heartbeet = 20\nport = 'x'\n")
        assert "ended with exit code 2" in await server.redeploy(), talk.about()
        config.write_text("heartbeat = 20\n")
        assert (await server.redeploy()).startswith("redeployed"), talk.about()
        nobody_noticed(talk)
