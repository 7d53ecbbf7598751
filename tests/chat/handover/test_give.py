"""Whoever breaks a handover off, and whenever: the giver serves on as if nothing had been, or the taker does."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import socket
from typing import TYPE_CHECKING, Any

import pytest
import trio
from chat_world import ROOM, TOKENS, Client, House, head, house, sqlite

from bus.memory import Exchange
from chat.config import Config, Limits
from chat.handover import give, record
from chat.handover.channel import Channel
from chat.handover.give import Given, HandoverFailed
from chat.handover.lock import NoLock
from chat.presence import PresenceState
from chat.server import ChatServer
from tests.chat.handover.handing import Peer, handed_over

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

UNLIMITED = Limits(handshakes_per_second=0, send_rate=0, text_chars=0, frame_bytes=0, outbox_bytes=0)


class World:
    """A server with somebody of each kind on it."""

    def __init__(self, old: House) -> None:
        self.old = old
        self.ada: Client
        self.slow: Client
        self.mute: Client
        self.kept: Client
        self.count = 0

    async def fill(self) -> None:
        self.ada = await self.old.client("ada", ROOM)
        self.slow = await (await self.old.connect(receive_buffer=4_096)).upgrade()
        await self.slow.hello("slow")
        await self.slow.join()
        while not self.old.server.metrics.gauges["outbox_bytes"]():
            for _ in range(4):
                await self.tell("z" * 200_000)

    async def come(self) -> None:
        """Those that have little time come in."""
        self.mute = await (await self.old.connect()).upgrade()
        self.kept = await self.old.connect()
        await self.kept.send(head()[:30])

    async def tell(self, text: str) -> None:
        self.count += 1
        assert await self.ada.tell(text, f"n{self.count}") == self.count

    async def give(self, play: Callable[[Peer], Awaitable[None]]) -> Given | HandoverFailed:
        """A handover to a taker that the test plays; how it went."""
        ours, theirs = Channel.pair()
        outcome: list[Given | HandoverFailed] = []

        async def run() -> None:
            try:
                outcome.append(await self.old.server.hand_over(Channel(ours), NoLock()))
            except HandoverFailed as failed:
                outcome.append(failed)

        peer = Peer(theirs)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            await play(peer)
        peer.channel.close()
        for one in peer.descriptors:
            os.close(one)
        return outcome[0]


async def accepted(peer: Peer) -> None:
    await peer.hear(record.Offer)
    await peer.say(record.Accept())


async def ready(peer: Peer) -> None:
    await accepted(peer)
    await peer.hear(record.AllTold)
    await peer.say(record.Ready())


async def taken(peer: Peer) -> None:
    await ready(peer)
    await peer.hear(record.Over)
    await peer.say(record.Taken())


# Each is (what the taker does, what is said of it).
async def dies_at_once(peer: Peer) -> None:
    peer.channel.close()


async def declines(peer: Peer) -> None:
    await peer.hear(record.Offer)
    await peer.say(record.Decline("its format is 2, ours 1"))


async def dies_when_offered(peer: Peer) -> None:
    await peer.hear(record.Offer)
    peer.channel.close()


async def dies_while_told(peer: Peer) -> None:
    await accepted(peer)
    await peer.hear(record.Told)
    peer.channel.close()


async def dies_when_told(peer: Peer) -> None:
    await accepted(peer)
    await peer.hear(record.AllTold)
    peer.channel.close()


async def says_nonsense(peer: Peer) -> None:
    await accepted(peer)
    await peer.hear(record.AllTold)
    await peer.channel.send(b"\xc1")


async def says_the_wrong_thing(peer: Peer) -> None:
    await accepted(peer)
    await peer.hear(record.AllTold)
    await peer.say(record.Taken())


async def dies_when_ready(peer: Peer) -> None:
    await ready(peer)
    peer.channel.close()


async def dies_when_all_is_over(peer: Peer) -> None:
    await ready(peer)
    await peer.hear(record.Over)
    peer.channel.close()


async def says_the_wrong_thing_at_the_end(peer: Peer) -> None:
    await ready(peer)
    await peer.hear(record.Over)
    await peer.say(record.Ready())
    await peer.hear(record.Back)


BREAKS = [
    (dies_at_once, "ended while it was told"), (declines, "declined: its format is 2, ours 1"),
    (dies_when_offered, "ended while it was told"), (dies_while_told, "ended while it was told"),
    (dies_when_told, "ended while it was told"), (says_nonsense, "ended while it was told"),
    (says_the_wrong_thing, "said something else"), (dies_when_ready, "ended while it took over"),
    (dies_when_all_is_over, "ended while it took over"), (says_the_wrong_thing_at_the_end, "something else"),
]  # fmt: skip


async def test_whenever_the_taker_breaks_off_the_giver_serves_on_and_can_give_again(tmp_path: Path) -> None:
    async with house(tmp_path, limits=UNLIMITED) as old:
        world = World(old)
        await world.fill()
        for play, why in BREAKS:
            outcome = await world.give(play)
            assert isinstance(outcome, HandoverFailed), play
            assert why in str(outcome), play
            await world.tell(play.__name__)
        await world.come()
        assert isinstance(await world.give(dies_when_all_is_over), HandoverFailed)
        async with handed_over(old) as new:
            assert (new.given.moved, new.given.left_behind) == (4, 0)
            await world.tell("from the new one")
            assert await world.slow.messages(world.count) == list(range(1, world.count + 1))
            await world.mute.hello("mute")
            await world.kept.upgrade(head()[30:])


async def test_timeouts_of_the_taker_cost_a_pause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hangs_when_offered(peer: Peer) -> None:
        await peer.hear(record.Offer)

    async def hangs_at_the_end(peer: Peer) -> None:
        await ready(peer)
        await peer.hear(record.Back)

    async with house(tmp_path, limits=UNLIMITED) as old:
        world = World(old)
        await world.fill()
        monkeypatch.setattr(give, "TOLD_TIMEOUT", 0.2)
        outcome = await world.give(hangs_when_offered)
        assert "was not ready within 0.2 s" in str(outcome)
        await world.tell("after the first")
        monkeypatch.setattr(give, "TOLD_TIMEOUT", 60.0)
        monkeypatch.setattr(give, "FROZEN_TIMEOUT", 0.5)
        outcome = await world.give(hangs_at_the_end)
        assert "did not take over within 0.5 s" in str(outcome)
        await world.tell("after the second")
        assert await world.slow.messages(world.count) == list(range(1, world.count + 1))


async def test_a_lock_that_a_hung_taker_keeps_does_not_keep_the_giver_from_serving(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Kept(NoLock):
        def __init__(self) -> None:
            self.free, self.taken = trio.Event(), trio.Event()

        async def take(self) -> None:
            await self.free.wait()
            self.taken.set()

    async def play(peer: Peer) -> None:
        await ready(peer)
        await peer.hear(record.Over)
        peer.channel.close()

    monkeypatch.setattr(give, "LOCK_PATIENCE", 0.05)
    lock = Kept()
    async with house(tmp_path) as old:
        ada = await old.client("ada", ROOM)
        ours, theirs = Channel.pair()
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def _give() -> None:
                with pytest.raises(HandoverFailed):
                    await old.server.hand_over(Channel(ours), lock)

            await play(Peer(theirs))
        assert await ada.tell("hi", "n1") == 1
        assert not lock.taken.is_set()
        lock.free.set()
        with trio.fail_after(60):
            await lock.taken.wait()


async def test_a_taker_that_dies_with_the_sockets_sends_everybody_back(tmp_path: Path) -> None:
    async def dies(peer: Peer) -> None:
        await taken(peer)
        await peer.hear(record.Go)
        peer.channel.close()

    async with house(tmp_path, limits=UNLIMITED) as old:
        ada, bob = await old.client("ada", ROOM), await old.client("bob", ROOM)
        mute = await (await old.connect()).upgrade()
        world = World(old)
        async with trio.open_nursery() as nursery:
            for client in (ada, bob):
                nursery.start_soon(client.hear_close)
            given = await world.give(dies)
        assert isinstance(given, Given)
        assert (given.moved, given.left_behind, given.settled) == (0, 2, False)
        assert ada.closed is not None
        assert ada.closed.code == 1012
        assert (await mute.hear_close()).code == 1006
        with trio.fail_after(60):
            await old.stopped.wait()


async def test_a_second_handover_and_one_while_draining_are_refused(tmp_path: Path) -> None:
    async with house(tmp_path) as old:
        ours, theirs = Channel.pair()
        refused: list[str] = []

        async def play(peer: Peer) -> None:
            await peer.hear(record.Offer)
            with pytest.raises(HandoverFailed) as caught:
                await old.server.hand_over(Channel(ours), NoLock())
            refused.append(str(caught.value))
            peer.channel.close()

        with theirs:
            await World(old).give(play)
        old.server.drain()
        ours, theirs = Channel.pair()
        with theirs, pytest.raises(HandoverFailed, match="is draining"):
            await old.server.hand_over(Channel(ours), NoLock())
        assert refused == ["this server is stopping"]


# --- a giver that the test plays ----------------------------------------------------------------------------------


async def offered(peer: Peer) -> None:
    await peer.say(record.Offer(record.FORMAT, "1", "s1", "before", 1, 1))
    await peer.hear_taker(record.Accept)


async def told(peer: Peer, sock: socket.socket, room_id: int) -> None:
    await offered(peer)
    presence = PresenceState({"ada": "Ada"}, ["ada"], {}, {})
    room = record.RoomState(ROOM, room_id, "e", 0, 0, [], {}, [], presence)
    await peer.say(record.Told(rooms=[room]))
    session = record.SessionState(1, "ada", "Ada", 4e9, False, [ROOM])
    await peer.say(record.Told(sessions=[session]), [sock.fileno()])
    await peer.say(record.AllTold())
    await peer.hear_taker(record.Ready)


async def over(peer: Peer, sock: socket.socket, room_id: int) -> None:
    await told(peer, sock, room_id)
    await peer.say(record.Changes())
    await peer.say(record.Over(0.0, 0))
    await peer.hear_taker(record.Taken)


async def take_from(
    tmp_path: Path, play: Callable[[Peer, socket.socket, int], Awaitable[None]]
) -> tuple[bytes, HandoverFailed | None]:
    """Let a server take over from a giver that the test plays and that dies then; what the client got, and how."""
    failed: HandoverFailed | None = None
    client, sock = socket.socketpair()
    async with sqlite(tmp_path) as store:
        ours, theirs = Channel.pair()
        peer = Peer(ours)
        room = await store.create_room(ROOM, ROOM, "test", dt.datetime.now(dt.UTC))
        server = ChatServer(Config(secret=b"x" * 32, port=0, first_rooms=(ROOM,)), store, Exchange().bus("t"), TOKENS)
        with socket.create_server(("127.0.0.1", 0)) as listener, client:
            async with trio.open_nursery() as nursery:

                async def run(task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
                    nonlocal failed
                    try:
                        await server.run([listener], predecessor=(Channel(theirs), NoLock()), task_status=task_status)
                    except* HandoverFailed as group:
                        found: BaseException = group
                        while isinstance(found, BaseExceptionGroup):
                            found = found.exceptions[0]
                        assert isinstance(found, HandoverFailed)
                        failed = found
                        task_status.started()

                async def giver() -> None:
                    with trio.fail_after(60):
                        await play(peer, sock, room.id)
                    peer.channel.close()
                    sock.close()

                nursery.start_soon(giver)
                await nursery.start(run)
                client.setblocking(False)
                got = b""
                if failed is None:
                    from client_frames import text

                    with contextlib.suppress(OSError):
                        client.send(text('{"t":"typing","room":"lobby"}'))
                    with trio.fail_after(60):
                        await trio.lowlevel.wait_readable(client)
                    with contextlib.suppress(OSError):
                        got = client.recv(1_000)
                nursery.cancel_scope.cancel()
    return got, failed


async def test_a_giver_that_dies_when_all_was_said_is_followed(tmp_path: Path) -> None:
    got, failed = await take_from(tmp_path, over)
    assert failed is None
    assert b'"typing"' in got


async def test_one_that_dies_before_is_followed_without_its_connections(tmp_path: Path) -> None:
    got, failed = await take_from(tmp_path, told)
    assert failed is None
    assert got == b""


@pytest.mark.parametrize("step", [told, over])
async def test_back_is_obeyed(tmp_path: Path, step: Callable[[Peer, socket.socket, int], Awaitable[None]]) -> None:
    async def play(peer: Peer, sock: socket.socket, room_id: int) -> None:
        await step(peer, sock, room_id)
        await peer.say(record.Back())

    _, failed = await take_from(tmp_path, play)
    assert "serves on" in str(failed)


async def test_an_unknown_format_is_declined(tmp_path: Path) -> None:
    async def play(peer: Peer, _: socket.socket, __: int) -> None:
        await peer.say(record.Offer(record.FORMAT + 1, "9.9", "s1", "before", 1, 1))
        assert "its format is" in (await peer.hear_taker(record.Decline)).why

    _, failed = await take_from(tmp_path, play)
    assert "(version 9.9) speaks another language" in str(failed)
