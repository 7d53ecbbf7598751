"""What a client notices of a handover: nothing. Rooms, presence, halves of messages, and whoever comes meanwhile."""

from __future__ import annotations

import json
import resource
from typing import TYPE_CHECKING

import client_frames
import trio
from chat_world import ROOM, Client, House, head, house, serving, sqlite, token, until
from shims import Gate, ShimStore

from bus.memory import Exchange
from chat.config import Limits
from chat.handover import record
from tests.chat.handover.handing import Lock, handed_over

if TYPE_CHECKING:
    from pathlib import Path

    import pytest
    from trio.testing import MockClock

HEALTH = b"GET /healthz HTTP/1.1\r\nHost: belfry.test\r\n\r\n"
UNLIMITED = Limits(handshakes_per_second=0, send_rate=0, text_chars=0, frame_bytes=0, outbox_bytes=0)
MOMENT = 0.3  # seconds in which what would come has come


def send_frame(text: str, nonce: str, room: str = ROOM) -> bytes:
    return client_frames.text(json.dumps({"t": "send", "room": room, "nonce": nonce, "text": text}))


async def quiet(*clients: Client) -> None:
    """Nothing is told to anybody."""
    for client in clients:
        assert await client.hear_all(MOMENT) == []


async def settle(*clients: Client) -> None:
    """Hear all that is on its way: who came, what was said."""
    for client in clients:
        await client.hear_all(MOMENT)


async def test_rooms_members_and_order_go_on(tmp_path: Path) -> None:
    async with house(tmp_path) as old:
        await old.room("den", 700)
        ada, bob = await old.client("ada", ROOM, "den"), await old.client("bob", ROOM)
        assert [await ada.tell(f"text {n}", f"n{n}") for n in range(3)] == [1, 2, 3]
        await settle(ada, bob)
        async with handed_over(old) as new:
            assert (new.given.moved, new.given.left_behind, new.given.settled) == (2, 0, True)
            await quiet(ada, bob)
            reads = new.metric("store_reads")
            assert await bob.tell("from the new one", "n9") == 4
            assert await ada.messages(1) == [4]
            assert await ada.tell("again", "n1") == 2, "a send from before is known still"
            assert await ada.tell("in the other room", "m1", "den") == 701
            late = await new.client("eve")
            joined = await late.join(after=[(await ada.join())["epoch"], 1])
            assert [message["seq"] for message in joined["messages"]] == [2, 3, 4]
            assert new.metric("store_reads") == reads, "the window came along"
            assert {user["id"] for user in joined["members"]} == {"ada", "bob", "eve"}
            await old.stopped.wait()
            assert (await bob.leave()).code == 1000


async def test_the_lock_changes_hands_once_and_nobody_writes_between(tmp_path: Path) -> None:
    story: list[str] = []
    shared = trio.Semaphore(0)
    async with house(tmp_path) as old:
        ada = await old.client("ada", ROOM)
        async with handed_over(old, locks=(Lock(story, "old", shared), Lock(story, "new", shared))):
            assert story == ["old releases", "new takes"]
            assert await ada.tell("hi", "n1") == 1


async def test_read_marks_that_are_not_stored_yet_are_stored_by_the_successor(tmp_path: Path) -> None:
    async with house(tmp_path) as old:
        ada, bob = await old.client("ada", ROOM), await old.client("bob", ROOM)
        await ada.tell("hi", "n1")
        await ada.tell("ho", "n2")
        await bob.say({"t": "read", "room": ROOM, "seq": 2})
        await ada.hear("read", seq=2)
        live = old.server.hub.peek(ROOM)
        assert live is not None
        async with handed_over(old) as new:
            await new.server.hub.flush_marks()
            stored = await new.store.live_room(ROOM, 1, 10)
            assert stored is not None
            assert dict(stored.marks) == {"bob": 2}
            await ada.say({"t": "read", "room": ROOM, "seq": 1})
            await bob.hear("read", user="ada", seq=1)


