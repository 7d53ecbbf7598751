"""The sessions of a server: whom it closes and why, whom it tells of whom, and how it moves them all."""

from __future__ import annotations

import functools
import socket
from typing import TYPE_CHECKING, cast

import pytest
import trio
from chat_world import PATIENCE, ROOM, TOKENS, Client, Frame, House, head, house, serving, sqlite, token, until
from shims import Gate, ShimStore

from chat.config import Limits
from chat.moving import LEAD
from chat.outbox import SLOW_LINGER_BYTES
from chat.presence import GRACE, NAMED

if TYPE_CHECKING:
    from pathlib import Path

    from trio.testing import MockClock

    from db.store import Store

FREELY = Limits(send_rate=0, handshakes_per_second=0)


# --- closed for a reason -----------------------------------------------------------------------------------------


async def test_a_token_that_runs_out_ends_its_session_and_no_other(tmp_path: Path) -> None:
    async with house(tmp_path) as belfry:
        bob = await belfry.client("bob", ROOM)
        ada = await belfry.client("ada", ROOM, token=token("ada", 0.5))
        assert str(await ada.hear_close()) == "4500 token expired"
        assert await bob.tell("still here", "n") == 1


async def test_a_ticket_does_not_prolong_its_session(tmp_path: Path) -> None:
    async with house(tmp_path) as belfry:
        ticket = TOKENS.ticket(TOKENS.verify(token("ada", 0.5)), {ROOM: ("e", 1)}, 60.0)
        ada = await belfry.client("ada", token=ticket)
        assert str(await ada.hear_close()) == "4500 token expired"


async def test_the_oldest_session_of_a_user_gives_way(tmp_path: Path) -> None:
    async with house(tmp_path, limits=Limits(sessions_per_user=2)) as belfry:
        bob = await belfry.client("bob", ROOM)
        first, second = await belfry.client("ada", ROOM), await belfry.client("ada", ROOM)
        third = await belfry.client("ada", ROOM)
        assert str(await first.hear_close()) == "4502 replaced by a newer session"
        assert await second.tell("second", "n2") == 1
        assert await third.tell("third", "n3") == 2
        assert await bob.messages(2) == [1, 2]


async def test_a_burst_of_one_users_sessions_leaves_as_many_as_may_be(tmp_path: Path) -> None:
    async with house(tmp_path, limits=Limits(sessions_per_user=2, handshakes_per_second=0)) as belfry:
        clients = [await (await belfry.connect()).upgrade() for _ in range(12)]
        closes: list[int] = []

        async def close_of(client: Client) -> None:
            closes.append((await client.hear_close()).code)

        async with trio.open_nursery() as nursery:
            for client in clients:
                nursery.start_soon(functools.partial(client.say, {"t": "hello", "token": token("ada")}))
                nursery.start_soon(close_of, client)
            await until(lambda: len(closes) == 10)
            await belfry.client("bob", ROOM)
            nursery.cancel_scope.cancel()
        assert closes == [4502] * 10
        assert len(belfry.server.sessions) == 3


async def test_the_silent_are_pinged_and_then_closed(tmp_path: Path, fast_clock: MockClock) -> None:
    async with house(tmp_path, heartbeat=15.0) as belfry:
        silent, alive = await belfry.client("ada", ROOM), await belfry.client("bob", ROOM)
        silent.silent = True
        async with trio.open_nursery() as nursery:

            async def live() -> None:
                await alive.hear_all(1_000.0)

            nursery.start_soon(live)
            assert await silent.hear("ping") == {"t": "ping"}
            assert str(await silent.hear_close()) == "4002 no pong"
            assert [frame for frame in silent.waiting if frame["t"] == "ping"] == []
            await trio.sleep(10.0)
            nursery.cancel_scope.cancel()
        assert alive.closed is None
        assert await alive.tell("still here", "n") == 1


