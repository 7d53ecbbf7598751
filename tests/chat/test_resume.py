"""Resume is exact: who comes back gets what was missed, at any depth and while others talk, or is told of a gap."""

from __future__ import annotations

import datetime as dt
import socket
from typing import TYPE_CHECKING, Any, cast

import pytest
import trio
from chat_world import PATIENCE, ROOM, Client, House, house, serving, sqlite, token
from shims import Gate, ShimStore

from chat.config import Limits
from chat.joining import CATCH_UP_BYTES
from chat.room import WINDOW_MESSAGES
from db.records import Draft

if TYPE_CHECKING:
    from pathlib import Path

    from db.store import Store

DEEP = 3_000  # messages: six pages of the store
FREELY = Limits(send_rate=0, handshakes_per_second=0)


async def epoch_of(belfry: House, room: str = ROOM) -> str:
    record = await belfry.store.room(room)
    assert record is not None
    return record.epoch


async def come_back(belfry: House, position: int, room: str = ROOM, **join: Any) -> tuple[Client, dict[str, Any]]:
    """A client that joins at a position, and its `joined`."""
    client = await belfry.client("back")
    await client.say({"t": "join", "room": room, "after": [await epoch_of(belfry, room), position]} | join)
    joined = await client.hear("joined")
    return client, joined


@pytest.mark.parametrize("missed", [0, 1, 7, 60])
async def test_from_the_window_comes_exactly_what_was_missed(tmp_path: Path, missed: int) -> None:
    async with house(tmp_path, limits=FREELY) as belfry:
        ada = await belfry.client("ada", ROOM)
        for number in range(70):
            await ada.say({"t": "send", "room": ROOM, "nonce": f"n{number}", "text": "x"})
        await ada.hear("ack", nonce="n69")
        reads = belfry.metric("store_reads")
        back, joined = await come_back(belfry, 70 - missed)
        assert (joined["head"], joined["gap"]) == (70, False)
        assert [message["seq"] for message in joined["messages"]] == list(range(71 - missed, 71))
        assert belfry.metric("store_reads") == reads
        await ada.tell("next", "next")
        assert await back.messages(1) == [71]


@pytest.mark.parametrize("position", [0, 1, DEEP - WINDOW_MESSAGES - 1, DEEP - WINDOW_MESSAGES, DEEP - 1, DEEP])
async def test_any_depth_is_paged_from_the_store_while_others_talk(tmp_path: Path, position: int) -> None:
    async with house(tmp_path, first_rooms=(), limits=FREELY) as belfry:
        await belfry.room(ROOM, DEEP)
        ada = await belfry.client("ada", ROOM)
        head = DEEP
        done = trio.Event()

        async def talk() -> None:
            nonlocal head
            while not done.is_set():
                head = await ada.tell("meanwhile", f"n{head}")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(talk)
            back, joined = await come_back(belfry, position)
            assert not joined["gap"]
            seen = [message["seq"] for message in joined["messages"]]
            seen += await back.messages(joined["head"] + 20 - position - len(seen))
            done.set()
        seen += await back.messages(head - seen[-1])
        assert seen == list(range(position + 1, head + 1))
        assert [frame for frame in await back.hear_all(0.05) if frame["t"] in ("message", "joined")] == []


async def test_many_come_back_at_many_depths_at_once(tmp_path: Path) -> None:
    async with house(tmp_path, first_rooms=(), limits=FREELY) as belfry:
        await belfry.room(ROOM, DEEP)

        async def check(position: int) -> None:
            back, joined = await come_back(belfry, position)
            seen = [message["seq"] for message in joined["messages"]]
            seen += await back.messages(DEEP - position - len(seen))
            assert seen == list(range(position + 1, DEEP + 1))

        async with trio.open_nursery() as nursery:
            for position in range(0, DEEP, 151):
                nursery.start_soon(check, position)


