"""Two servers on one store: one sequence for everybody, whatever the bus does to the events between them."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, cast

import pytest
import trio
from chat_world import PATIENCE, ROOM, Client, House, serving, sqlite
from shims import DeadBus, Gate, ShakyBus, ShimStore

from bus.memory import Exchange
from chat.config import Limits
from chat.presence import GRACE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from trio.testing import MockClock

    from bus.bus import Bus
    from db.store import Store

FREELY = Limits(send_rate=0, handshakes_per_second=0)
TALK = 40  # messages a client


@contextlib.asynccontextmanager
async def fleet(tmp_path: Path, *buses: Bus, stores: tuple[Any, ...] = ()) -> AsyncIterator[list[House]]:
    """Servers s1, s2, ... on one store, each on its bus."""
    async with sqlite(tmp_path) as store, contextlib.AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                serving(stores[number](store) if stores else store, bus=bus, limits=FREELY, server_id=f"s{number + 1}")
            )
            for number, bus in enumerate(buses)
        ]


def two_buses() -> tuple[Bus, Bus]:
    exchange = Exchange()
    return exchange.bus("s1"), exchange.bus("s2")


async def all_talk_and_hear(houses: list[House], clients_each: int = 3, pause: float = 0.01) -> dict[str, list[str]]:
    """Everybody says TALK messages, `pause` seconds apart; what each of them heard, in order, all numbers from 1."""
    heard: dict[str, list[str]] = {}
    total = TALK * clients_each * len(houses)

    async def run(house: House, name: str) -> None:
        client = await house.client(name)
        joined = await client.join(after=[epoch, 0])  # with what the others have said already
        async with trio.open_nursery() as nursery:

            async def speak() -> None:
                for number in range(TALK):
                    nonce = f"{name}-{number}"
                    await client.say({"t": "send", "room": ROOM, "nonce": nonce, "text": nonce})
                    await trio.sleep(pause)

            nursery.start_soon(speak)
            frames: list[dict[str, Any]] = joined["messages"]
            while len(frames) < total:
                frame = await client.hear("message", "joined", room=ROOM)
                frames += frame["messages"] if frame["t"] == "joined" else [frame]
        assert [frame["seq"] for frame in frames] == list(range(1, total + 1))
        heard[name] = [frame["text"] for frame in frames]

    record = await houses[0].store.room(ROOM)
    assert record is not None
    epoch = record.epoch
    async with trio.open_nursery() as nursery:
        for house in houses:
            for number in range(clients_each):
                nursery.start_soon(run, house, f"{house.server.config.server_id}-{number}")
    return heard


async def test_two_servers_keep_one_sequence(tmp_path: Path) -> None:
    async with fleet(tmp_path, *two_buses()) as houses:
        heard = await all_talk_and_hear(houses)
        orders = list(heard.values())
        assert all(order == orders[0] for order in orders)
        assert len(set(orders[0])) == len(orders[0])


@pytest.mark.parametrize("seed", range(3))
async def test_a_bus_that_loses_doubles_delays_and_swaps_changes_nothing(
    tmp_path: Path, seed: int, fast_clock: MockClock
) -> None:
    buses = [ShakyBus(bus, seed + at, lost=0.3, doubled=0.3, late=0.3) for at, bus in enumerate(two_buses())]
    async with fleet(tmp_path, *buses) as houses:
        heard = await all_talk_and_hear(houses, pause=0.3)
        orders = list(heard.values())
        assert all(order == orders[0] for order in orders)
        assert all(bus.shaken > 10 for bus in buses)
        assert sum(house.metric("gap_fills") for house in houses) > 0


async def test_without_any_bus_rooms_go_on_through_the_store(tmp_path: Path, fast_clock: MockClock) -> None:
    async with fleet(tmp_path, DeadBus(), DeadBus()) as houses:
        heard = await all_talk_and_hear(houses, clients_each=2, pause=0.3)
        orders = list(heard.values())
        assert all(order == orders[0] for order in orders)


async def test_a_server_knows_when_others_write_its_rooms(tmp_path: Path) -> None:
    async with fleet(tmp_path, *two_buses()) as (one, two):
        ada, bob = await one.client("ada", ROOM), await two.client("bob", ROOM)
        began = trio.current_time()
        assert await ada.tell("hello", "n") == 1
        assert await bob.messages(1) == [1]
        assert two.server.hub.others_spoke >= began
        assert one.server.hub.others_spoke < began


async def test_a_message_committed_elsewhere_while_the_room_is_read_is_not_lost(tmp_path: Path) -> None:
    gate = Gate()
    async with fleet(tmp_path, *two_buses(), stores=(lambda store: store, ShimStore)) as (one, two):
        shim = cast("ShimStore", two.store)
        shim.after["live_room"] = gate  # the rows have been read, and are on their way
        ada, bob = await one.client("ada", ROOM), await two.client("bob")
        await bob.say({"t": "join", "room": ROOM})
        with trio.fail_after(PATIENCE):
            await gate.reached.wait()
        assert await ada.tell("meanwhile", "n") == 1
        await trio.sleep(0.1)  # until the event has come to the other server, which does not have the room yet
        gate.open()
        assert (await bob.hear("joined"))["head"] == 0
        assert await bob.messages(1) == [1]


async def test_a_room_deleted_elsewhere_while_it_is_read_is_not_joined(tmp_path: Path) -> None:
    gate = Gate()
    async with fleet(tmp_path, *two_buses(), stores=(lambda store: store, ShimStore)) as (one, two):
        shim = cast("ShimStore", two.store)
        shim.after["live_room"] = gate
        bob = await two.client("bob")
        await bob.say({"t": "join", "room": ROOM})
        with trio.fail_after(PATIENCE):
            await gate.reached.wait()
        await delete(one)
        await trio.sleep(0.1)
        gate.open()
        assert (await bob.hear("error"))["code"] == "room_missing"
        await one.room(ROOM, 2)
        assert (await bob.join())["head"] == 2


async def delete(house: House) -> None:
    record = await house.store.delete_room(ROOM)
    assert record is not None
    house.server.room_deleted(record)


async def test_a_deleted_room_ends_on_all_servers(tmp_path: Path) -> None:
    async with fleet(tmp_path, *two_buses()) as (one, two):
        ada, bob = await one.client("ada", ROOM), await two.client("bob", ROOM)
        await delete(one)
        for client in (ada, bob):
            assert (await client.hear("error"))["code"] == "room_deleted"
        await two.room(ROOM)
        for client in (ada, bob):
            await client.join()
        assert await ada.tell("anew", "n") == 1
        assert await bob.messages(1) == [1]


async def test_a_nonce_sent_again_on_another_server_is_not_a_second_message(tmp_path: Path) -> None:
    async with fleet(tmp_path, *two_buses()) as (one, two):
        ada, bob = await one.client("ada", ROOM), await two.client("bob", ROOM)
        assert await ada.tell("once", "same") == 1
        again = await two.client("ada", ROOM)
        assert await again.tell("once", "same") == 1
        assert await again.tell("twice", "other") == 2
        assert await bob.messages(2) == [1, 2]
        assert await ada.messages(2) == [1, 2]


async def test_typing_and_read_marks_cross_servers(tmp_path: Path) -> None:
    async with fleet(tmp_path, *two_buses()) as (one, two):
        ada, bob = await one.client("ada", ROOM), await two.client("bob", ROOM)
        await ada.tell("x", "n")
        await bob.messages(1)
        await ada.say({"t": "typing", "room": ROOM}, {"t": "read", "room": ROOM, "seq": 1})
        assert (await bob.hear("typing"))["from"] == {"id": "ada", "name": "Ada"}
        assert await bob.hear("read") == {"t": "read", "room": ROOM, "user": "ada", "seq": 1}


async def test_a_position_of_a_server_that_is_ahead_is_waited_for(tmp_path: Path) -> None:
    async with fleet(tmp_path, DeadBus(), DeadBus()) as (one, two):
        ada, bob = await one.client("ada", ROOM), await two.client("bob", ROOM)
        epoch = (await ada.join())["epoch"]
        for number in range(5):
            await ada.tell("x", f"n{number}")
        moved = await two.client("ada")
        joined = await moved.join(after=[epoch, 5])
        assert (joined["gap"], joined["head"], joined["messages"]) == (False, 5, [])
        assert await bob.messages(5) == [1, 2, 3, 4, 5]
        joined = await (await two.client("eve")).join(after=[epoch, 6])
        assert joined["gap"]


async def test_presence_is_one_over_servers_and_a_move_is_no_news(tmp_path: Path, fast_clock: MockClock) -> None:
    async with fleet(tmp_path, *two_buses()) as (one, two):
        bob = await one.client("bob", ROOM)
        await bob.hear("presence", count=1)  # his own, or a late telling names both
        ada = await two.client("ada", ROOM)
        assert (await bob.hear("presence", count=2))["joined"] == [{"id": "ada", "name": "Ada"}]
        eve = await two.client("eve", ROOM)
        await bob.hear("presence", count=3)
        here: list[Client] = [await one.client("ada")]
        joined = await here[0].join()
        assert {member["id"] for member in joined["members"]} == {"ada", "bob", "eve"}
        bob.waiting.clear()
        await ada.leave()
        told = [frame for frame in await bob.hear_all(2 * GRACE) if frame["t"] == "presence"]
        assert told == []
        await eve.leave()
        assert (await bob.hear("presence"))["left"] == ["eve"]
        await here[0].leave()
        assert (await bob.hear("presence"))["left"] == ["ada"]


async def test_the_silence_of_a_quiet_server_is_not_its_end(tmp_path: Path, fast_clock: MockClock) -> None:
    async with fleet(tmp_path, *two_buses()) as (one, two):
        bob, ada = await one.client("bob", ROOM), await two.client("ada", ROOM)
        await bob.hear("presence", count=2)
        told: list[str] = []

        async def hear(client: Client) -> None:
            told.extend(frame["t"] for frame in await client.hear_all(30.0) if frame["t"] == "presence")

        await bob.hear_all(1.0)
        await ada.hear_all(1.0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hear, bob)
            nursery.start_soon(hear, ada)
        assert told == []


async def test_a_store_read_twice_is_read_once(tmp_path: Path) -> None:
    gate = Gate()
    async with sqlite(tmp_path) as store:
        shim = ShimStore(store)
        async with serving(cast("Store", shim), limits=FREELY) as belfry:
            shim.before["live_room"] = gate
            clients = [await belfry.client(f"u{number}") for number in range(10)]
            for client in clients:
                await client.say({"t": "join", "room": ROOM})
            with trio.fail_after(PATIENCE):
                await gate.reached.wait()
            gate.open()
            for client in clients:
                await client.hear("joined")
            assert len(shim.called("live_room")) == 1
