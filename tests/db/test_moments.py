"""Moments as text: fixed width, in UTC, the same as the standard library writes, and back again."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from db.moments import WIDTH, moment, moment_text

ZONES = st.timedeltas(dt.timedelta(hours=-23), dt.timedelta(hours=23)).map(
    lambda offset: dt.timezone(dt.timedelta(seconds=int(offset.total_seconds())))
)
# A day from both ends, so that no zone leads beyond them.
MOMENTS = st.datetimes(dt.datetime(1, 1, 2), dt.datetime(9999, 12, 30), timezones=ZONES)


@given(MOMENTS)
@example(dt.datetime(2026, 11, 23, 10, tzinfo=dt.UTC))
@example(dt.datetime(2026, 11, 23, 10, microsecond=120_000, tzinfo=dt.UTC))
@example(dt.datetime(1, 1, 1, tzinfo=dt.UTC))
@example(dt.datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=dt.UTC))
def test_it_is_what_the_standard_library_writes_and_comes_back(at: dt.datetime) -> None:
    text = moment_text(at)
    assert text == at.astimezone(dt.UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
    assert len(text) == WIDTH
    assert moment(text) == at


@given(MOMENTS, MOMENTS)
def test_the_order_of_texts_is_the_order_of_moments(one: dt.datetime, other: dt.datetime) -> None:
    assert (moment_text(one) < moment_text(other)) == (one < other)


def test_a_moment_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        moment_text(dt.datetime(2026, 11, 23))  # that is what is refused


@pytest.mark.parametrize(
    "text",
    ["", "2026-11-23", "2026-11-23T10:00:00Z", "2026-11-23T10:00:00.123456", "2026-11-23 10:00:00.123456Z",
     "2026-11-23T10:00:00.12345xZ", "2026-13-23T10:00:00.123456Z", "2026-11-23T10:00:00.123456z"],
)  # fmt: skip
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        moment(text)