async def test_a_thousand_come_back_from_beyond_the_window_at_once_while_others_talk(tmp_path: Path) -> None:
    """Each has missed more than the room keeps in memory; all of them get all of it, and what is said meanwhile."""
    missed = WINDOW_MESSAGES + 100
    async with house(tmp_path, first_rooms=(), limits=FREELY) as belfry:
        await belfry.room(ROOM, missed + 10)
        epoch = await epoch_of(belfry)
        ada = await belfry.client("ada", ROOM)
        said = 0
        gone_through = 0

        async def talk(done: trio.Event) -> None:
            nonlocal said
            while not done.is_set():
                said = await ada.tell("meanwhile", f"n{said}")
                ada.waiting.clear()

        async def check(number: int) -> None:
            nonlocal gone_through
            back = await (await belfry.connect()).upgrade()
            await back.hello(f"u{number}", resume={ROOM: [epoch, 10]})
            seen = await back.messages(missed)
            seen += await back.messages(5)  # and goes on in the present
            assert seen == list(range(11, 11 + len(seen)))
            gone_through += 1
            await back.leave()

        done = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(talk, done)
            async with trio.open_nursery() as wave:
                for number in range(1_000):
                    wave.start_soon(check, number)
            done.set()
        assert gone_through == 1_000
        assert said > missed


async def test_a_wave_within_the_window_reads_the_store_once(tmp_path: Path) -> None:
    async with sqlite(tmp_path) as store:
        async with serving(store) as before:
            await before.room("hall", 400)
        async with serving(store, limits=FREELY) as belfry:
            epoch = await epoch_of(belfry, "hall")

            async def check(number: int) -> None:
                back = await (await belfry.connect()).upgrade()
                await back.hello(f"u{number}", resume={"hall": [epoch, 400 - number]})
                assert await back.messages(number, "hall") == list(range(401 - number, 401))

            async with trio.open_nursery() as nursery:
                for number in range(1, 100):
                    nursery.start_soon(check, number)
            assert belfry.metric("store_reads") == 1
            assert belfry.metric("resumes") == 99


async def test_long_messages_do_not_make_a_good_reader_look_slow(tmp_path: Path) -> None:
    count, text = 400, "\U0001f514" * 4_000  # 16 KB each, 6.4 MB together, six times outbox_bytes
    async with house(tmp_path, first_rooms=(), limits=FREELY) as belfry:
        await belfry.room(ROOM, count, lambda _: text)
        back, joined = await come_back(belfry, 0)
        seen = [message["seq"] for message in joined["messages"]]
        assert len(joined["messages"]) * len(text.encode()) <= CATCH_UP_BYTES
        seen += await back.messages(count - len(seen))
        assert seen == list(range(1, count + 1))
        assert await back.tell("got them", "n") == count + 1
        newcomer = await belfry.client("new")
        await newcomer.say({"t": "join", "room": ROOM, "limit": 300})
        assert await newcomer.messages(300) == list(range(count - 298, count + 2))
        assert belfry.metric("slow_readers") == 0


async def test_many_rooms_do_not_make_a_good_reader_look_slow(tmp_path: Path) -> None:
    rooms = [f"r{number}" for number in range(60)]
    async with house(tmp_path, first_rooms=(), limits=FREELY) as belfry:
        for room in rooms:
            await belfry.room(room, 100, lambda _: "x" * 1_000)  # 6 MB in all rooms
        await belfry.client("ada", *rooms)  # so that all are in memory, and resuming waits for nothing
        back = await (await belfry.connect(receive_buffer=4_096)).upgrade()
        resume = {room: [await epoch_of(belfry, room), 0] for room in rooms}
        await back.say({"t": "hello", "token": token("back"), "resume": resume})
        await trio.sleep(0.3)  # it reads nothing for a while, as a phone does
        back.stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1_048_576)
        for room in rooms:
            assert await back.messages(100, room) == list(range(1, 101))
        assert belfry.metric("slow_readers") == 0


async def test_what_the_store_has_ahead_of_the_room_comes_once(tmp_path: Path) -> None:
    text = "\U0001f514" * 4_000  # 16 KB: the window holds 32 of them, a page of the store 500
    async with sqlite(tmp_path) as store:
        shim = ShimStore(store)
        async with serving(cast("Store", shim), first_rooms=(), limits=FREELY) as belfry:
            await belfry.room(ROOM, 60, lambda _: text)
            ada = await belfry.client("ada", ROOM)
            gate = shim.before["messages_after"] = Gate()
            back = await belfry.client("back")
            await back.say({"t": "join", "room": ROOM, "after": [await epoch_of(belfry), 0]})
            with trio.fail_after(PATIENCE):
                await gate.reached.wait()
            record = await store.room(ROOM)
            assert record is not None
            elsewhere = [Draft(record.id, "eve", "Eve", f"e{number}", "from elsewhere") for number in range(5)]
            await store.append(elsewhere, dt.datetime.now(dt.UTC))
            gate.open()
            seen = await back.messages(60)
            assert await ada.tell("next", "n") == 66
            seen += await back.messages(6)
            assert seen == list(range(1, 67))


