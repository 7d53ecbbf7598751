"""The audit's client does what the wire asks, and through it the checker sees what a server does wrong."""

from __future__ import annotations

import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio
from audit_server import ROOM, TinyServer

from belfry.audit.backoff import Backoff
from belfry.audit.checker import Checker
from belfry.audit.client import UNANSWERED, Account, Client
from belfry.audit.meter import Meter
from belfry.audit.observation import Closed, Joined, Observation, Saw, Told
from belfry.audit.readers import Readers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from belfry.audit.verdict import Verdict

TEST_TIMEOUT = 60.0  # seconds; a second on an idle machine


class House:
    """A tiny server, clients of it, and a checker that hears them."""

    def __init__(self, server: TinyServer) -> None:
        self.server = server
        self.checker = Checker()
        self.meter = Meter()
        self.readers = Readers()
        self.clients: list[Client] = []
        self.seen: list[Observation] = []
        self.nursery: trio.Nursery

    def observe(self, observation: Observation) -> None:
        self.checker.observe(observation)
        self.seen.append(observation)

    async def enter(self, name: str, *, wait: bool = True) -> Client:
        """A client that comes into the room."""
        client = Client(
            name,
            Account(f"u-{name}", f"u-{name}"),
            [self.server.address],
            [ROOM],
            observe=self.observe,
            backoff=Backoff(random.Random(1), base=0.01, cap=0.02),
            meter=self.meter,
            readers=self.readers,
        )
        self.clients.append(client)
        self.nursery.start_soon(client.run)
        if wait:
            await until(lambda: client.connected)
        return client

    async def say(self, client: Client, *words: str) -> None:
        """Send, and wait for the answers."""
        for word in words:
            assert client.send_nowait(ROOM, word, f"{word} of {client.name}")
        await until(lambda: not client.waiting)

    async def everybody_at(self, seq: int) -> None:
        """Wait until each client stands there."""
        await until(lambda: all(client.positions.get(ROOM, ("", 0))[1] == seq for client in self.clients))

    def judged(self) -> Verdict:
        self.observe(self.server.stored())
        return self.checker.verdict()

    def found(self) -> dict[str, int]:
        return self.judged().faults


async def until(holds: Callable[[], Any]) -> None:
    """Wait until something holds; each test bounds the wait."""
    while not holds():  # noqa: ASYNC110  # what is waited for is whatever the client saw: there is no one event
        await trio.sleep(0.002)


@asynccontextmanager
async def house(**server: Any) -> AsyncIterator[House]:
    with trio.fail_after(TEST_TIMEOUT):
        async with TinyServer(**server).running() as tiny, trio.open_nursery() as nursery:
            made = House(tiny)
            made.nursery = nursery
            await nursery.start(made.readers.run)
            yield made
            nursery.cancel_scope.cancel()


async def test_talk_with_a_good_server_is_clean() -> None:
    async with house() as here:
        one, two = await here.enter("one"), await here.enter("two")
        await here.say(one, "a", "b")
        await here.say(two, "a", "c")
        await here.everybody_at(4)
        verdict = here.judged()
    assert verdict.ok, verdict.lines()
    assert verdict.counts.delivered == 8
    assert here.meter.acked == here.meter.acks.total == 4


async def test_a_client_that_comes_back_gets_what_it_missed() -> None:
    async with house() as here:
        one, two = await here.enter("one"), await here.enter("two")
        await here.say(one, "a")
        await here.everybody_at(1)
        socket = next(socket for socket, user in here.server.sockets.items() if user == "u-two")
        here.server.arrived = trio.Event()
        await socket.aclose(4001)
        await here.say(one, "b")
        await here.server.arrived.wait()
        await here.everybody_at(2)
        assert here.judged().ok
        (back,) = [seen for seen in here.seen if isinstance(seen, Joined) and seen.after is not None]
        assert back.after is not None
        assert (back.client, back.link, back.after[0]) == ("two", 2, "e1")
        assert [seen.code for seen in here.seen if isinstance(seen, Closed)] == [4001]
        await until(lambda: two.connected)


