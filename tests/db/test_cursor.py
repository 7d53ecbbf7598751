"""The listing's cursor, the moments in it, and how titles fold: pure, for all twins."""

from __future__ import annotations

import base64
import datetime as dt

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from db.cursor import cursor_text, read_cursor
from db.folding import fold
from db.moments import moment, moment_text
from db.records import Order, RoomRecord, RoomSort
from db.store import BadCursor

MOMENTS = st.datetimes(
    min_value=dt.datetime(1, 1, 3),
    max_value=dt.datetime(9999, 12, 29),
    timezones=st.sampled_from([dt.UTC, dt.timezone(dt.timedelta(hours=-9, minutes=-30))]),
)
NAMES = st.text("abcdefghijklmnopqrstuvwxyz0123456789._-", min_size=1, max_size=64)
SORTS = st.sampled_from(["name", "created_at", "active_at"])
ORDERS = st.sampled_from(["asc", "desc"])


@settings(deadline=None)
@given(MOMENTS, MOMENTS)
def test_moments_sort_as_text_and_come_back(one: dt.datetime, other: dt.datetime) -> None:
    assert moment(moment_text(one)) == one
    assert (moment_text(one) < moment_text(other)) == (one < other)


@settings(deadline=None)
@given(SORTS, ORDERS, NAMES, MOMENTS, st.integers(1, 2**63 - 1))
def test_a_cursor_comes_back_as_it_was_made(sort: RoomSort, order: Order, name: str, at: dt.datetime, id: int) -> None:
    room = RoomRecord(id, name, "", "e", 0, "u", at, at, at)
    text = cursor_text(room, sort, order)
    assert len(text) < 200
    assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
    cursor = read_cursor(text, sort, order)
    assert (cursor.key, cursor.id) == (name if sort == "name" else moment_text(at), id)
    with pytest.raises(BadCursor, match="is of the listing by"):
        read_cursor(text, sort, "asc" if order == "desc" else "desc")


@settings(deadline=None)
@given(st.text() | st.binary().map(lambda raw: base64.urlsafe_b64encode(raw).decode()), SORTS, ORDERS)
def test_anything_else_is_refused(text: str, sort: RoomSort, order: Order) -> None:
    with pytest.raises(BadCursor):
        read_cursor(text, sort, order)


@pytest.mark.parametrize(
    "value",
    [
        None,
        {},
        [],
        ["created_at", "asc", "2026-11-23T10:00:00.123456Z"],
        ["created_at", "asc", "2026-11-23T10:00:00.123456Z", 1, 1],
        ["created_at", "asc", "2026-11-23T10:00:00.123456Z", "1"],
        ["created_at", "asc", "2026-11-23T10:00:00.123456Z", -1],
        ["created_at", "asc", "2026-11-23T10:00:00.123456Z", 2**63],
        ["created_at", "asc", "2026-11-23T10:00:00Z", 1],
        ["created_at", "asc", "2026-11-23 10:00:00.123456Z", 1],
        ["created_at", "asc", "2026-13-23T10:00:00.123456Z", 1],
        ["created_at", "asc", "lobby", 1],
        ["created_at", "up", "2026-11-23T10:00:00.123456Z", 1],
        ["id; DROP TABLE room", "asc", "2026-11-23T10:00:00.123456Z", 1],
    ],
)
def test_well_formed_but_not_ours(value: object) -> None:
    text = base64.urlsafe_b64encode(msgspec.json.encode(value)).rstrip(b"=").decode()
    with pytest.raises(BadCursor, match="not one of ours"):
        read_cursor(text, "created_at", "asc")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Straße", "STRASSE"),
        ("Café", "CAFE\N{COMBINING ACUTE ACCENT}"),
        ("ﬁre", "FIRE"),
        ("\uff21", "a"),
        ("ΣΑΣ", "σας"),
    ],
)
def test_what_folds_alike(one: str, other: str) -> None:
    assert fold(one) == fold(other)


@settings(deadline=None)
@given(st.text())
def test_folding_twice_is_folding_once(text: str) -> None:
    assert fold(fold(text)) == fold(text)