async def test_who_joins_again_from_far_back_sees_one_order(tmp_path: Path) -> None:
    async with house(tmp_path, first_rooms=(), limits=FREELY) as belfry:
        await belfry.room(ROOM, DEEP)
        ada, back = await belfry.client("ada", ROOM), await belfry.client("back", ROOM)
        done = trio.Event()

        async def talk() -> None:
            number = 0
            while not done.is_set():
                number = await ada.tell("meanwhile", f"n{number}")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(talk)
            back.waiting.clear()
            await back.say({"t": "join", "room": ROOM, "after": [await epoch_of(belfry), 0]})
            await back.hear("joined")
            seen = await back.messages(DEEP)
            done.set()
        again = seen.index(501)  # the page after those in `joined`; before it, what came before the join was read
        assert seen[again:] == list(range(501, 501 + len(seen) - again))


@pytest.mark.parametrize("limit", [0, 1, 50, 500])
async def test_without_a_position_come_the_newest(tmp_path: Path, limit: int) -> None:
    async with house(tmp_path, first_rooms=(), limits=FREELY) as belfry:
        await belfry.room(ROOM, 700)
        new = await belfry.client("new")
        joined = await new.join(limit=limit)
        assert (joined["head"], joined["gap"]) == (700, False)
        assert [message["seq"] for message in joined["messages"]] == list(range(701 - limit, 701))
        assert len((await new.join())["messages"]) == 50


@pytest.mark.parametrize("how", ["join", "resume"])
@pytest.mark.parametrize(("epoch", "position"), [("other", 3), ("other", 0), (None, 61), (None, 2**63 - 1), ("", 60)])
async def test_a_position_that_is_not_of_this_room_is_a_gap(
    tmp_path: Path, how: str, epoch: str | None, position: int
) -> None:
    async with house(tmp_path, first_rooms=()) as belfry:
        await belfry.room(ROOM, 60)
        true_epoch = await epoch_of(belfry)
        after = [true_epoch if epoch is None else epoch, position]
        if how == "join":
            back = await belfry.client("back")
            joined = await back.join(after=after, limit=2)
        else:
            back = await (await belfry.connect()).upgrade()
            await back.hello("back", resume={ROOM: after})
            joined = await back.hear("joined")
        assert (joined["gap"], joined["epoch"], joined["head"]) == (True, true_epoch, 60)
        newest = 2 if how == "join" else 50
        assert [message["seq"] for message in joined["messages"]] == list(range(61 - newest, 61))
        assert await back.tell("on we go", "n") == 61
        assert belfry.metric("gaps") == 1


async def test_resume_answers_each_room_also_those_that_are_gone(tmp_path: Path) -> None:
    async with house(tmp_path, first_rooms=(ROOM, "tea")) as belfry:
        ada = await belfry.client("ada", ROOM, "tea")
        await ada.tell("x", "n")
        back = await (await belfry.connect()).upgrade()
        await back.hello(
            "back",
            resume={ROOM: [await epoch_of(belfry), 0], "gone": ["e", 5], "tea": [await epoch_of(belfry, "tea"), 0]},
        )
        assert len((await back.hear("joined", room=ROOM))["messages"]) == 1
        error = await back.hear("error")
        assert (error["code"], error["ref"]) == ("room_missing", "gone")
        assert (await back.hear("joined", room="tea"))["messages"] == []
        assert await back.tell("in both", "n", "tea") == 1


async def test_history_survives_the_server(tmp_path: Path) -> None:
    async with sqlite(tmp_path) as store:
        async with serving(store) as first:
            ada = await first.client("ada", ROOM)
            for number in range(10):
                await ada.tell(f"text {number}", f"n{number}")
        async with serving(store) as second:
            back, joined = await come_back(second, 4)
            assert [message["text"] for message in joined["messages"]] == [f"text {n}" for n in range(4, 10)]
            again = await second.client("ada", ROOM)
            assert await again.tell("text 9", "n9") == 10
            assert await again.tell("new", "n10") == 11
            assert await back.messages(1) == [11]