async def test_presence_does_not_flicker(tmp_path: Path, fast_clock: MockClock) -> None:
    async with house(tmp_path) as old:
        ada = await old.client("ada", ROOM)
        bob, again = await old.client("bob", ROOM), await old.client("bob", ROOM)
        gone = await old.client("gone", ROOM)
        await settle(ada)
        await gone.leave()
        await until(lambda: len(old.server.sessions) == 3)
        late = await old.client("late", ROOM)  # not told to the others yet, or just so
        async with handed_over(old) as new:
            assert new.given.moved == 4
            told = [frame for frame in await ada.hear_all(20.0) if frame["t"] == "presence"]
            assert [user["id"] for frame in told for user in frame["joined"]] == ["late"]
            assert [user for frame in told for user in frame["left"]] == ["gone"]
            await again.leave()
            assert [f for f in await ada.hear_all(20.0) if f["t"] == "presence"] == []
            await bob.leave()
            assert (await ada.hear("presence"))["left"] == ["bob"]
            assert (await late.join())["count"] == 2


async def test_members_on_other_servers_stay(tmp_path: Path) -> None:
    exchange = Exchange()
    async with (
        sqlite(tmp_path) as store,
        serving(store, bus=exchange.bus("a/1"), server_id="a") as old,
        serving(store, bus=exchange.bus("b/1"), server_id="b") as other,
    ):
        far = await other.client("far", ROOM)
        ada = await old.client("ada", ROOM)
        await far.hear("presence")
        await settle(ada, far)
        async with handed_over(old, bus=exchange.bus("a/2")):
            await quiet(ada, far)
            assert await far.tell("hi", "n1") == 1
            assert await ada.messages(1) == [1]
            assert (await ada.join())["count"] == 2


async def test_typing_goes_on(tmp_path: Path) -> None:
    async with house(tmp_path) as old:
        ada, bob = await old.client("ada", ROOM), await old.client("bob", ROOM)
        await ada.say({"t": "typing", "room": ROOM})
        await bob.hear("typing")
        async with handed_over(old):
            await bob.say({"t": "typing", "room": ROOM})
            await ada.hear("typing", **{"from": {"id": "bob", "name": "Bob"}})


async def cut_in_two(tmp_path: Path, frames: list[bytes]) -> None:
    """Each frame, cut at each of its bytes, half before and half after a handover: all arrive, each once."""
    cuts = [(frame, at) for frame in frames for at in range(1, len(frame))]
    async with house(tmp_path) as old:
        clients = [await old.client(f"u{number}", ROOM) for number in range(len(cuts))]
        for client, (frame, at) in zip(clients, cuts, strict=True):
            await client.send(frame[:at])
        await trio.sleep(MOMENT)
        async with handed_over(old) as new:
            assert (new.given.moved, new.given.left_behind) == (len(cuts), 0)
            for client, (frame, at) in zip(clients, cuts, strict=True):
                await client.send(frame[at:])
                await client.hear("ack", nonce="n1")
            assert await clients[0].messages(len(cuts)) == list(range(1, len(cuts) + 1))
            for client in clients:
                assert client.closed is None


async def test_half_a_frame_cut_at_every_byte(tmp_path: Path) -> None:
    await cut_in_two(tmp_path, [send_frame("x", "n1")])


async def test_a_longer_frame_cut_in_its_head_and_mask(tmp_path: Path) -> None:
    frame = send_frame("y" * 200, "n1")
    cuts = [*range(1, 10), 100, len(frame) - 1]
    async with house(tmp_path) as old:
        clients = [await old.client(f"u{at}", ROOM) for at in cuts]
        for client, at in zip(clients, cuts, strict=True):
            await client.send(frame[:at])
        await trio.sleep(MOMENT)
        async with handed_over(old):
            for client, at in zip(clients, cuts, strict=True):
                await client.send(frame[at:])
                await client.hear("ack", nonce="n1")


