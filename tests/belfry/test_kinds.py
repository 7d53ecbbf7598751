"""Every kind reads what it shows, and refuses the rest with ValueError only."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from belfry.kinds import Address, Choice, Directory, Duration, Names, Number, Switch, Text, Url

KINDS: list[Any] = [
    Number(0, 65_535),
    Number(0, 100, whole=False),
    Duration(0.1, 3_600),
    Switch(),
    Choice(("auto", "json")),
    Text("[a-z]+", "letters"),
    Names("[a-z]+", "words"),
    Directory(),
    Address(("sqlite",), "sqlite:///file", ("mysql",)),
    Url(("http", "ws"), "a URL", "{port}"),
]


@given(st.sampled_from(KINDS), st.one_of(st.text(), st.integers(), st.floats(), st.booleans(), st.none(), st.dates()))
def test_whatever_comes_is_a_value_or_a_value_error(kind: Any, raw: Any) -> None:
    try:
        value = kind.read(raw)
    except ValueError:
        return
    assert kind.read(kind.show(value)) == value or kind.show(value) in ("none", "no")


@given(st.sampled_from(KINDS), st.lists(st.one_of(st.text(), st.integers())))
def test_an_array_is_a_value_or_a_value_error(kind: Any, raw: Any) -> None:
    try:
        value = kind.read(raw)
    except ValueError:
        return
    assert isinstance(value, tuple)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90.0), ("90s", 90.0), ("15m", 900.0), ("1.5h", 5_400.0), ("7d", 604_800.0), (30, 30.0), (0.5, 0.5)],
)
def test_durations(text: Any, seconds: float) -> None:
    assert Duration(0).read(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "-1", "1w", "1h30m", "nan", "inf", "99999d", True, None, [1]])
def test_no_durations(text: Any) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # a bare ValueError is the contract: the caller has the words
        Duration(0).read(text)


@pytest.mark.parametrize("raw", ["1.5", "x", "", "-1", "70000", 1.5, float("nan"), float("inf"), True, None])
def test_no_ports(raw: Any) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # as above
        Number(0, 65_535).read(raw)


def test_a_whole_float_of_a_file_is_a_whole_number() -> None:
    assert Number(0, 65_535).read(8000.0) == 8000
    assert isinstance(Number(0, 65_535).read(8000.0), int)


def test_names_are_kept_in_order_and_once() -> None:
    assert Names("[a-z]+", "words").read("b, a,b,") == ("b", "a")
    assert Names("[a-z]+", "words").read(["b", "a"]) == ("b", "a")


def test_a_scheme_of_later_says_so() -> None:
    with pytest.raises(ValueError, match="mysql: is not in this version"):
        Address(("sqlite",), "sqlite:///file", ("mysql",)).read("mysql://u@h/n")


@pytest.mark.parametrize(
    "url",
    [
        "http://h",
        "ws://h:1/ws",
        "http://[::1]:8000/",
        "http://h/behind/a/path",
        "http://h:{port}",
        "http://s-{port}.h/",
    ],
)
def test_urls(url: str) -> None:
    assert Url(("http", "ws"), "a URL", "{port}").read(url) == url


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://h:99999", "a URL, with a port from 1 to 65,535"),
        ("http://h:0", "a URL, with a port from 1 to 65,535"),
        ("http://h:x", "a URL, with a port from 1 to 65,535"),
        ("http://h/path?q", "a URL, with nothing behind"),
        ("http://h/path#f", "a URL, with nothing behind"),
        ("http://h:{port}", "a URL, without braces"),
        ("http://[::1", "a URL"),
        ("http://:80", ""),
        ("https://h", ""),
        ("http://h /", ""),
        ("h:80", ""),
        ("", ""),
    ],
)
def test_no_urls(url: str, why: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # the caller has the words where there are none
        Url(("http",), "a URL").read(url)
    assert str(caught.value).startswith(why)
    assert bool(str(caught.value)) == bool(why)
