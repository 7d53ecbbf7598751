"""The stream of events: notes in order, the newest look, and nobody who is waited for."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from tower.errors import Refused
from tower.feed import NOTES, SUBSCRIBERS, Feed
from tower.views import Note


def note(number: int) -> Note:
    return Note(float(number), "info", f"note {number}")


async def test_only_the_newest_look_is_kept() -> None:
    feed = Feed()
    with feed.subscribe() as one:
        for number in range(100):
            feed.look(b'{"look":%d}' % number)
        assert await one.next() == b'event: fleet\ndata: {"look":99}\n\n'


async def test_notes_come_numbered_in_order_and_before_the_look() -> None:
    feed = Feed()
    feed.note(note(1))
    with feed.subscribe() as one:
        feed.note(note(2))
        feed.look(b"{}")
        assert await one.next() == (
            b'id: 1\nevent: note\ndata: {"at":1.0,"level":"info","text":"note 1"}\n\n'
            b'id: 2\nevent: note\ndata: {"at":2.0,"level":"info","text":"note 2"}\n\n'
            b"event: fleet\ndata: {}\n\n"
        )
    with feed.subscribe(after=1) as one:
        feed.look(b"{}")
        assert (await one.next()).startswith(b"id: 2\n")
    with feed.subscribe(after=999) as one:  # the number of another process
        feed.look(b"{}")
        assert (await one.next()).startswith(b"id: 1\n")


async def test_who_reads_nothing_holds_a_bounded_line() -> None:
    feed = Feed()
    with feed.subscribe() as one:
        for number in range(10 * NOTES):
            feed.note(note(number))
        told = await one.next()
    assert told.count(b"event: note") == NOTES
    assert b'"note 999"' in told


async def test_a_reader_waits_and_is_woken(autojump_clock: trio.testing.MockClock) -> None:
    feed = Feed()
    with feed.subscribe() as one:
        async with trio.open_nursery() as nursery:

            async def later() -> None:
                await trio.sleep(5)
                feed.look(b"1")
                await trio.sleep(5)
                feed.close()

            nursery.start_soon(later)
            assert await one.next() == b"event: fleet\ndata: 1\n\n"
            assert await one.next() == b""
    with feed.subscribe() as late:
        assert await late.next() == b""


def test_too_many_are_refused_and_who_leaves_makes_room() -> None:
    feed = Feed()
    held = [feed.subscribe() for _ in range(SUBSCRIBERS)]
    for one in held:
        one.__enter__()
    with pytest.raises(Refused, match="are watching already"):
        feed.refuse_full()
    held[0].__exit__(None, None, None)
    feed.refuse_full()
    assert len(feed) == SUBSCRIBERS - 1
