"""The heads of requests: the quick way for /v1/assign, and what Hypercorn gets of all others."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tower.errors import Refused
from tower.head import Assign, Other, answer, assigned, parse


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        (b"GET /v1/assign HTTP/1.1", Assign("", "", False)),
        (b"GET /v1/assign? HTTP/1.1", Assign("", "", False)),
        (b"GET /v1/assign?user=ada&room=lobby HTTP/1.1", Assign("ada", "lobby", False)),
        (b"GET /v1/assign?user=%C3%84&x=y HTTP/1.1", Assign("\u00c4", "", False)),
        (b"GET /v1/assign?user=a&user=b HTTP/1.1", Assign("b", "", False)),
        (b"GET /v1/assign HTTP/1.1\r\nConnection: close", Assign("", "", True)),
        (b"GET /v1/assign HTTP/1.1\r\nConnection: keep-alive", Assign("", "", False)),
    ],
)
def test_questions_that_are_answered_at_once(first: bytes, expected: Assign) -> None:
    assert parse(first + b"\r\nHost: t") == expected


@pytest.mark.parametrize(
    "head",
    [
        b"GET /v1/assign HTTP/1.0",
        b"HEAD /v1/assign HTTP/1.1",
        b"GET /v1/assign/ HTTP/1.1",
        b"GET /v1/assign HTTP/1.1\r\nContent-Length: 3",
        b"GET /v1/assign HTTP/1.1\r\ntransfer-encoding: chunked",
        b"GET /v1/assign HTTP/1.1\r\nExpect: 100-continue",
        b"GET /v1/assign HTTP/1.1\r\nUpgrade: websocket",
    ],
)
def test_questions_that_go_the_long_way(head: bytes) -> None:
    other = parse(head)
    assert isinstance(other, Other)
    assert other.body == (b"ength" in head or b"encoding" in head)


def test_what_is_between_two_hops_does_not_reach_hypercorn() -> None:
    head = (
        b"POST /v1/servers/s1/drain?dry=1 HTTP/1.1\r\nHost: t\r\nconnection: Upgrade\r\nUpgrade: h2c\r\n"
        b"HTTP2-Settings: x\r\nContent-Length: 2\r\nX-Upgrade: stays"
    )
    other = parse(head)
    assert other == Other(
        b"POST /v1/servers/s1/drain?dry=1 HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\nX-Upgrade: stays\r\n"
        b"Connection: close\r\n\r\n",
        "/v1/servers/s1/drain",
        True,
    )


@pytest.mark.parametrize(
    "head", [b"", b"GET", b"GET / HTTP/2", b"GET  / HTTP/1.1", b"\x00 / HTTP/1.1", b"GET /\xff HTTP/1.1"]
)
def test_what_is_no_request(head: bytes) -> None:
    with pytest.raises(Refused, match=r"not HTTP/1\.1"):
        parse(head)


@given(st.binary(max_size=300).filter(lambda data: b"\r\n\r\n" not in data))
def test_whatever_comes_is_answered_or_refused(data: bytes) -> None:
    for raw in (data, b"GET /v1/assign?" + data + b" HTTP/1.1", b"GET / HTTP/1.1\r\n" + data):
        with contextlib.suppress(Refused):
            parse(raw)


def test_answers_are_whole() -> None:
    told = assigned("http://s1", "s1", close=True)
    assert told.endswith(b'Connection: close\r\n\r\n{"url":"http://s1","server":"s1"}')
    assert b"Content-Length: 33\r\n" in told
    assert answer(503, b"{}", {"Retry-After": "2"}, close=False).startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
