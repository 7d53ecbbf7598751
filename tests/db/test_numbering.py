"""Which numbers a batch gets, without a database."""

from __future__ import annotations

import datetime as dt

from hypothesis import example, given
from hypothesis import strategies as st

from db.numbering import moved, number
from db.records import Appended, Draft

AT = dt.datetime(2026, 11, 23, 10, 0, 0, 123456, tzinfo=dt.UTC)
ROOMS = (3, 7, 8, 2**40)

# Few users and nonces, so that some are said again, in their own room and in others.
drafts = st.builds(
    Draft,
    st.sampled_from(ROOMS),
    st.sampled_from(["ada", "bob"]),
    st.just("Name"),
    st.sampled_from(["n1", "n2", "n3", "n4"]),
    st.sampled_from(["x", "y"]),
)
batches = st.lists(drafts, max_size=30)
heads_of_all = st.fixed_dictionaries({room: st.integers(0, 2**62) for room in ROOMS})


def in_room(room: int, *nonces: str) -> list[Draft]:
    return [Draft(room, "ada", "Ada", nonce, "x") for nonce in nonces]


@given(batches, heads_of_all)
@example([], dict.fromkeys(ROOMS, 5))
@example(in_room(3, "n1", "n1", "n2") + in_room(7, "n1", "n2", "n1"), dict.fromkeys(ROOMS, 5))
def test_numbered_from_zero_and_moved_is_numbered_from_there(batch: list[Draft], heads_of: dict[int, int]) -> None:
    heads = {draft.room_id: heads_of[draft.room_id] for draft in batch}
    there = moved(batch, number(batch, dict.fromkeys(heads, 0), {}, AT), heads)
    numbered = number(batch, heads, {}, AT)
    assert there.outcomes == numbered.outcomes
    assert there.after == numbered.after
    assert there.before == numbered.before
    assert there.rows == []  # they have been written


@given(batches, heads_of_all)
def test_each_room_counts_on_and_what_is_said_again_has_its_first_number(
    batch: list[Draft], heads: dict[int, int]
) -> None:
    numbered = moved(batch, number(batch, dict.fromkeys(ROOMS, 0), {}, AT), heads)
    first: dict[tuple[int, str, str], int] = {}
    count = dict(heads)
    assert len(numbered.outcomes) == len(batch)
    for draft, outcome in zip(batch, numbered.outcomes, strict=True):
        key = (draft.room_id, draft.user_id, draft.nonce)
        if fresh := key not in first:
            count[draft.room_id] += 1
            first[key] = count[draft.room_id]
        assert outcome == Appended(first[key], AT, fresh)
    assert numbered.after == {room: seq for room, seq in count.items() if seq > heads[room]}