async def test_a_message_in_fragments_cut_at_every_byte(tmp_path: Path) -> None:
    whole = json.dumps({"t": "send", "room": ROOM, "nonce": "n1", "text": "in fragments"}).encode()
    fragments = (
        client_frames.frame(client_frames.TEXT, whole[:20], fin=False)
        + client_frames.frame(client_frames.PING, b"between")
        + client_frames.frame(client_frames.CONTINUATION, whole[20:])
    )
    await cut_in_two(tmp_path, [fragments])


async def test_a_reader_that_is_behind_gets_every_byte_in_order(tmp_path: Path) -> None:
    async with house(tmp_path, limits=UNLIMITED) as old:
        ada = await old.client("ada", ROOM)
        slow = await (await old.connect(receive_buffer=4_096)).upgrade()
        await slow.hello("slow")
        await slow.join()
        count, live = 0, old.server.hub.peek(ROOM)
        assert live is not None
        box = next(box for session, box in live.members.items() if session.user.id == "slow")
        while not box.waiting:
            for _ in range(4):
                count += 1
                await ada.tell("z" * 200_000, f"n{count}")
        waiting = box.waiting
        async with handed_over(old) as new:
            assert new.given.moved == 2
            for _ in range(5):
                count += 1
                await ada.tell("after", f"n{count}")
            assert new.server.metrics.gauges["outbox_bytes"]() >= waiting
            assert await slow.messages(count) == list(range(1, count + 1))
            await until(lambda: new.server.metrics.gauges["outbox_bytes"]() == 0)


async def test_a_websocket_before_its_hello(tmp_path: Path) -> None:
    async with house(tmp_path) as old:
        mute, half = await (await old.connect()).upgrade(), await (await old.connect()).upgrade()
        hello = client_frames.text(json.dumps({"t": "hello", "token": token("half")}))
        await half.send(hello[:10])
        await trio.sleep(MOMENT)
        async with handed_over(old) as new:
            assert new.given.moved == 2
            await mute.hello("mute")
            await half.send(hello[10:])
            await half.hear("welcome")
            await half.join()
            assert await half.tell("hi", "n1") == 1


async def test_a_websocket_has_no_more_time_for_its_hello_than_before(tmp_path: Path, fast_clock: MockClock) -> None:
    async with house(tmp_path) as old:
        mute = await (await old.connect()).upgrade()
        await trio.sleep(3.0)
        began = trio.current_time()
        async with handed_over(old):
            assert (await mute.hear_close()).code == 4003
        assert trio.current_time() - began < 30.0


async def answer(client: Client) -> bytes:
    """A whole answer of /healthz."""
    got = b""
    with trio.fail_after(60):
        while not got.endswith(b'{"status":"ok"}'):
            more = await client.stream.receive_some()
            assert more, got
            got += more
    return got


async def test_connections_between_and_inside_requests_heads(tmp_path: Path) -> None:
    async with house(tmp_path) as old:
        kept, fresh = await old.connect(), await old.connect()
        await kept.send(HEALTH)
        await answer(kept)
        halves = [await old.connect() for _ in range(1, len(HEALTH))]
        for at, client in enumerate(halves, start=1):
            await client.send(HEALTH[:at])
        upgrading = await old.connect()
        await upgrading.send(head()[:50])
        await until(lambda: old.server.metrics.gauges["connections"]() == len(halves) + 3)
        await trio.sleep(MOMENT)
        async with handed_over(old) as new:
            assert new.given.moved == len(halves) + 3
            await old.stopped.wait()
            for client in (kept, fresh):
                await client.send(HEALTH)
                assert (await answer(client)).startswith(b"HTTP/1.1 200")
            for at, client in enumerate(halves, start=1):
                await client.send(HEALTH[at:])
                assert (await answer(client)).startswith(b"HTTP/1.1 200")
            await upgrading.upgrade(head()[50:])
            await upgrading.hello("ada")


