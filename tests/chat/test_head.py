"""The request's head: good ones parse, hostile ones raise Refusal and nothing else, and none takes long."""

from __future__ import annotations

import base64
import json
import time

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chat.errors import CODES
from chat.head import (
    HEAD_BYTES,
    Head,
    Refusal,
    answer,
    check_origin,
    check_upgrade,
    parse_head,
    wants_websocket,
    without_upgrade,
)

KEY = base64.b64encode(bytes(range(16))).decode()
GOOD = {
    "Host": "chat.example.org",
    "Connection": "keep-alive, Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": KEY,
}

names = st.from_regex(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,20}", fullmatch=True)
values = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=40)


def raw_head(headers: dict[str, str], line: str = "GET /ws HTTP/1.1") -> bytes:
    return "\r\n".join([line, *(f"{name}: {value}" for name, value in headers.items())]).encode("latin-1")


def refused(raw: bytes, origins: tuple[str, ...] = ()) -> str | None:
    """The code with which a head is refused at /ws, None if it comes in."""
    try:
        check_upgrade(parse_head(raw), origins)
    except Refusal as refusal:
        assert_is_whole(refusal)
        return refusal.code
    return None


def assert_is_whole(refusal: Refusal) -> None:
    """The answer of a refusal is a response that another HTTP implementation understands."""
    peer = h11.Connection(h11.CLIENT)
    peer.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
    peer.send(h11.EndOfMessage())
    peer.receive_data(refusal.response)
    peer.receive_data(b"")
    response, body, end = peer.next_event(), peer.next_event(), peer.next_event()
    assert isinstance(response, h11.Response)
    assert isinstance(body, h11.Data)
    assert isinstance(end, h11.EndOfMessage)
    assert response.status_code == CODES[refusal.code][0]
    assert json.loads(body.data) == {"code": refusal.code, "message": str(refusal)}


@given(
    st.sampled_from(["GET", "POST", "M-SEARCH"]),
    st.from_regex(r"/[!-~]{0,30}", fullmatch=True),
    st.lists(st.tuples(names, st.sampled_from(["", " ", "\t ", "   "]), values), max_size=8),
)
def test_good_heads_parse(method: str, target: str, headers: list[tuple[str, str, str]]) -> None:
    raw = "\r\n".join([f"{method} {target} HTTP/1.1", *(f"{n}:{pad}{v}{pad}" for n, pad, v in headers)]).encode()
    head = parse_head(raw)
    assert (head.method, head.path) == (method, target.partition("?")[0])
    flat = sorted((name, value) for name, values in head.headers.items() for value in values)
    assert flat == sorted((name.lower().encode(), value.encode()) for name, _, value in headers)


@given(st.binary(max_size=400))
@settings(max_examples=500)
def test_garbage_is_refused_and_nothing_worse(raw: bytes) -> None:
    for head in (raw, b"GET /ws HTTP/1.1\r\n" + raw, raw_head(GOOD) + b"\r\n" + raw):
        refused(head)
        wants(head)
        without_upgrade(head)


@given(st.sampled_from(sorted(GOOD)), st.binary(max_size=60))
@settings(max_examples=300)
def test_a_good_head_with_one_garbled_value_is_refused_or_comes_in(name: str, value: bytes) -> None:
    raw = raw_head(GOOD).replace(f"{name}: {GOOD[name]}".encode(), name.encode() + b": " + value)
    refused(raw)
    wants(raw)


def wants(raw: bytes) -> bool:
    try:
        return wants_websocket(parse_head(raw))
    except Refusal:
        return False


@pytest.mark.parametrize(
    "line", ["a:" + " " * 8_000 + "\0", "a:" + "\t " * 4_000 + "\x7f", "a" * 8_000, " " * 8_000, "a:" + "," * 8_000]
)
def test_no_head_takes_long(line: str) -> None:
    # CPU time of this thread, not real time: a pattern that backtracks needs minutes, a good one under 1 ms.
    began = time.thread_time()
    refused(raw_head(GOOD) + b"\r\n" + line.encode())
    refused(raw_head(GOOD | {"Connection": line[2:]}))
    assert time.thread_time() - began < 1.0


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"GET",
        b"GET /ws",
        b"GET /ws HTTP/2.0",
        b"GET /ws HTTP/1.1 ",
        b"GET  /ws HTTP/1.1",
        b"G\xc3\xa4T /ws HTTP/1.1",
        b"GET /\xc3\xa4 HTTP/1.1",
        b"GET /w s HTTP/1.1",
        b"PRI * HTTP/2.0",
        b"\x16\x03\x01\x02\x00\x01",
        b"GET /ws HTTP/1.1\nHost: x",
        b"GET /ws HTTP/1.1\r\nno colon",
        b"GET /ws HTTP/1.1\r\n: no name",
        b"GET /ws HTTP/1.1\r\nna me: x",
        b"GET /ws HTTP/1.1\r\nname : x",
        b"GET /ws HTTP/1.1\r\nname: a\r\n folded",
        b"GET /ws HTTP/1.1\r\nname: a\0b",
        b"GET /ws HTTP/1.1\r\nname: a\nb",
        b"GET /ws HTTP/1.1\r\nname: a\rb",
        b"GET /ws HTTP/1.1\r\nConnection: Upgr\xc3\xa4de",
        b"GET /ws HTTP/1.1\r\nHost: ex\xe4mple.org",
        b"GET /ws HTTP/1.1\r\nTransfer-Encoding: ch\xfcnked",
    ],
)
def test_what_is_not_a_head_is_a_bad_request(raw: bytes) -> None:
    with pytest.raises(Refusal) as info:
        parse_head(raw)
    assert info.value.code == "bad_request"
    assert_is_whole(info.value)