async def test_who_says_no_hello_is_closed_in_time(tmp_path: Path, fast_clock: MockClock) -> None:
    async with house(tmp_path) as belfry:
        stranger = await (await belfry.connect()).upgrade()
        assert str(await stranger.hear_close()) == "4003 no hello in time"


async def test_too_many_sends_are_refused_with_the_moment_they_may_come(tmp_path: Path) -> None:
    async with house(tmp_path, limits=Limits(send_rate=5.0, send_burst=3)) as belfry:
        ada, bob = await belfry.client("ada", ROOM), await belfry.client("bob", ROOM)
        sends: list[Frame] = [{"t": "send", "room": ROOM, "nonce": f"n{n}", "text": "x"} for n in range(5)]
        await ada.say(*sends)
        errors = [await ada.hear("error") for _ in range(2)]
        assert [(error["code"], error["ref"], error["temporary"]) for error in errors] == [
            ("rate_limited", "n3", True),
            ("rate_limited", "n4", True),
        ]
        assert all(0 < error["retry_ms"] <= 200 for error in errors)
        for number in (3, 4):
            await trio.sleep(0.201)  # seconds; the rate's own, which retry_ms may not exceed
            assert await ada.tell("x", f"n{number}") == number + 1
        assert await bob.tell("mine is not his", "n") == 6


@pytest.mark.parametrize("frame", [{"t": "send", "room": ROOM, "nonce": "n", "text": "x"}, {"t": "pong"}, {"t": "?"}])
async def test_a_flood_is_refused_and_then_closed(tmp_path: Path, frame: Frame) -> None:
    async with house(tmp_path, limits=Limits(send_rate=1.0, send_burst=2)) as belfry:
        bob = await belfry.client("bob", ROOM)
        ada = await belfry.client("ada", ROOM)
        await ada.say(*[frame] * 400)
        error = await ada.hear("error")
        assert error["t"] == "error"
        assert (await ada.hear_close()).code == 1008
        assert await bob.tell("still here", "n") == (2 if frame["t"] == "send" else 1)


# --- slow readers ------------------------------------------------------------------------------------------------


async def narrow(belfry: House, user: str) -> Client:
    """A client whose kernel takes as little as it can for a reader who does not read."""
    client = await (await belfry.connect(receive_buffer=4_096)).upgrade()
    await client.hello(user)
    await client.join()
    return client


async def talk_until_slow(belfry: House, speaker: Client) -> int:
    """Long messages until somebody was found too slow; how many."""
    number = 0
    while not belfry.metric("slow_readers"):
        assert number < 2_000
        number = await talk(speaker, number, 3)  # in one write less than SLOW_LINGER_BYTES
    return number


async def talk(speaker: Client, number: int, count: int) -> int:
    """Messages of 16 KB from `number` on, all in one write; the last one's number."""
    text = "\U0001f514" * 4_000
    await speaker.say(
        *({"t": "send", "room": ROOM, "nonce": f"n{n}", "text": text} for n in range(number, number + count))
    )
    assert await speaker.messages(count) == list(range(number + 1, number + count + 1))
    return number + count


async def test_a_slow_reader_learns_why_and_comes_back_to_everything(tmp_path: Path) -> None:
    limits = Limits(send_rate=0, outbox_bytes=262_144)
    async with house(tmp_path, limits=limits) as belfry:
        slow, ada = await narrow(belfry, "slow"), await belfry.client("ada", ROOM)
        epoch = (await ada.join())["epoch"]
        count = await talk_until_slow(belfry, ada)
        backlog = belfry.server.metrics.gauges["outbox_bytes"]
        await until(lambda: backlog() <= SLOW_LINGER_BYTES + 200)  # bytes: the write under way and the close
        slow.stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1_048_576)
        assert str(await slow.hear_close()) == "4001 you read too slowly"
        seen = [frame["seq"] for frame in slow.waiting if frame["t"] == "message"]
        assert 0 < len(seen) < count
        assert seen == list(range(1, len(seen) + 1))
        await until(lambda: backlog() == 0)
        back = await (await belfry.connect()).upgrade()
        await back.hello("slow", resume={ROOM: [epoch, len(seen)]})
        assert await back.messages(count - len(seen)) == list(range(len(seen) + 1, count + 1))
        assert await ada.tell("unharmed", "last") == count + 1


