"""The handover's records: what is written is read, older readers live with newer fields, and parts stay small."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat.handover import record
from chat.presence import PresenceState


def room(name: str, bodies: int = 0, size: int = 100) -> record.RoomState:
    presence = PresenceState({"u": "U"}, ["u"], {}, {"b/1": ["v"]})
    return record.RoomState(name, 1, "e", bodies, bodies, [bytes(size)] * bodies, {"u": 3}, ["u"], presence)


@pytest.mark.parametrize(
    "message",
    [
        record.Offer(record.FORMAT, "1.0", "a", "boot", 3, 2),
        record.Told([room("x", 3)], [record.SessionState(1, "u", "U", 1.5, False, ["x"])]),
        record.AllTold(),
        record.Changes(
            [record.RoomChange("x", 4, 5, [b"m"], None, [], None)],
            [room("new")],
            ["gone"],
            [record.SessionChange(1, True)],
            [
                record.LateSession(
                    record.SessionState(2, "v", "V", 2.5, True, []), record.SessionChange(2, unread=b"\x81")
                )
            ],
            [record.Stranger(True, b"\x81", 1.5, b"unsent")],
        ),
        record.Over(1.5, 2, True, False),
        record.Go(),
        record.Back(),
    ],
    ids=lambda message: type(message).__name__,
)
def test_the_giver_is_understood(message: record.FromGiver) -> None:
    assert record.decode_from_giver(record.encode(message)) == message


@pytest.mark.parametrize(
    "message",
    [record.Accept(), record.Decline("why"), record.Ready(), record.Taken(), record.Settled(3, 1.5)],
    ids=lambda message: type(message).__name__,
)
def test_the_taker_is_understood(message: record.FromTaker) -> None:
    assert record.decode_from_taker(record.encode(message)) == message


def test_a_field_that_an_older_reader_does_not_know_is_passed_over() -> None:
    newer = msgspec.msgpack.encode({"type": "over", "frozen_at": 1.0, "left_behind": 0, "of_tomorrow": [1, 2]})
    assert record.decode_from_giver(newer) == record.Over(1.0, 0)


def test_a_message_that_is_not_known_is_an_error() -> None:
    with pytest.raises(msgspec.ValidationError):
        record.decode_from_giver(msgspec.msgpack.encode({"type": "of_tomorrow"}))


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 100_000)), max_size=30))
def test_parts_hold_every_room_once_and_are_bounded(shapes: list[tuple[int, int]]) -> None:
    rooms = [room(f"r{number}", bodies, size) for number, (bodies, size) in enumerate(shapes)]
    parts = list(record.parts_of_rooms(rooms))
    assert [one.name for part in parts for one in part] == [one.name for one in rooms]
    for part in parts:
        assert part
        assert sum(sum(map(len, one.window)) for one in part[:-1]) <= record.PART_BYTES


def test_windows_beyond_the_bound_of_all_are_left_to_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "WINDOWS_BYTES", 1_000)
    (part,) = record.parts_of_rooms([room("a", 5), room("b", 5), room("c", 5)])
    assert [len(one.window) for one in part] == [5, 5, 0]
    assert [one.head for one in part] == [5, 5, 5]
