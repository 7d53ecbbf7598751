"""Orders to a server, and what a drain does when others are there to go to."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
import trio
from chat_world import PATIENCE, ROOM, TOKENS, Client, House, head, serving, sqlite, until

from bus.events import Beat, Leaving, Order, Pace, Target
from bus.memory import Exchange
from chat.config import Limits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from trio.testing import MockClock

    from bus.bus import Bus
    from bus.events import Event

FREELY = Limits(send_rate=0, handshakes_per_second=0)
_orders = itertools.count()


class Tower:
    """Something on the bus that gives orders, hears everything, and answers who leaves if it is told how."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.heard: list[Event] = []
        self.answer: Callable[[Leaving], Pace] | None = None

    def take(self, _origin: str, events: Sequence[Event]) -> None:
        for event in events:
            self.heard.append(event)
            if isinstance(event, Leaving) and self.answer is not None:
                self.bus.publish(self.answer(event))

    def beats(self, id: str) -> list[Beat]:
        return [event for event in self.heard if isinstance(event, Beat) and event.id == id]

    def state(self, id: str) -> str:
        beats = self.beats(id)
        return beats[-1].state if beats else ""

    def order(self, verb: str, id: str = "s1", order: str = "", **more: Any) -> None:
        self.bus.publish(Order(id, order or f"o{next(_orders)}", verb, **more))


@contextlib.asynccontextmanager
async def fleet(tmp_path: Path, count: int = 2, **settings: Any) -> AsyncIterator[tuple[Tower, list[House]]]:
    """Servers s1, s2 ... over one store and one bus, who know each other, and a tower."""
    exchange = Exchange()
    async with sqlite(tmp_path) as store, contextlib.AsyncExitStack() as stack:
        tower = Tower(exchange.bus("tower"))
        nursery = await stack.enter_async_context(trio.open_nursery())
        stack.callback(nursery.cancel_scope.cancel)
        await nursery.start(tower.bus.run, tower.take, lambda: None)
        houses = []
        for number in range(1, count + 1):
            id = f"s{number}"
            config = {"public_url": f"http://{id}.example.org", "port": 8_000 + number, "limits": FREELY} | settings
            running = serving(store, bus=exchange.bus(f"{id}/b"), server_id=id, **config)
            houses.append(await stack.enter_async_context(running))
        for one in houses:
            await until(lambda one=one: len(one.server.sessions.others.ready(trio.current_time())) == count - 1)
        yield tower, houses