async def test_unanswered_sends_are_sent_again_with_the_same_nonce() -> None:
    async with house() as here:
        here.server.on_send = lambda frame: []  # heard, and not answered
        one = await here.enter("one")
        for nonce in ("a", "b"):
            one.send_nowait(ROOM, nonce, nonce)
        await until(lambda: sum(frame["t"] == "send" for frame in here.server.heard) == 2)
        here.server.on_send = lambda frame: None
        await here.server.close_all(1012)
        await until(lambda: not one.waiting)
        await here.everybody_at(2)
        assert here.judged().ok
    sends = [(frame["nonce"], frame["text"]) for frame in here.server.heard if frame["t"] == "send"]
    assert sends == [("a", "a"), ("b", "b")] * 2


async def test_what_is_said_while_nobody_is_there_is_sent_later_and_bounded() -> None:
    async with house() as here:
        one = await here.enter("one")
        here.server.on_hello = lambda frame: 1013
        await here.server.close_all(4001)
        await until(lambda: not one.connected)
        for number in range(UNANSWERED):
            assert one.send_nowait(ROOM, f"n{number}", f"n{number}")
        assert not one.send_nowait(ROOM, "more", "more")
        assert here.meter.held_back == 1
        here.server.on_hello = lambda frame: None
        await here.everybody_at(UNANSWERED)
        await until(lambda: not one.waiting)
        assert here.judged().ok


async def test_moving_makes_the_new_connection_before_it_breaks_the_old() -> None:
    async with house() as here:
        one, two = await here.enter("one"), await here.enter("two")
        await here.say(one, "a")
        await here.everybody_at(1)
        here.server.heard.clear()
        await here.server.move_all(20)
        await until(lambda: here.server.most >= 3)  # one has two, or both
        await until(lambda: len(here.server.sockets) == 2)
        await here.say(two, "b")
        await here.everybody_at(2)
        assert here.judged().ok
        assert [seen.code for seen in here.seen if isinstance(seen, Closed)] == [1000, 1000]
    hellos = [frame for frame in here.server.heard if frame["t"] == "hello"]
    assert {hello["token"] for hello in hellos} == {"ticket of u-one", "ticket of u-two"}
    assert [hello["resume"] for hello in hellos] == [{ROOM: ["e1", 1]}] * 2


async def test_a_refused_ticket_gives_way_to_the_own_token() -> None:
    async with house() as here:
        here.server.on_hello = lambda frame: 4500 if "ticket" in frame["token"] else None
        one = await here.enter("one")
        await here.server.move_all(0)
        await until(lambda: one.link is not None and one.link.number == 3)
        await until(lambda: len(here.server.sockets) == 1)
        await here.say(one, "a")
        await here.everybody_at(1)
        assert here.judged().ok
        assert one.stopped is None


async def test_a_refused_token_is_not_tried_again() -> None:
    async with house() as here:
        here.server.on_hello = lambda frame: 4500
        one = await here.enter("one", wait=False)
        await until(lambda: one.stopped)
        await trio.sleep(0.1)
        assert here.server.opened == 1
        assert here.meter.stopped == ["one: 4500 "]


async def test_being_replaced_ends_a_client_for_good() -> None:
    async with house() as here:
        one = await here.enter("one")
        await here.server.close_all(4502)
        await until(lambda: one.stopped)
        assert here.server.opened == 1
        assert here.judged().ok


async def test_503_and_1013_are_come_back_to() -> None:
    async with house(answers=[503, 503]) as here:
        one = await here.enter("one")
        await here.server.close_all(1013)
        await until(lambda: here.server.opened == 4 and one.connected)
        assert here.meter.errors["HTTP 503"] == 2


async def test_retry_after_is_waited_for() -> None:
    async with house(answers=[503], retry_after=b"1") as here:
        began = trio.current_time()
        await here.enter("one")
        assert trio.current_time() - began >= 1.0


async def test_who_has_to_come_back_is_counted_once_everybody_was_there() -> None:
    async with house() as here:
        one, _ = await here.enter("one"), await here.enter("two")
        here.meter.arrived = True
        await here.server.close_all(4001)
        await until(lambda: one.attempts == 2 and all(client.connected for client in here.clients))
        assert here.meter.attempts == 4
        assert [wave.attempts for wave in here.meter.herd.waves()] == [2]
        assert (one.reconnects, here.meter.reconnects, here.meter.away.total) == (1, 2, 2)
        await one.leave()
        assert (one.reconnects, one.attempts) == (1, 2)


async def test_a_client_that_moves_is_never_without_a_connection() -> None:
    async with house() as here:
        one = await here.enter("one")
        await here.server.move_all(10)
        await until(lambda: one.link is not None and one.link.number == 2)
        await until(lambda: len(here.server.sockets) == 1)
        assert (one.reconnects, here.meter.away.total) == (1, 0)


