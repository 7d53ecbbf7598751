"""A table of bad requests: each gets one shape and says what was wrong; the server goes on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from chat.errors import CODES

JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Bad:
    """One bad request and the answer it must get."""

    name: str
    method: str
    path: str
    status: int
    code: str
    fields: dict[str, str] = field(default_factory=dict)  # details: field -> problem
    token: str | None = ""  # "" is none, None is Ada's
    json: Any = None
    data: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    answer: dict[str, str] = field(default_factory=dict)  # headers


def rooms_query(name: str, query: str, field_name: str, problem: str) -> Bad:
    return Bad(name, "GET", f"/v1/rooms?{query}", 400, "bad_request", {field_name: problem}, token=None)


def history_query(name: str, query: str, field_name: str, problem: str) -> Bad:
    return Bad(name, "GET", f"/v1/rooms/lobby/messages?{query}", 400, "bad_request", {field_name: problem}, token=None)


def guest_body(name: str, data: bytes, code: str, fields: dict[str, str] | None = None) -> Bad:
    return Bad(name, "POST", "/v1/guests", 400, code, fields or {}, data=data, headers=JSON)


def token(name: str, header: str, code: str) -> Bad:
    wanted = {"WWW-Authenticate": 'Bearer realm="belfry"'}
    return Bad(name, "GET", "/v1/rooms", 401, code, headers={"Authorization": header}, answer=wanted)


def send(name: str, code: str, fields: dict[str, str] | None = None, **headers: str) -> Bad:
    path = "/v1/rooms/lobby/messages"
    return Bad(name, "POST", path, 400, code, fields or {}, token=None, json={"text": "hi"}, headers=headers)


TABLE = [
    Bad("unknown address", "GET", "/nothing", 404, "not_found"),
    Bad("unknown address in the API", "GET", "/v1/nothing", 404, "not_found"),
    Bad("unknown address, not a GET", "POST", "/nothing", 404, "not_found"),
    Bad("unknown version", "GET", "/v2/rooms", 404, "not_found"),
    Bad("an address that is not UTF-8", "GET", "/v1/rooms/%ff/x", 404, "not_found"),
    Bad("wrong method", "PUT", "/v1/rooms", 405, "method_not_allowed", answer={"Allow": "GET, HEAD, OPTIONS, POST"}),
    Bad("wrong method, a page", "POST", "/docs.js", 405, "method_not_allowed", answer={"Allow": "GET, HEAD, OPTIONS"}),
    Bad("a method of nobody", "BREW", "/v1/guests", 405, "method_not_allowed", answer={"Allow": "OPTIONS, POST"}),
    token("no token", "", "no_token"),
    token("another scheme", "Basic YWRhOmFkYQ==", "no_token"),
    token("a scheme alone", "Bearer", "no_token"),
    token("a scheme and spaces", "Bearer   ", "no_token"),
    token("garbage", "Bearer x", "bad_token"),
    token("two tokens", "Bearer a.b.c d.e.f", "bad_token"),
    token("not ASCII", "Bearer \u00e9", "bad_token"),
    token("alg none", "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.", "bad_token"),
    token("huge", "Bearer " + "A" * 100_000, "bad_token"),
    Bad("the token before the body", "POST", "/v1/rooms", 401, "no_token", data=b"{", headers=JSON),
    Bad("a token in the address is none", "GET", "/v1/rooms?access_token=x", 401, "no_token"),
    guest_body("no body", b"", "bad_json"),
    guest_body("cut JSON", b'{"name": "A', "bad_json"),
    guest_body("two values", b'{"name": "A"} {}', "bad_json"),
    guest_body("not JSON's own", b'{"name": NaN}', "bad_json"),
    guest_body("not UTF-8", b'{"name": "\xff"}', "bad_json"),
    guest_body("half a pair", b'{"name": "\\ud800"}', "bad_json"),
    guest_body("UTF-16", '{"name": "A"}'.encode("utf-16"), "bad_json"),
    guest_body("deep", b"[" * 60_000, "bad_json"),
    guest_body("a list", b"[]", "bad_request", {"body": "expected object, got array"}),
    guest_body("null", b"null", "bad_request", {"body": "expected object, got null"}),
    guest_body("a missing field", b"{}", "bad_request", {"name": "required"}),
    guest_body("a wrong type", b'{"name": 5}', "bad_request", {"name": "expected str, got int"}),
    guest_body("an unknown field", b'{"name": "A", "nmae": "B"}', "bad_request", {"nmae": "unknown"}),
    Bad(
        "no content type", "POST", "/v1/guests", 400, "bad_request",
        {"Content-Type": "must be application/json"}, data=b'{"name": "A"}',
    ),
    Bad(
        "a form", "POST", "/v1/guests", 400, "bad_request",
        {"Content-Type": "must be application/json, not application/x-www-form-urlencoded"},
        data=b"name=Ada", headers={"Content-Type": "application/x-www-form-urlencoded"},
    ),
    Bad("too large", "POST", "/v1/guests", 413, "too_large", data=b" " * 65_537, headers=JSON),
    Bad(
        "said to be too large", "POST", "/v1/guests", 413, "too_large",
        data=b"{}", headers=JSON | {"Content-Length": "65537"},
    ),
    rooms_query("a limit of words", "limit=ten", "limit", "expected int, got str"),
    rooms_query("no rooms", "limit=0", "limit", "expected int >= 1"),
    rooms_query("too many rooms", "limit=101", "limit", "expected int <= 100"),
    rooms_query("a huge limit", "limit=" + "9" * 50, "limit", "expected int <= 100"),
    rooms_query("half a limit", "limit=1.5", "limit", "expected int, got str"),
    rooms_query("no limit", "limit=", "limit", "expected int, got str"),
    rooms_query("two limits", "limit=1&limit=2", "limit", "expected int, got array"),
    rooms_query("an unknown order", "order=up", "order", "invalid enum value 'up'"),
    rooms_query("an unknown column", "sort=id;drop table room", "sort", "invalid enum value 'id;drop table room'"),
    rooms_query("a long search", "q=" + "x" * 101, "q", "expected str of length <= 100"),
    rooms_query("an unknown parameter", "page=2", "page", "unknown"),
    Bad("a cursor of nobody", "GET", "/v1/rooms?cursor=x", 400, "bad_cursor", token=None),
    history_query("before the beginning", "before=-1", "before", "expected int >= 0"),
    history_query("beyond every number", f"after={2**63}", "after", f"expected int <= {2**63 - 1}"),
    history_query("after words", "after=x", "after", "expected int | null, got str"),
    history_query("no messages", "limit=0", "limit", "expected int >= 1"),
    history_query("too many messages", "limit=201", "limit", "expected int <= 200"),
    Bad("a room of capitals", "GET", "/v1/rooms/Lobby", 400, "room_name_invalid", token=None),
    Bad("a room that is too long", "GET", "/v1/rooms/" + "x" * 65, 400, "room_name_invalid", token=None),
    Bad("a room in other letters", "GET", "/v1/rooms/%D0%BBobby/messages", 400, "room_name_invalid", token=None),
    Bad("a NUL in a room", "GET", "/v1/rooms/a%00b", 400, "room_name_invalid", token=None),
    Bad("a room to make", "POST", "/v1/rooms", 400, "room_name_invalid", token=None, json={"name": "A B"}),
    Bad(
        "a title that reorders", "POST", "/v1/rooms", 400, "title_invalid",
        token=None, json={"name": "a", "title": "\u202e"},
    ),
    Bad("a long title", "PATCH", "/v1/rooms/lobby", 400, "title_invalid", token=None, json={"title": "x" * 101}),
    Bad("no title", "PATCH", "/v1/rooms/lobby", 400, "bad_request", {"title": "required"}, token=None, json={}),
    send("no key", "bad_request", {"Idempotency-Key": "required"}),
    send("an empty key", "nonce_invalid", **{"Idempotency-Key": ""}),
    send("a long key", "nonce_invalid", **{"Idempotency-Key": "x" * 65}),
    send("a key with a space", "nonce_invalid", **{"Idempotency-Key": "a b"}),
    send("a key that is not ASCII", "nonce_invalid", **{"Idempotency-Key": "\u00e9"}),
]  # fmt: skip


@pytest.mark.parametrize("bad", TABLE, ids=[bad.name for bad in TABLE])
async def test_a_bad_request_gets_the_one_shape(house, bad, caplog):
    await house.ask("POST", "/v1/rooms", json={"name": "lobby"})
    answer = await house.ask(bad.method, bad.path, bad.token, json=bad.json, data=bad.data, headers=bad.headers)
    assert answer.headers["Content-Type"] == "application/json"
    assert (answer.status, answer.json["code"]) == (bad.status, bad.code)
    assert set(answer.json) == {"code", "message"} | ({"details"} if bad.fields else set())
    assert {detail["field"]: detail["problem"] for detail in answer.json.get("details", [])} == bad.fields
    assert answer.json["message"]
    assert CODES[bad.code][0] == bad.status
    for name, value in bad.answer.items():
        assert ", ".join(sorted(answer.headers[name].split(", "))) == value
    assert not caplog.records  # what callers get wrong is not news
    assert (await house.ask("GET", "/v1/rooms/lobby")).status == 200