async def test_a_reader_that_never_reads_costs_nothing_in_the_end(tmp_path: Path, fast_clock: MockClock) -> None:
    limits = Limits(send_rate=0, outbox_bytes=262_144)
    async with house(tmp_path, limits=limits, heartbeat=0.0) as belfry:
        await narrow(belfry, "never")
        ada = await belfry.client("ada", ROOM)
        count = await talk_until_slow(belfry, ada)
        connections = belfry.server.metrics.gauges["connections"]
        await until(lambda: connections() == 1)
        await until(lambda: belfry.server.metrics.gauges["outbox_bytes"]() == 0)
        assert belfry.server.metrics.closes[4001] == 1
        assert len(belfry.server.sessions) == 1
        assert await ada.tell("unharmed", "last") == count + 1


# --- presence ----------------------------------------------------------------------------------------------------


async def test_arrivals_are_told_together(tmp_path: Path) -> None:
    async with house(tmp_path, limits=FREELY) as belfry:
        bob = await belfry.client("bob", ROOM)
        crowd = [await belfry.client(f"u{number}") for number in range(30)]
        await bob.hear_all(0.3)
        async with trio.open_nursery() as nursery:
            for client in crowd:
                nursery.start_soon(client.join)
        tellings = 0
        came: set[str] = set()
        while len(came) < 30:
            presence = await bob.hear("presence")
            tellings += 1
            came |= {user["id"] for user in presence["joined"]}
            assert presence["left"] == []
        assert came == {f"u{number}" for number in range(30)}
        assert presence["count"] == 31
        assert tellings <= 10


async def test_a_reconnect_is_no_news_and_a_leave_is(tmp_path: Path, fast_clock: MockClock) -> None:
    async with house(tmp_path) as belfry:
        bob, ada = await belfry.client("bob", ROOM), await belfry.client("ada", ROOM)
        await bob.hear("presence", count=2)
        await bob.hear_all(1.0)
        for _ in range(3):
            await ada.leave()
            await trio.sleep(GRACE / 4)
            ada = await belfry.client("ada", ROOM)
        phone = await belfry.client("ada", ROOM)
        await ada.leave()
        assert [frame for frame in await bob.hear_all(2 * GRACE) if frame["t"] == "presence"] == []
        await phone.leave()
        assert await bob.hear("presence") == {"t": "presence", "room": ROOM, "joined": [], "left": ["ada"], "count": 1}


async def test_large_rooms_are_counted_not_named(tmp_path: Path) -> None:
    async with house(tmp_path, limits=FREELY) as belfry:
        bob = await belfry.client("bob", ROOM)
        async with trio.open_nursery() as nursery:
            for number in range(NAMED):
                nursery.start_soon(belfry.client, f"u{number}", ROOM)
        last = await belfry.client("last")
        joined = await last.join()
        assert joined["count"] == NAMED + 2
        assert "members" not in joined
        presence = await bob.hear("presence", count=NAMED + 2)
        assert (presence["joined"], presence["left"]) == ([], [])


# --- drain -------------------------------------------------------------------------------------------------------


