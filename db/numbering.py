"""Which number each draft of a batch gets: pure, the same in every twin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from db.records import Appended, RoomMissing

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping, Sequence

    from db.records import Draft

Key = tuple[int, str, str]  # room id, user id, nonce: unique for ever
Row = tuple[int, int, str, str, str, str]  # room id, seq, user id, user name, nonce, text


@dataclass(frozen=True, slots=True)
class Numbered:
    """A batch with its numbers. Good to write only while every room is where `before` says it is."""

    outcomes: list[Appended | RoomMissing]  # one a draft, in their order
    rows: list[Row]  # the fresh ones
    before: dict[int, int]  # last_seq of each room that gets fresh ones
    after: dict[int, int]  # and what it becomes


def number(
    drafts: Sequence[Draft], heads: Mapping[int, int], known: Mapping[Key, Appended], at: dt.datetime
) -> Numbered:
    """Give each room's fresh drafts consecutive numbers from its head on.

    `heads`: last_seq of the rooms that exist. `known`: what is in the store of these drafts already.
    """
    outcomes: list[Appended | RoomMissing] = []
    rows: list[Row] = []
    before: dict[int, int] = {}
    after: dict[int, int] = {}
    seen: dict[Key, int] = {}
    for draft in drafts:
        room_id = draft.room_id
        head = after.get(room_id)
        if head is None:
            head = heads.get(room_id)
            if head is None:
                outcomes.append(RoomMissing())
                continue
        key = (room_id, draft.user_id, draft.nonce)
        if key in seen:
            outcomes.append(Appended(seen[key], at, fresh=False))
            continue
        if key in known:
            outcomes.append(known[key])
            continue
        before.setdefault(room_id, head)
        after[room_id] = seq = head + 1
        seen[key] = seq
        outcomes.append(Appended(seq, at, fresh=True))
        rows.append((room_id, seq, draft.user_id, draft.user_name, draft.nonce, draft.text))
    return Numbered(outcomes, rows, before, after)


def moved(drafts: Sequence[Draft], numbered: Numbered, heads: Mapping[int, int]) -> Numbered:
    """A batch that was numbered from 0 on, all of it new to rooms that exist, as it is behind these heads.

    Its rows are left out: it has been written.
    """
    outcomes: list[Appended | RoomMissing] = [
        Appended(heads[draft.room_id] + outcome.seq, outcome.at, outcome.fresh)
        for draft, outcome in zip(drafts, numbered.outcomes, strict=True)
        if isinstance(outcome, Appended)
    ]
    return Numbered(outcomes, [], dict(heads), {room_id: heads[room_id] + n for room_id, n in numbered.after.items()})