async def ready(house: House) -> int:
    """The status of GET /readyz."""
    client = await house.connect()
    await client.send(b"GET /readyz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    return int((await client.response_head()).split()[1])


# --- cordon ------------------------------------------------------------------------------------------------------


async def test_a_cordoned_server_goes_on_but_asks_for_nobody(tmp_path: Path) -> None:
    async with fleet(tmp_path) as (tower, (one, other)):
        ada = await one.client("ada", ROOM)
        tower.order("cordon")
        await until(lambda: tower.state("s1") == "cordoned")  # told at once, by a beat
        assert await ready(one) == 503
        assert await ready(other) == 200
        assert other.server.sessions.others.ready(trio.current_time()) == []
        assert await ada.tell("still here", "n1") == 1
        bob = await one.client("bob", ROOM)  # whoever comes all the same is served
        assert await bob.tell("and I", "n2") == 2
        tower.order("uncordon")
        await until(lambda: tower.state("s1") == "ready")
        assert await ready(one) == 200


async def test_an_order_is_obeyed_once_and_only_by_whom_it_names(tmp_path: Path) -> None:
    async with fleet(tmp_path) as (tower, (one, other)):
        tower.order("cordon", order="same")
        await until(lambda: one.server.state == "cordoned")
        tower.order("uncordon")
        await until(lambda: one.server.state == "ready")
        tower.order("cordon", order="same")
        tower.order("cordon", id="s3")
        tower.order("dance")
        tower.order("abort")
        tower.order("uncordon")
        tower.order("cordon", id="s2")
        await until(lambda: other.server.state == "cordoned")
        assert one.server.state == "ready"
        assert [beat.state for beat in tower.beats("s1")][-3:].count("cordoned") <= 1


# --- drain -------------------------------------------------------------------------------------------------------


async def moved(clients: list[Client]) -> list[str | None]:
    """Where each is told to go; each leaves as soon as it is told."""
    urls: list[str | None] = []
    for client in clients:
        moving = await client.hear("moving")
        urls.append(moving.get("url"))
        await client.leave()
    return urls


async def test_an_ordered_drain_leaves_the_server_empty_and_running(tmp_path: Path) -> None:
    async with fleet(tmp_path, 3) as (tower, (one, *_)):
        clients = [await one.client(f"u{number}", ROOM) for number in range(12)]
        tower.order("drain", per_second=20.0)
        urls = await moved(clients)
        # No tower answers this one, so the others are given half each.
        assert Counter(urls) == {"http://s2.example.org": 6, "http://s3.example.org": 6}
        await until(lambda: tower.state("s1") == "cordoned")
        last = tower.beats("s1")[-1]
        assert (last.sessions, last.to_move, last.moved, last.eta) == (0, 12, 12, 0.0)
        assert any(beat.state == "draining" and beat.to_move == 12 for beat in tower.beats("s1"))
        assert not one.stopped.is_set()
        assert await ready(one) == 503
        late = await one.connect()
        await late.send(head())
        assert (await late.response_head()).startswith(b"HTTP/1.1 503 ")
        tower.order("uncordon")
        await until(lambda: tower.state("s1") == "ready")
        await one.client("back", ROOM)
        assert tower.beats("s1")[-1].to_move == 0


async def test_a_stop_of_a_drained_server_takes_no_time(tmp_path: Path) -> None:
    async with fleet(tmp_path) as (tower, (one, _)):
        client = await one.client("ada", ROOM)
        tower.order("drain")
        await moved([client])
        await until(lambda: one.server.state == "cordoned")
        asked = sum(isinstance(event, Leaving) for event in tower.heard)
        one.server.drain()
        await one.stopped.wait()
        assert sum(isinstance(event, Leaving) for event in tower.heard) == asked == 1


async def test_an_abort_leaves_those_in_peace_who_were_not_told_yet(tmp_path: Path) -> None:
    async with fleet(tmp_path) as (tower, (one, _)):
        clients = [await one.client(f"u{number}", ROOM) for number in range(30)]
        tower.order("drain", per_second=1.0)
        async with trio.open_nursery() as nursery:
            told = trio.Event()

            async def listen(client: Client) -> None:
                await client.hear("moving")
                told.set()

            for client in clients:
                nursery.start_soon(listen, client)
            await told.wait()
            nursery.cancel_scope.cancel()
        tower.order("abort")
        await until(lambda: tower.state("s1") == "ready")
        assert await ready(one) == 200
        assert tower.beats("s1")[-1].to_move == 0
        for number, client in enumerate(clients):  # those who were told too, as long as they stay
            assert await client.tell("here", f"n{number}") == number + 1
        waiting = [frame for client in clients for frame in client.waiting if frame["t"] == "moving"]
        assert len(waiting) < 10
        await one.client("new", ROOM)


async def test_a_second_drain_order_changes_the_pace(tmp_path: Path) -> None:
    async with fleet(tmp_path) as (tower, (one, _)):
        clients = [await one.client(f"u{number}", ROOM) for number in range(20)]
        tower.order("drain", per_second=0.01)
        await until(lambda: one.server.state == "draining")
        tower.order("drain", per_second=100.0)
        await moved(clients)
        await until(lambda: one.server.state == "cordoned")


async def test_a_stop_goes_on_with_what_an_order_began(tmp_path: Path) -> None:
    async with fleet(tmp_path, drain_deadline=20.0) as (tower, (one, _)):
        clients = [await one.client(f"u{number}", ROOM) for number in range(4)]
        tower.order("drain", per_second=0.01)
        await until(lambda: one.server.state == "draining")
        one.server.drain()
        tower.order("drain", per_second=0.01)  # too late for orders
        await moved(clients)
        with trio.fail_after(PATIENCE):
            await one.stopped.wait()


async def test_the_towers_pace_and_places_are_taken(tmp_path: Path) -> None:
    async with fleet(tmp_path, 3) as (tower, (one, *_)):
        tower.answer = lambda leaving: Pace(
            leaving.id,
            leaving.ask,
            100.0,
            [Target("http://s2.example.org", 0.25), Target("http://s3.example.org", 0.75)],
        )
        clients = [await one.client(f"u{number}", ROOM) for number in range(16)]
        one.server.drain()
        moving = await clients[0].hear("moving")
        assert moving["window_ms"] == 160
        urls = [moving["url"], *(await moved(clients[1:]))]
        assert Counter(urls) == {"http://s2.example.org": 4, "http://s3.example.org": 12}
        leaving = next(event for event in tower.heard if isinstance(event, Leaving))
        assert (leaving.id, leaving.sessions, leaving.boot) == ("s1", 16, one.server.config.boot)


@pytest.mark.parametrize(
    ("per_second", "targets"),
    [
        (0.0, [Target("http://s1.example.org", 1.0)]),  # ourselves
        (float("nan"), [Target("nowhere", 1.0)]),
        (-1.0, [Target("http://s2.example.org", -1.0)]),
    ],
)
async def test_a_tower_that_is_wrong_is_not_followed(tmp_path: Path, per_second: float, targets: list[Target]) -> None:
    async with fleet(tmp_path) as (tower, (one, _)):
        tower.answer = lambda leaving: Pace(leaving.id, leaving.ask, per_second, targets)
        clients = [await one.client(f"u{number}", ROOM) for number in range(4)]
        one.server.drain()
        assert set(await moved(clients)) == {"http://s2.example.org"}
        await one.stopped.wait()


async def test_a_tower_that_names_no_place_leaves_the_choice_to_the_balancer(tmp_path: Path) -> None:
    async with fleet(tmp_path, public_url="https://chat.example.org") as (tower, (one, _)):
        tower.answer = lambda leaving: Pace(leaving.id, leaving.ask, 50.0, [])
        ada = await one.client("ada", ROOM)
        one.server.drain()
        assert (await ada.hear("moving"))["url"] == "https://chat.example.org"  # the only address there is
        await ada.leave()
        await one.stopped.wait()


async def test_without_others_nobody_is_asked(tmp_path: Path) -> None:
    async with fleet(tmp_path, 1) as (tower, (one,)):
        ada = await one.client("ada", ROOM)
        one.server.drain()
        await ada.hear("moving")
        assert (await ada.hear_close()).code == 1012
        await one.stopped.wait()
        assert not any(isinstance(event, Leaving) for event in tower.heard)


async def test_behind_a_proxy_that_nobody_told_of_no_address_is_given(tmp_path: Path) -> None:
    async with fleet(tmp_path, public_url=None) as (_, (one, _other)):
        ada = await (await one.connect()).upgrade(head({"Host": "chat.example.org"}))
        await ada.hello("ada")
        bob = await (await one.connect()).upgrade(head({"Host": "localhost:8001"}))
        await bob.hello("bob")
        assert one.server.sessions.direct
        eve = await (await one.connect()).upgrade(head({"Host": "chat.example.org:443"}))
        await eve.hello("eve")
        one.server.drain()
        assert await moved([ada, bob, eve]) == [None, None, None]


async def test_who_ignores_moving_is_served_until_its_grace_is_over(
    tmp_path: Path, fast_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    grace = 60.0  # seconds, so that a machine that does other things has time for what happens in it
    monkeypatch.setattr("chat.drain.GRACE", grace)
    monkeypatch.setattr("chat.drain.CLOSING_MAX", 2 * grace)
    async with fleet(tmp_path, limits=Limits(handshakes_per_second=4), drain_deadline=1_000.0) as (_, (one, other)):
        ada, bob = await one.client("ada", ROOM), await other.client("bob", ROOM)
        await trio.sleep(1.5)
        began = trio.current_time()
        one.server.drain()
        moving = await ada.hear("moving")
        assert await ada.tell("not yet", "n1") == 1
        assert await bob.tell("come here", "n2") == 2
        assert await ada.messages(2) == [1, 2]
        assert (await ada.hear_close()).code == 1012
        assert trio.current_time() - began >= grace
        assert moving["url"] == "http://s2.example.org"


# --- tickets -----------------------------------------------------------------------------------------------------


async def test_a_ticket_is_taken_once_and_the_token_still_is(tmp_path: Path) -> None:
    async with fleet(tmp_path) as (_, (one, other)):
        ada = await one.client("ada", ROOM)
        one.server.drain()
        ticket = (await ada.hear("moving"))["ticket"]
        identity = TOKENS.verify(ticket)
        reads = other.metric("store_reads")
        bob = await other.client("bob", ROOM)
        moved = await (await other.connect()).upgrade()
        await moved.say({"t": "hello", "token": ticket})
        assert (await moved.hear("joined", room=ROOM))["gap"] is False
        assert other.metric("store_reads") <= reads + 1  # once for the room, not for who comes
        again = await (await other.connect()).upgrade()
        await again.say({"t": "hello", "token": ticket})
        assert (await again.hear("error"))["code"] == "bad_token"
        assert (await again.hear_close()).code == 4500
        assert identity.ticket_until <= time.time() + 120.0
        await bob.tell("nobody was harmed", "n1")
        await ada.leave()


# --- pages of the fleet ------------------------------------------------------------------------------------------


async def get(house: House, path: str, origin: str) -> tuple[int, str]:
    """The status and the head of an answer to a page of this origin."""
    client = await house.connect()
    await client.send(f"GET {path} HTTP/1.1\r\nHost: a\r\nOrigin: {origin}\r\nConnection: close\r\n\r\n".encode())
    answer = (await client.response_head()).decode()
    return int(answer.split()[1]), answer.lower()


async def test_pages_of_the_fleets_servers_may_come_and_others_may_not(tmp_path: Path) -> None:
    async with fleet(tmp_path) as (_, (one, other)):
        for origin, welcome in (("http://s2.example.org", True), ("http://s3.example.org", False)):
            client = await one.connect()
            await client.send(head({"Origin": origin}))
            answer = await client.response_head()
            assert answer.startswith(b"HTTP/1.1 101 " if welcome else b"HTTP/1.1 403 "), origin
            _, told = await get(one, "/v1/rooms", origin)
            assert (f"access-control-allow-origin: {origin}" in told) is welcome
        other.server.drain()
        await other.stopped.wait()  # its pages live on
        client = await one.connect()
        await client.send(head({"Origin": "http://s2.example.org"}))
        assert (await client.response_head()).startswith(b"HTTP/1.1 101 ")


async def test_a_page_may_ask_when_to_come_back(tmp_path: Path) -> None:
    async with fleet(tmp_path, limits=Limits(handshakes_per_second=2)) as (tower, (one, _)):
        assert (await get(one, "/ws", "http://a"))[0] == 426
        for user in ("ada", "bob"):
            await one.client(user)
        full = await one.connect()
        await full.send(head({"Origin": "http://belfry.test"}))
        refused = await full.response_head()
        if refused.startswith(b"HTTP/1.1 503 "):  # else this machine took more than a second over three handshakes
            status, told = await get(one, "/ws", "http://a")
            assert status in (426, 503)
            assert "access-control-allow-origin: *" in told
            assert ("retry-after: " in told) is (status == 503)
        tower.order("drain")
        await until(lambda: one.server.state == "draining")
        status, told = await get(one, "/ws", "http://a")
        assert status == 503
        assert "retry-after: " in told
        assert "access-control-expose-headers: retry-after" in told