async def test_presence_is_told_to_the_checker() -> None:
    async with house() as here:
        await here.enter("one")
        await here.enter("two")
        ada = {"id": "ada", "name": "Ada"}
        await here.server.tell_all({"t": "presence", "room": ROOM, "joined": [ada], "left": ["u-one"], "count": 2})
        await here.server.tell_all({"t": "presence", "room": ROOM, "joined": [], "left": [], "count": 2})
        await until(lambda: sum(isinstance(seen, Told) for seen in here.seen) == 2)
        told = next(seen for seen in here.seen if isinstance(seen, Told))
        assert (told.room, told.joined, told.left) == (ROOM, ("ada",), ("u-one",))
        assert here.found() == {"flickered": 1}


async def test_deliveries_are_timed_but_not_what_was_said_before_one_came() -> None:
    async with house() as here:
        one = await here.enter("one")
        await here.say(one, "a", "b")
        await here.everybody_at(2)
        await here.enter("two")
        await here.everybody_at(2)
        assert here.meter.delivered == 4
        assert here.meter.waits.deliveries.total == 2


async def test_a_server_that_is_not_there_is_waited_for() -> None:
    tiny = TinyServer()
    async with tiny.running():
        port = tiny.port  # free from now on
    with trio.fail_after(TEST_TIMEOUT):
        async with trio.open_nursery() as nursery:
            here = House(TinyServer(port=port))
            here.nursery = nursery
            await nursery.start(here.readers.run)
            one = await here.enter("one", wait=False)
            await until(lambda: here.meter.errors["cannot connect"] >= 2)
            async with here.server.running():
                await until(lambda: one.connected)
                nursery.cancel_scope.cancel()


async def test_pings_are_answered_and_silence_ends_a_connection() -> None:
    async with house(heartbeat_ms=40) as here:
        one = await here.enter("one")
        await here.server.tell_all({"t": "ping"})
        await until(lambda: {"t": "pong"} in here.server.heard)
        await until(lambda: here.server.opened == 2)  # 40 ms beats and then not a word for 100
        await until(lambda: one.connected)
        assert [(seen.link, seen.code) for seen in here.seen if isinstance(seen, Closed)] == [(1, 1006)]


async def test_a_temporary_refusal_is_tried_again_and_another_is_not() -> None:
    async with house() as here:
        refused: list[str] = []

        def refuse(frame: dict[str, Any]) -> list[dict[str, Any]] | None:
            if frame["nonce"] in refused:
                return None
            refused.append(frame["nonce"])
            error = {"t": "error", "code": "no", "message": "no", "ref": frame["nonce"]}
            return [error | ({"temporary": True, "retry_ms": 5} if frame["nonce"] == "a" else {"temporary": False})]

        here.server.on_send = refuse
        one = await here.enter("one")
        await here.say(one, "a", "b")
        await here.everybody_at(1)
        verdict = here.judged()
        assert verdict.ok
        assert verdict.counts.refused == 1
        assert here.meter.errors["no"] == 2


async def test_a_replaced_room_is_a_gap_and_clean() -> None:
    async with house() as here:
        one = await here.enter("one")
        await here.say(one, "a", "b")
        await here.everybody_at(2)
        here.server.epoch, here.server.rows = "e2", []
        await here.server.close_all(4001)
        await until(lambda: one.positions[ROOM] == ("e2", 0))
        await here.say(one, "c")
        await here.everybody_at(1)
        verdict = here.judged()
        assert verdict.ok, verdict.lines()
        assert verdict.counts.gaps == 1


# --- servers that break a promise ----------------------------------------------------------------------------------


async def three_said(here: House) -> Client:
    """One says a, b and c; two listens."""
    one = await here.enter("one")
    await here.enter("two")
    await here.say(one, "a", "b", "c")
    await here.everybody_at(3)
    return one


def to_two(change: Callable[[dict[str, Any]], list[dict[str, Any]]]) -> Callable[..., list[dict[str, Any]]]:
    """Break what is sent to the client two, only the second message."""
    return lambda user, frame: change(frame) if user == "u-two" and frame["seq"] == 2 else [frame]


async def test_a_dropped_message_is_seen() -> None:
    async with house(on_message=to_two(lambda frame: [])) as here:
        await three_said(here)
        assert here.found() == {"skipped": 1}