async def test_everybody_is_moved_with_a_ticket_that_resumes(tmp_path: Path) -> None:
    async with sqlite(tmp_path) as store:
        async with serving(store, public_url="wss://s1.example.org/ws") as old:
            ada, bob = await old.client("ada", ROOM), await old.client("bob", ROOM)
            epoch = (await ada.join())["epoch"]
            assert await ada.tell("before", "n1") == 1
            old.server.drain()
            moving = await ada.hear("moving")
            assert moving["url"] == "wss://s1.example.org/ws"
            assert 0 <= moving["not_before_ms"] <= moving["window_ms"] <= 25_000
            assert str(await ada.hear_close()) == "1012 server is moving"
            assert (await bob.hear_close()).code == 1012
            with trio.fail_after(PATIENCE):
                await old.stopped.wait()
            assert old.server.state == "stopped"
        identity = TOKENS.verify(moving["ticket"])
        assert (identity.user_id, identity.rooms) == ("ada", {ROOM: (epoch, 1)})
        async with serving(store, server_id="s2") as new:
            bob = await new.client("bob", ROOM)
            await bob.tell("meanwhile", "n2")
            ada = await (await new.connect()).upgrade()
            await ada.say({"t": "hello", "token": moving["ticket"]})
            assert (await ada.hear("welcome"))["user"] == {"id": "ada", "name": "Ada"}
            joined = await ada.hear("joined")
            assert (joined["gap"], [message["seq"] for message in joined["messages"]]) == (False, [2])
            assert await ada.tell("after", "n3") == 3


async def test_moves_are_spread_and_nobody_is_closed_before_its_moment(tmp_path: Path, fast_clock: MockClock) -> None:
    async with house(tmp_path, limits=Limits(handshakes_per_second=4)) as belfry:
        clients: list[Client] = []
        for number in range(16):
            await trio.sleep(0.3)
            clients.append(await belfry.client(f"u{number}", ROOM))
        moments: list[float] = []

        async def move(client: Client) -> None:
            moving = await client.hear("moving")
            told = trio.current_time() - began
            moments.append(told + moving["not_before_ms"] / 1_000)
            assert moving["not_before_ms"] <= 1_000 * LEAD
            assert moving["window_ms"] == 4_000
            assert (await client.hear_close()).code == 1012
            assert trio.current_time() - began >= moving["not_before_ms"] / 1_000

        async with trio.open_nursery() as nursery:
            for client in clients:
                nursery.start_soon(move, client)
            began = trio.current_time()
            belfry.server.drain()
        assert max(moments) - min(moments) > 2.0
        await belfry.stopped.wait()


async def test_a_drain_ends_though_a_client_never_answers(tmp_path: Path) -> None:
    async with house(tmp_path, limits=Limits(send_rate=0, outbox_bytes=0)) as belfry:
        await narrow(belfry, "deaf")
        ada = await belfry.client("ada", ROOM)
        half = await belfry.connect()
        await half.send(b"GET /ws HTTP/1.1\r\nHost:")
        for number in range(0, 400, 50):  # 6 MB, more than the kernel takes for one who does not read
            await talk(ada, number, 50)
        belfry.server.drain()
        assert (await ada.hear_close()).code == 1012
        with trio.fail_after(belfry.server.config.drain_deadline):
            await belfry.stopped.wait()


async def test_nobody_new_comes_in_while_it_drains(tmp_path: Path) -> None:
    async with sqlite(tmp_path) as store:
        shim = ShimStore(store)
        async with serving(cast("Store", shim), limits=FREELY) as belfry:
            ada = await belfry.client("ada", ROOM)
            halfway, late = await (await belfry.connect()).upgrade(), await belfry.connect()
            await late.send(head()[:20])
            await until(lambda: belfry.server.metrics.gauges["connections"]() == 3)
            gate = shim.before["append"] = Gate()
            await ada.say({"t": "send", "room": ROOM, "nonce": "n", "text": "holds the drain until it is acked"})
            with trio.fail_after(PATIENCE):
                await gate.reached.wait()
            belfry.server.drain()
            await ada.hear("moving")
            await halfway.say({"t": "hello", "token": token("eve")})
            await late.send(head()[20:])
            assert (await halfway.hear("welcome"))["user"]["id"] == "eve"
            assert (await halfway.hear_close()).code == 1012
            answer = await late.response_head()
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b"\r\nRetry-After: " in answer
            with pytest.raises(ConnectionRefusedError):
                await belfry.connect()
            gate.open()
            assert (await ada.hear("ack"))["seq"] == 1
            assert (await ada.hear_close()).code == 1012
            with trio.fail_after(PATIENCE):
                await belfry.stopped.wait()
