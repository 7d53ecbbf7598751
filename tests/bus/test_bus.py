"""What every bus promises, held by both twins: in one process, and over a real Kafka."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import pytest

from bus.events import (
    Asked,
    Beat,
    Committed,
    Event,
    Leaving,
    Members,
    Order,
    Pace,
    Read,
    Revoked,
    Rollout,
    RoomDeleted,
    Target,
    Typing,
)
from bus.topics import ROUTES
from tests.bus.conftest import running

if TYPE_CHECKING:
    from tests.bus.conftest import Fleet, Heard

# A client of kafka-python that is closed while it connects leaves that socket to the garbage collector, which warns.
pytestmark = pytest.mark.filterwarnings("ignore:.*<socket.socket.*raddr=:pytest.PytestUnraisableExceptionWarning")

EVERY_KIND: list[Event] = [
    Committed("lobby", 1, "k3f9", 7, [b'{"seq":7}', '{"text":"\u00fc\U0001f600"}'.encode()], 1.5),
    Members("lobby", [("u1", "Ada"), ("u2", "\u00d8ystein")], ["u3"], True, 1.5),
    Asked("lobby"),
    Typing("lobby", "u1", "Ada", 1.5),
    Read("lobby", "u1", 7, 1.5),
    RoomDeleted("lobby", 1, 1.5),
    Revoked(3),
    Beat("s1", "b1", "http://h:1", "0.1.0", "ready", 3, 0.0, made_at=1.5),
    Leaving("s1", "b1", "a1", 3, 25.0, made_at=1.5),
    Pace("s1", "a1", 400.0, [Target("http://h:2", 1.0)], made_at=1.5),
    Order("s1", "o1", "drain", 100.0, 10.0, made_at=1.5),
    Rollout("r1", "h:1", "handed", "s1", 1, 2, "1.0", "1.1", 3, 0, 12.5, made_at=1.5),
]


def message(number: int, room: str = "lobby") -> Committed:
    return Committed(room, 1, "k3f9", number, [b'{"seq":%d}' % number])


def beat(server: str, sessions: int) -> Beat:
    return Beat(server, "b1", "", "0.1.0", "ready", sessions, 0.0)


def newest(heard: Heard) -> dict[str, int]:
    return {event.id: event.sessions for _, event in heard.events if isinstance(event, Beat)}


def test_every_kind_of_event_is_tried_here_and_has_its_route() -> None:
    assert {type(event) for event in EVERY_KIND} == set(get_args(Event)) == ROUTES.keys()


async def test_the_others_hear_it_as_it_was_said_and_from_whom(fleet: Fleet) -> None:
    one, two, three = fleet("s1"), fleet("s2"), fleet("s3")
    async with running(one) as by_one, running(two) as by_two, running(three) as by_three:
        for event in EVERY_KIND:
            one.publish(event)
        two.publish(Asked("from two"))
        await by_two.until_count(len(EVERY_KIND))
        await by_three.until_count(len(EVERY_KIND) + 1)
        await by_one.until_count(1)
    assert by_one.events == [("s2", Asked("from two"))]  # and nothing of its own
    assert sorted(by_two.events, key=repr) == sorted((("s1", event) for event in EVERY_KIND), key=repr)
    assert ("s2", Asked("from two")) in by_three.events
    assert two.counts.received == len(EVERY_KIND)


async def test_each_room_is_in_order_through_many_at_once(fleet: Fleet) -> None:
    one, two = fleet("s1"), fleet("s2")
    rooms = [f"room{number}" for number in range(20)]
    async with running(one), running(two) as heard:
        for number in range(100):
            for room in rooms:
                one.publish(message(number, room))
        await heard.until_count(2_000)
    for room in rooms:
        firsts = [event.first_seq for _, event in heard.events if isinstance(event, Committed) and event.room == room]
        assert firsts == list(range(100))


async def test_who_begins_hears_from_then_on(fleet: Fleet) -> None:
    one, two, three = fleet("s1"), fleet("s2"), fleet("s3")
    async with running(one), running(two) as heard:
        one.publish(message(1))
        await heard.until_count(1)
        async with running(three) as late:
            one.publish(message(2))
            await late.until_count(1)
    assert late.events == [("s1", message(2))]


async def test_who_begins_hears_the_newest_of_what_is_kept(fleet: Fleet) -> None:
    one, two, late = fleet("s1"), fleet("s2"), fleet("s3")
    async with running(one), running(two) as heard:
        for sessions in range(3):
            one.publish(beat("s1", sessions))
            two.publish(beat("s2", 10 + sessions))
        await heard.until_count(3)
    async with running(late) as by_late:
        await by_late.until(lambda: newest(by_late) == {"s1": 2, "s2": 12})


async def test_a_restarted_server_hears_and_is_heard_again(fleet: Fleet) -> None:
    two = fleet("s2")
    async with running(two) as heard:
        for boot in range(2):
            one = fleet(f"s1/{boot}")
            async with running(one) as by_one:
                one.publish(message(boot))
                await heard.until_count(boot + 1)
                two.publish(Asked(str(boot)))
                await by_one.until_count(1)
            assert by_one.events == [("s2", Asked(str(boot)))]
    assert heard.events == [("s1/0", message(0)), ("s1/1", message(1))]


async def test_the_last_words_of_a_server_that_stops_are_heard(fleet: Fleet) -> None:
    one, two = fleet("s1"), fleet("s2")
    async with running(two) as heard:
        async with running(one):
            for number in range(50):
                one.publish(message(number))
        await heard.until_count(50)
    assert one.counts.lost == 0


async def test_publishing_never_raises_before_and_after(fleet: Fleet) -> None:
    one = fleet("s1")
    one.publish(message(1))
    async with running(one):
        pass
    one.publish(message(2))
