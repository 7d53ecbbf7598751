"""Events as records: whatever goes in comes out in order, cut below the bound."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from bus.events import Committed, Event, Typing
from bus.records import BYTES, EVENTS, decoded, encoded, joined
from bus.topics import partition_of

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
events = st.one_of(
    st.builds(Typing, texts, texts, texts, st.floats(allow_nan=False)),
    st.builds(
        Committed, texts, st.integers(1, 9), texts, st.integers(1, 99), st.lists(st.binary(max_size=20), min_size=1)
    ),
)


def through(said: list[Event]) -> list[Event]:
    heard: list[Event] = []
    for record, holds in joined([part for event in said for part in encoded(event)]):
        found, wrong = decoded(record)
        assert (len(found), wrong) == (holds, "")
        heard += found
    return heard


@given(st.lists(events, max_size=20))
def test_what_goes_in_comes_out(said: list[Event]) -> None:
    assert through(said) == said


@given(st.binary(max_size=40))
def test_anything_else_is_a_reason_not_an_error(record: bytes) -> None:
    found, wrong = decoded(record)
    assert wrong or record == b"\x90" or found


def test_many_small_ones_are_several_records() -> None:
    said: list[Event] = [Typing(str(number), "u", "U") for number in range(2 * EVENTS + 1)]
    assert len(list(joined([part for event in said for part in encoded(event)]))) == 3
    assert through(said) == said


@settings(deadline=None)  # copies up to 14 MB
@given(st.lists(st.integers(0, 5), min_size=1, max_size=8))
def test_a_large_commit_is_cut_between_its_messages(quarters: list[int]) -> None:
    bodies = [b"x" * (BYTES * size // 4) for size in quarters]
    parts = [part for part in through([Committed("lobby", 1, "e", 5, bodies)]) if isinstance(part, Committed)]
    assert [body for part in parts for body in part.bodies] == bodies
    first = 5
    for part in parts:
        assert part.first_seq == first
        assert sum(map(len, part.bodies)) <= BYTES or len(part.bodies) == 1
        first += len(part.bodies)


def test_a_key_has_one_partition_on_every_server() -> None:
    assert [partition_of(key, 4) for key in ("", "lobby", "\u00fc")] == [0, 3, 1]
    assert {partition_of(f"room{number}", 4) for number in range(50)} == {0, 1, 2, 3}
