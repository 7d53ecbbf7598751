"""The room's order: by whatever way and however often messages come, they leave as 1, 2, 3, each once."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from chat.room import EARLY_MESSAGES, WINDOW_BYTES, WINDOW_MESSAGES, Room


def body(seq: int, size: int = 0) -> bytes:
    return b"%d" % seq + b"." * size


def bodies(first: int, last: int) -> list[bytes]:
    return [body(seq) for seq in range(first, last + 1)]


def room(head: int = 0, recent: int = 0) -> Room:
    return Room("lobby", 1, "e1", head, bodies(head - recent + 1, head))


@st.composite
def offers(draw: st.DrawFn) -> tuple[int, list[tuple[int, int]]]:
    """A head, and runs that cover 1..head: split anywhere, some repeated, overlapping, in any order."""
    head = draw(st.integers(1, 60))
    cuts = sorted({*draw(st.lists(st.integers(1, head), max_size=10)), head})
    runs = [(before + 1, cut) for before, cut in zip([0, *cuts], cuts, strict=False)]
    extra = draw(st.lists(st.tuples(st.integers(1, head), st.integers(0, 9)), max_size=6))
    runs += [(first, min(first + more, head)) for first, more in extra]
    return head, draw(st.permutations(runs))


@given(offers())
@settings(max_examples=300)
def test_any_order_leaves_as_the_one_order_once(case: tuple[int, list[tuple[int, int]]]) -> None:
    head, runs = case
    order, heard = room(), 0
    out: list[bytes] = []
    for first, last in runs:
        before = order.head
        ready = order.offer(first, bodies(first, last))
        out += ready
        heard = max(heard, last)
        assert order.head == before + len(ready)
        assert out == bodies(1, order.head)
        hole = order.missing()
        assert (hole is None) == (order.head == heard)
        assert hole is None or hole[0] == order.head + 1 <= hole[1] <= heard
    assert out == bodies(1, head)
    assert order.missing() is None


class Ordering(RuleBasedStateMachine):
    """A room beside the list of what was committed; holes are filled as the hub fills them."""

    def __init__(self) -> None:
        super().__init__()
        self.room = room(head=7, recent=3)
        self.committed = 7
        self.out: list[bytes] = []

    @rule(count=st.integers(1, 5))
    def commit_and_hear(self, count: int) -> None:
        self.committed += count
        self.offer(self.committed - count + 1, self.committed)

    @rule(count=st.integers(1, 5))
    def commit_and_lose(self, count: int) -> None:
        self.committed += count

    @rule(back=st.integers(0, 20), count=st.integers(1, 8))
    def hear_again(self, back: int, count: int) -> None:
        first = max(1, self.committed - back)
        self.offer(first, min(self.committed, first + count - 1))

    @rule()
    def hear_of_the_head(self) -> None:
        self.room.expect(self.committed)
        assert (self.room.missing() is None) == (self.room.head == self.committed)

    @rule(page=st.integers(1, 10))
    def fill(self, page: int) -> None:
        while (hole := self.room.missing()) is not None:
            before = self.room.head
            self.offer(hole[0], min(hole[0] + page - 1, self.committed))
            assert self.room.head > before

    def offer(self, first: int, last: int) -> None:
        self.out += self.room.offer(first, bodies(first, last))

    @invariant()
    def what_left_is_the_sequence(self) -> None:
        assert self.out == bodies(8, self.room.head)
        assert self.room.head <= self.committed

    @invariant()
    def the_window_is_the_newest(self) -> None:
        start, head = self.room.window_start, self.room.head
        assert start == 4
        assert self.room.since(start) == bodies(start + 1, head)
        assert self.room.since(start - 1) is None
        assert self.room.since(head) == []
        assert self.room.since(head + 1) is None


TestOrdering = Ordering.TestCase
TestOrdering.settings = settings(max_examples=100, stateful_step_count=30)


@pytest.mark.parametrize(("head", "recent"), [(0, 0), (1, 1), (40, 0), (40, 40), (900, 500)])
def test_a_loaded_room_answers_from_its_window_only(head: int, recent: int) -> None:
    order = room(head, recent)
    assert order.window_start == head - recent
    for seq in {0, head - recent - 1, head - recent, head - 1, head, head + 1}:
        inside = head - recent <= seq <= head
        assert order.since(seq) == (bodies(seq + 1, head) if inside else None)


def test_the_window_keeps_the_newest_and_no_more() -> None:
    order = room()
    for first in range(1, 3 * WINDOW_MESSAGES, 7):
        order.offer(first, bodies(first, first + 6))
    assert order.window_start == order.head - WINDOW_MESSAGES
    assert order.since(order.window_start) == bodies(order.window_start + 1, order.head)


def test_long_messages_shorten_the_window_but_the_newest_stays() -> None:
    order = room()
    for seq in range(1, 11):
        order.offer(seq, [body(seq, WINDOW_BYTES // 4)])
    assert order.window_start == 7
    order.offer(11, [body(11, 2 * WINDOW_BYTES)])
    assert order.since(10) == [body(11, 2 * WINDOW_BYTES)]
    assert order.since(9) is None


def test_a_loaded_window_of_long_messages_is_cut_too() -> None:
    order = Room("lobby", 1, "e1", 20, [body(seq, WINDOW_BYTES // 2) for seq in range(11, 21)])
    assert order.window_start == 19


def test_what_is_kept_ahead_of_a_hole_is_bounded_and_what_was_dropped_is_still_missed() -> None:
    order, last = room(), EARLY_MESSAGES + 3_000
    for first in range(2, last, 500):
        assert order.offer(first, bodies(first, min(first + 499, last))) == []
    assert order.missing() == (1, 1)
    assert order.offer(1, [body(1)]) == bodies(1, EARLY_MESSAGES + 1)
    assert order.missing() == (EARLY_MESSAGES + 2, last)
    assert order.offer(EARLY_MESSAGES + 2, bodies(EARLY_MESSAGES + 2, last)) == bodies(EARLY_MESSAGES + 2, last)
    assert order.missing() is None


def test_a_number_heard_of_is_missing_until_it_comes() -> None:
    order = room(head=3, recent=3)
    order.expect(2)
    assert order.missing() is None
    order.expect(5)
    assert order.missing() == (4, 5)
    assert order.offer(4, [body(4)]) == [body(4)]
    assert order.missing() == (5, 5)
    order.offer(5, [body(5)])
    assert order.missing() is None
