"""Commits that follow each other are one, whatever stands between them, and nothing else changes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bus.events import Asked, Committed, Event, joined


def commit(room: str, first: int, count: int) -> Committed:
    return Committed(room, 1, "k3f9", first, [b"%d" % seq for seq in range(first, first + count)])


def said(events: list[Event]) -> dict[str, list[tuple[int, bytes]]]:
    """What each room was told, in order."""
    found: dict[str, list[tuple[int, bytes]]] = {}
    for event in events:
        if isinstance(event, Committed):
            found.setdefault(event.room, []).extend(enumerate(event.bodies, event.first_seq))
    return found


def test_what_follows_is_joined_and_what_does_not_is_left() -> None:
    events: list[Event] = [commit("a", 1, 2), Asked("a"), commit("b", 7, 1), commit("a", 3, 1), commit("a", 5, 1)]
    assert joined(events) == [commit("a", 1, 3), Asked("a"), commit("b", 7, 1), commit("a", 5, 1)]


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 9), st.integers(1, 3))))
def test_each_room_hears_the_same_in_the_same_order(commits: list[tuple[str, int, int]]) -> None:
    events: list[Event] = [commit(*one) for one in commits]
    assert said(joined(events)) == said(events)
    assert len(joined(events)) <= len(events)