async def test_a_repeated_message_is_seen() -> None:
    async with house(on_message=to_two(lambda frame: [frame, frame])) as here:
        await three_said(here)
        assert here.found() == {"doubled": 1}


async def test_swapped_messages_are_seen() -> None:
    held: list[dict[str, Any]] = []

    def swap(user: str, frame: dict[str, Any]) -> list[dict[str, Any]]:
        if user != "u-two":
            return [frame]
        if frame["seq"] == 2:
            held.append(frame)
            return []
        return [frame, *held]

    async with house(on_message=swap) as here:
        await three_said(here)
        await until(lambda: Saw("two", 1, ROOM, "e1", 2, "u-one", "b of one") in here.seen)
        assert here.found() == {"reordered": 1}


async def test_a_changed_text_is_seen() -> None:
    async with house(on_message=to_two(lambda frame: [frame | {"text": "b of onе"}])) as here:  # noqa: RUF001  # the last letter is Cyrillic
        await three_said(here)
        assert here.found() == {"changed_text": 1}


async def test_another_message_under_a_known_number_is_seen() -> None:
    async with house(on_message=to_two(lambda frame: [frame | {"text": "a of one"}])) as here:
        await three_said(here)
        assert here.found() == {"two_at_one_seq": 1}


async def test_a_message_that_is_committed_twice_is_seen() -> None:
    async with house() as here:
        one = await here.enter("one")
        here.server.on_send = lambda frame: []
        one.send_nowait(ROOM, "a", "a")
        await until(lambda: here.server.heard[-1]["t"] == "send")
        here.server.on_send = lambda frame: None
        await here.server.close_all(1012)
        await until(lambda: not one.waiting)
        row = here.server.rows[0]
        here.server.rows.append(type(row)(2, row.user, row.text, row.nonce))
        await here.server.close_all(4001)
        await here.everybody_at(2)
        assert "one_at_two_seqs" in here.found()


async def test_an_ack_without_a_commit_is_seen() -> None:
    async with house(commits=False) as here:
        one = await here.enter("one")
        await here.say(one, "a")  # no message follows
        assert here.found() == {"ack_without_commit": 1}


async def test_a_resume_with_a_hole_is_seen() -> None:
    async with house() as here:
        one, two = await here.enter("one"), await here.enter("two")
        here.server.on_message = lambda user, frame: [frame] if user == "u-one" else []
        await here.say(one, "a", "b", "c")
        here.server.on_joined = lambda frame: [frame | {"messages": frame["messages"][1:]}]
        socket = next(socket for socket, user in here.server.sockets.items() if user == "u-two")
        await socket.aclose(4001)
        await until(lambda: two.positions[ROOM] == ("e1", 3))
        assert here.found() == {"missed_resume": 1}


async def test_a_resume_that_gives_nothing_is_seen() -> None:
    async with house() as here:
        one, two = await here.enter("one"), await here.enter("two")
        here.server.on_message = lambda user, frame: [frame] if user == "u-one" else []
        await here.say(one, "a", "b")
        here.server.on_joined = lambda frame: [frame | {"messages": []}]
        here.server.arrived = trio.Event()
        socket = next(socket for socket, user in here.server.sockets.items() if user == "u-two")
        await socket.aclose(4001)
        await here.server.arrived.wait()
        await until(lambda: two.connected)
        assert here.found() == {"missed_resume": 1}


async def test_a_new_epoch_without_a_gap_is_seen() -> None:
    async with house() as here:
        one = await three_said(here)
        here.server.epoch = "e2"
        here.server.on_joined = lambda frame: [frame | {"gap": False, "messages": []}]
        await here.server.close_all(4001)
        await until(lambda: one.positions[ROOM][0] == "e2")
        assert "wrong_epoch" in here.found()


async def test_an_ack_that_never_comes_is_seen() -> None:
    async with house() as here:
        one = await here.enter("one")
        here.server.on_send = lambda frame: []
        one.send_nowait(ROOM, "a", "a")
        await until(lambda: here.server.heard[-1]["t"] == "send")
        assert here.found() == {"unacknowledged": 1}


async def test_a_frame_that_is_none_is_seen_and_lived_with() -> None:
    async with house() as here:
        one = await here.enter("one")
        await here.server.tell_all({"t": "message", "room": ROOM, "seq": "1"})
        await here.say(one, "a")
        await here.everybody_at(1)
        assert here.found() == {"garbled": 1}