async def test_a_request_under_way_is_answered_by_whom_it_was_sent_to(tmp_path: Path) -> None:
    async with house(tmp_path, guests=True) as old:
        client = await old.connect()
        body = b'{"name":"Zoe"}'
        await client.send(
            b"POST /v1/guests HTTP/1.1\r\nHost: belfry.test\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n" % len(body) + body[:5]
        )
        await trio.sleep(MOMENT)
        async with handed_over(old) as new:
            assert new.given.moved == 0
            await client.send(body[5:])
            assert (await client.response_head()).startswith(b"HTTP/1.1 201")


async def test_a_send_in_flight_is_acknowledged_once(tmp_path: Path) -> None:
    async with sqlite(tmp_path) as store:
        shim, gate = ShimStore(store), Gate()
        async with serving(shim) as old:  # type: ignore[arg-type]  # a Store by its methods
            ada, bob = await old.client("ada", ROOM), await old.client("bob", ROOM)
            await settle(ada, bob)
            shim.before["append"] = gate
            await ada.say({"t": "send", "room": ROOM, "nonce": "n1", "text": "hi"})
            await gate.reached.wait()
            await bob.say({"t": "send", "room": ROOM, "nonce": "n2", "text": "ho"})

            async def open_it() -> None:
                await until(lambda: old.server.sessions.frozen)
                gate.open()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(open_it)
                async with handed_over(old) as new:
                    assert new.given.moved == 2
                    for client in (ada, bob):
                        frames = await client.hear_all(MOMENT)
                        assert [f["t"] for f in frames].count("ack") == 1
                        assert [f["seq"] for f in frames if f["t"] == "message"] == [1, 2]


async def test_a_session_that_catches_up_stays_behind_and_comes_back(tmp_path: Path) -> None:
    async with sqlite(tmp_path) as store:
        shim, gate = ShimStore(store), Gate()
        async with serving(shim) as old:  # type: ignore[arg-type]  # a Store by its methods
            await old.room("den", 2_000)
            ada = await old.client("ada", ROOM)
            behind = await old.client("behind")
            epoch = (await behind.join("den"))["epoch"]
            await behind.say({"t": "leave", "room": "den"})
            await settle(behind)
            shim.before["messages_after"] = gate
            await behind.say({"t": "join", "room": "den", "after": [epoch, 3]})
            await gate.reached.wait()
            async with handed_over(old) as new:
                assert (new.given.moved, new.given.left_behind) == (1, 1)
                gate.open()
                assert (await behind.hear_close()).code == 1012
                back = await new.client("behind", resume={"den": [epoch, 3]})
                assert await back.messages(1_997, "den") == list(range(4, 2_001))
                assert await ada.tell("hi", "n1") == 1


async def test_clients_that_come_go_join_and_leave_while_the_successor_is_told(tmp_path: Path) -> None:
    async with house(tmp_path) as old:
        await old.room("den")
        stays, goes, joins, leaves = [await old.client(name, ROOM) for name in ("stays", "goes", "joins", "leaves")]
        came: list[Client] = []

        async def meanwhile() -> None:
            await goes.leave()
            await joins.join("den")
            await leaves.say({"t": "leave", "room": ROOM})
            came.append(await old.client("came", ROOM, "den"))
            came.append(await old.connect())
            await stays.tell("meanwhile", "n1")
            await until(lambda: len(old.server.sessions) == 4 and old.server.metrics.gauges["connections"]() == 5)

        async with handed_over(old, {record.AllTold: meanwhile}) as new:
            assert (new.given.moved, new.given.left_behind) == (5, 0)
            assert await stays.tell("after", "n2") == 2
            assert await joins.messages(2) == await came[0].messages(2) == [1, 2]
            assert await joins.tell("hi", "d1", "den") == 1
            assert await came[0].messages(1, "den") == [1]
            assert [f for f in await leaves.hear_all(MOMENT) if f["t"] == "message"] == []
            await came[1].upgrade()
            await came[1].hello("later")
            joined = await came[1].join()
            assert {user["id"] for user in joined["members"]} == {"stays", "joins", "came", "later"} | {
                user["id"]
                for user in joined["members"]
                if user["id"] in ("goes", "leaves")  # within their grace
            }


