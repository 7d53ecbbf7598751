"""Who is in a room, seen from every server of a fleet: once each, without flicker, and not when they are gone."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import trio

from chat.peers import LEASE
from chat.presence import GRACE
from tests.faults.fleet import WITH_A_LOBBY

if TYPE_CHECKING:
    from chat_world import Client

    from tests.faults.conftest import MakeFleet

QUIET = 2.0  # seconds in which what would come has come


async def said(client: Client, seconds: float) -> list[tuple[str, str]]:
    """Everything that comes within some seconds about who came and went, in order."""
    return [one for frame in await client.hear_all(seconds) for one in news(frame)]


async def until_said(client: Client, *wanted: tuple[str, str]) -> list[tuple[str, str]]:
    """Wait until all this was told, and return all that was; what is told together comes in one frame."""
    told: list[tuple[str, str]] = []
    while not set(wanted) <= set(told):
        told += news(await client.hear("presence"))
    return told


def news(frame: dict[str, Any]) -> list[tuple[str, str]]:
    if frame["t"] != "presence":
        return []
    return [*(("+", user["id"]) for user in frame["joined"]), *(("-", user) for user in frame["left"])]


async def test_a_dead_servers_members_leave_once_and_who_came_back_stays(make_fleet: MakeFleet) -> None:
    fleet = await make_fleet(2, *WITH_A_LOBBY)
    doomed, other = fleet.servers
    await fleet.until_on_bus()
    users = [f"user{number}" for number in range(5)]
    async with fleet.visit(other, "watch") as watch:
        async with AsyncExitStack() as stack:
            for user in [*users, "ada"]:
                await stack.enter_async_context(fleet.visit(doomed, user))
            await until_said(watch, *(("+", user) for user in [*users, "ada"]))
            await doomed.kill()
        async with fleet.visit(other, "ada"):
            left = (await watch.hear("presence"))["left"]
            assert sorted(left) == users  # together, in one frame
            assert await said(watch, QUIET) == []
            await doomed.start()
            assert await said(watch, LEASE + QUIET) == []


async def test_the_last_of_a_room_who_went_while_the_broker_was_away(make_fleet: MakeFleet) -> None:
    """Where they were nobody is left in the room, and so nobody who would speak of it."""
    fleet = await make_fleet(2, *WITH_A_LOBBY)
    here, there = fleet.servers
    await fleet.until_on_bus()
    async with fleet.visit(there, "watch") as watch:
        async with fleet.visit(here, "goes"):
            await until_said(watch, ("+", "goes"))
            await trio.to_thread.run_sync(fleet.kafka.kill)
            await trio.sleep(1.0)
        await trio.sleep(GRACE)
        await trio.to_thread.run_sync(fleet.kafka.start)
        assert await until_said(watch, ("-", "goes")) == [("-", "goes")]
        assert await said(watch, LEASE) == []
