"""MySQL dies and hangs: sends are refused for now, sockets stay, and nothing that was acknowledged is gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio
from chat_world import until

from tests.faults.fleet import lasting

if TYPE_CHECKING:
    from tests.faults.conftest import MakeFleet


async def test_the_database_is_killed_and_started_again(make_fleet: MakeFleet) -> None:
    fleet = await make_fleet()
    async with fleet.talking() as talk:
        links = [client.link for client in talk.run.clients]
        await trio.to_thread.run_sync(fleet.mysql.kill)
        talk.note("kill -9 of the database", "killed")
        await until(lambda: talk.run.meter.errors["store_unavailable"] > 0)
        await trio.sleep(lasting(2.0))
        acked = talk.run.meter.acked
        await trio.to_thread.run_sync(fleet.mysql.start)
        talk.note("the database is back", "after")
        await until(lambda: talk.run.meter.acked > acked)
        talk.note("the first ack")
        await talk.until_crossed("after", 300)
        assert [client.link for client in talk.run.clients] == links  # the sockets stayed
    assert talk.verdict is not None
    assert talk.verdict.counts.resumes == 0


async def test_the_database_hangs(make_fleet: MakeFleet) -> None:
    """Longer than a statement's answer is waited for: what became of a commit is not known, and asked for later."""
    fleet = await make_fleet()
    async with fleet.talking() as talk:
        links = [client.link for client in talk.run.clients]
        fleet.mysql.pause()
        talk.note("SIGSTOP of the database", "paused")
        await trio.sleep(lasting(12.0))
        fleet.mysql.resume()
        talk.note("the database goes on", "after")
        await talk.until_crossed("after", 300)
        assert [client.link for client in talk.run.clients] == links
    assert talk.verdict is not None
    assert talk.verdict.counts.resumes == 0