@pytest.mark.parametrize("name", ["Cookie", "User-Agent", "X-Name"])
def test_headers_that_nobody_acts_on_may_hold_anything_visible(name: str) -> None:
    assert refused(raw_head(GOOD | {name: "J\xfcrgen"})) is None


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"Connection": "upgrade"},
        {"Connection": " ,Upgrade,, keep-alive"},
        {"Upgrade": "WebSocket"},
        {"Upgrade": "h2c, websocket"},
        {"Sec-WebSocket-Protocol": "belfry.v1"},
        {"Sec-WebSocket-Protocol": "other, belfry.v1"},
        {"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits"},
        {"Origin": "https://chat.example.org"},
        {"Origin": "http://chat.example.org"},
    ],
)
def test_good_handshakes_come_in(change: dict[str, str]) -> None:
    head = parse_head(raw_head(GOOD | change))
    assert wants_websocket(head)
    upgrade = check_upgrade(head, ())
    assert upgrade.key == KEY.encode()
    assert upgrade.subprotocol == ("Sec-WebSocket-Protocol" in change)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"Connection": "keep-alive"}, "bad_request"),
        ({"Connection": "upgraded"}, "bad_request"),
        ({"Sec-WebSocket-Version": "8"}, "upgrade_required"),
        ({"Sec-WebSocket-Version": ""}, "upgrade_required"),
        ({"Sec-WebSocket-Key": ""}, "bad_request"),
        ({"Sec-WebSocket-Key": KEY[:-4]}, "bad_request"),
        ({"Sec-WebSocket-Key": KEY.replace("A", "*")}, "bad_request"),
        ({"Sec-WebSocket-Key": "\xe4" * 24}, "bad_request"),
        ({"Sec-WebSocket-Protocol": "belfry.v2"}, "bad_request"),
        ({"Origin": "https://evil.example"}, "origin_refused"),
        ({"Origin": "null"}, "origin_refused"),
        ({"Origin": "https://chat.example.org.evil.example"}, "origin_refused"),
        ({"Origin": "https://"}, "origin_refused"),
        ({"Origin": "file://chat.example.org"}, "origin_refused"),
        ({"Origin": "https://chat.example.org:8443"}, "origin_refused"),
        ({"Origin": "\xe4" * 3_000}, "origin_refused"),
    ],
)
def test_bad_handshakes_do_not(change: dict[str, str], code: str) -> None:
    assert refused(raw_head(GOOD | change)) == code


@pytest.mark.parametrize("name", ["Sec-WebSocket-Key", "Sec-WebSocket-Version", "Origin", "Host"])
def test_a_header_given_twice_is_refused(name: str) -> None:
    raw = raw_head(GOOD | {"Origin": "https://chat.example.org"})
    value = (GOOD | {"Origin": "https://chat.example.org"})[name]
    assert refused(raw) is None
    assert refused(raw + f"\r\n{name.lower()}: {value}".encode()) == "bad_request"


def test_only_get_upgrades() -> None:
    assert refused(raw_head(GOOD, "POST /ws HTTP/1.1")) == "bad_request"


def test_http_1_0_does_not_upgrade() -> None:
    assert refused(raw_head(GOOD, "GET /ws HTTP/1.0")) == "bad_request"


@pytest.mark.parametrize("origins", [("*",), ("https://app.example.org",), ("x", "https://app.example.org")])
def test_allowed_origins_come_in(origins: tuple[str, ...]) -> None:
    assert refused(raw_head(GOOD | {"Origin": "https://app.example.org"}), origins) is None


def test_programs_without_an_origin_come_in() -> None:
    check_origin(Head("GET", "/ws", {}), ())


def test_an_upgrade_that_is_not_offered_is_taken_out() -> None:
    raw = b"GET /v1/rooms HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nConnection: Upgrade\r\nuPGRADE: h3"
    assert without_upgrade(raw) == b"GET /v1/rooms HTTP/1.1\r\nHost: x\r\nConnection: Upgrade"


@pytest.mark.parametrize("code", ["overloaded", "draining", "timeout", "head_too_large", "not_found"])
def test_every_answer_of_the_door_is_whole(code: str) -> None:
    assert_is_whole(Refusal(code, 'a message with ü and "quotes"', {"Retry-After": "2"}))
    assert b"\r\nRetry-After: 2\r\n" in answer(code, "", {"Retry-After": "2"})
    assert len(answer(code, "x" * 200, {})) < HEAD_BYTES