async def test_a_room_deleted_and_one_made_anew_meanwhile(tmp_path: Path) -> None:
    async with house(tmp_path) as old:
        await old.room("den", 5)
        await old.room("doomed", 5)
        ada = await old.client("ada", ROOM, "den", "doomed")

        async def meanwhile() -> None:
            for name in ("den", "doomed"):
                room = await old.store.delete_room(name)
                assert room is not None
                old.server.room_deleted(room)
                await ada.hear("error", code="room_deleted", ref=name)
            await old.room("den", 2)
            await ada.join("den")

        async with handed_over(old, {record.AllTold: meanwhile}):
            assert await ada.tell("hi", "n1", "den") == 3
            await ada.say({"t": "send", "room": "doomed", "nonce": "n2", "text": "hi"})
            assert (await ada.hear("error", ref="n2"))["code"] == "not_joined"


async def test_a_window_that_has_moved_on_meanwhile_is_read_from_the_store(tmp_path: Path) -> None:
    async with house(tmp_path, limits=UNLIMITED) as old:
        ada = await old.client("ada", ROOM)
        epoch = (await ada.join())["epoch"]

        async def meanwhile() -> None:
            for number in range(600):
                await ada.say({"t": "send", "room": ROOM, "nonce": f"n{number}", "text": "x"})
            await ada.hear("ack", nonce="n599")

        async with handed_over(old, {record.AllTold: meanwhile}) as new:
            assert await ada.tell("after", "last") == 601
            late = await new.client("late", resume={ROOM: [epoch, 0]})
            assert await late.messages(601) == list(range(1, 602))


async def test_three_handovers_in_a_row(tmp_path: Path) -> None:
    async with house(tmp_path) as first:
        ada, bob = await first.client("ada", ROOM), await first.client("bob", ROOM)
        await settle(ada, bob)
        async with handed_over(first) as second:
            assert await ada.tell("one", "n1") == 1
            async with handed_over(second) as third:
                assert await bob.tell("two", "n2") == 2
                async with handed_over(third) as fourth:
                    assert fourth.given.moved == 2
                    assert await ada.tell("three", "n3") == 3
                    assert await bob.messages(3) == [1, 2, 3]
                    await quiet(bob)
                    await second.stopped.wait()
                    await third.stopped.wait()


async def test_what_the_predecessor_knew_of_a_proxy_and_its_cordon_is_known(tmp_path: Path) -> None:
    async with house(tmp_path) as old:
        old.server.sessions.direct = False
        old.server.state = "cordoned"
        async with handed_over(old) as new:
            assert not new.server.sessions.direct
            assert new.server.state == "cordoned"
            assert new.server.beats.follows == old.server.config.boot


async def many(old: House, count: int) -> list[trio.SocketStream]:
    """That many clients in the room, with as little work as it takes."""
    streams: list[trio.SocketStream] = []
    limit = trio.CapacityLimiter(50)

    async def one(number: int) -> None:
        async with limit:
            client = await old.connect()
            hello = {"t": "hello", "token": token(f"user{number}")}
            await client.send(
                head() + b"".join(client_frames.text(json.dumps(f)) for f in (hello, {"t": "join", "room": ROOM}))
            )
            got = b""
            while b'"t":"joined"' not in got:
                got += await client.stream.receive_some()
            streams.append(client.stream)

    async with trio.open_nursery() as nursery:
        for number in range(count):
            nursery.start_soon(one, number)
    return streams


async def test_two_thousand_sockets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(2_000, (hard - 200) // 3)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 3 * count + 200)), hard))
    async with house(tmp_path) as old:
        with trio.fail_after(300):
            streams = await many(old, count)
        ada = await old.client("ada", ROOM)
        async with handed_over(old) as new:
            assert (new.given.moved, new.given.left_behind) == (count + 1, 0)
            await ada.tell("to everybody", "n1")
            with trio.fail_after(60):
                for stream in streams:
                    got = b""
                    while b"to everybody" not in got:
                        more = await stream.receive_some()
                        assert more
                        got += more
