"""Messages over HTTP: history by keyset, and sends that may be repeated."""

from __future__ import annotations

import pytest

from chat.errors import Refused
from db.errors import OutcomeUnknown, StoreUnavailable


@pytest.fixture
async def lobby(house):
    await house.ask("POST", "/v1/rooms", json={"name": "lobby"})
    return house


async def fill(house, count):
    for number in range(1, count + 1):
        assert (await house.send("lobby", f"text {number}", f"n{number}")).status == 201


async def seqs(house, query):
    answer = await house.ask("GET", f"/v1/rooms/lobby/messages{query}")
    assert answer.status == 200
    return [message["seq"] for message in answer.json["messages"]]


async def test_send_and_read(lobby):
    sent = await lobby.send("lobby", "  hi <b>\n\u202e👩\u200d🚀 ", "n1", lobby.bob)
    assert sent.status == 201
    assert set(sent.json) == {"seq", "at"}
    history = await lobby.ask("GET", "/v1/rooms/lobby/messages")
    room = (await lobby.ask("GET", "/v1/rooms/lobby")).json
    assert history.json == {
        "epoch": room["epoch"],
        "head": 1,
        "messages": [
            {
                "seq": 1,
                "from": {"id": "u_bob", "name": "Bob"},
                "text": "  hi <b>\n\u202e👩\u200d🚀 ",
                "at": sent.json["at"],
            }
        ],
    }
    assert room["active_at"] == sent.json["at"]


async def test_the_same_key_is_the_same_message(lobby):
    first = await lobby.send("lobby", "hi", "n1")
    again = await lobby.send("lobby", "hi", "n1")
    other_text = await lobby.send("lobby", "bye", "n1")
    assert (first.status, again.status, other_text.status) == (201, 200, 200)
    assert first.json == again.json == other_text.json
    by_bob = await lobby.send("lobby", "hi", "n1", lobby.bob)
    assert (by_bob.status, by_bob.json["seq"]) == (201, 2)
    assert await seqs(lobby, "") == [1, 2]


async def test_pages_of_history(lobby):
    await fill(lobby, 12)
    assert await seqs(lobby, "?limit=5") == [8, 9, 10, 11, 12]
    assert await seqs(lobby, "?limit=5&before=8") == [3, 4, 5, 6, 7]
    assert await seqs(lobby, "?limit=5&before=3") == [1, 2]
    assert await seqs(lobby, "?before=1") == []
    assert await seqs(lobby, "?before=0") == []
    assert await seqs(lobby, "?limit=5&after=0") == [1, 2, 3, 4, 5]
    assert await seqs(lobby, "?limit=5&after=10") == [11, 12]
    assert await seqs(lobby, "?after=12") == []
    assert await seqs(lobby, f"?after={2**63 - 1}") == []
    assert await seqs(lobby, f"?limit=200&before={2**63 - 1}") == list(range(1, 13))


async def test_the_default_page_is_the_newest_fifty(lobby):
    await fill(lobby, 51)
    assert await seqs(lobby, "") == list(range(2, 52))


async def test_both_ends_at_once(lobby):
    answer = await lobby.ask("GET", "/v1/rooms/lobby/messages?before=5&after=1")
    assert answer.status == 400
    assert answer.json["code"] == "bad_request"
    assert [detail["field"] for detail in answer.json["details"]] == ["before", "after"]


class OldHead:
    """The store whose room is read just before a commit."""

    def __init__(self, store, record):
        self._store = store
        self._record = record

    def __getattr__(self, name):
        return getattr(self._store, name)

    async def room(self, name):
        return self._record


async def test_head_is_never_behind_the_messages(lobby):
    record = await lobby.service.store.room("lobby")
    await fill(lobby, 3)
    lobby.service.store = OldHead(lobby.service.store, record)
    assert (await lobby.ask("GET", "/v1/rooms/lobby/messages")).json["head"] == 3


@pytest.mark.parametrize(
    ("text", "code"),
    [("", "text_empty"), (" \n", "text_empty"), ("x" * 4_001, "text_too_long"), ("a\x00", "text_invalid")],
)
async def test_refused_texts(lobby, text, code):
    answer = await lobby.send("lobby", text, "n1")
    assert (answer.status, answer.json["code"]) == (400, code)
    assert await seqs(lobby, "") == []


async def test_the_longest_text_fits_in_every_encoding(lobby):
    text = "\U0001f600" * 4_000
    assert (await lobby.send("lobby", text, "n1")).status == 201
    escaped = b'{"text":"' + b"\\ud83d\\ude00" * 4_000 + b'"}'
    headers = {"Content-Type": "application/json", "Idempotency-Key": "n2"}
    answer = await lobby.ask("POST", "/v1/rooms/lobby/messages", data=escaped, headers=headers)
    assert answer.status == 201
    history = await lobby.ask("GET", "/v1/rooms/lobby/messages")
    assert [message["text"] for message in history.json["messages"]] == [text, text]


@pytest.mark.parametrize(
    ("failure", "status", "code", "retry_after"),
    [
        (Refused("rate_limited", "slow down", temporary=True, retry_ms=250), 429, "rate_limited", "1"),
        (Refused("overloaded", "too much", temporary=True, retry_ms=2_001), 503, "overloaded", "3"),
        (Refused("draining", "stopping", temporary=True), 503, "draining", None),
        (StoreUnavailable("disk I/O error in /var/lib"), 503, "store_unavailable", "1"),
        (OutcomeUnknown("lost connection to 10.0.0.7"), 503, "store_unavailable", "1"),
        (RuntimeError("secret: hunter2"), 500, "internal", None),
        (ExceptionGroup("tasks", [ValueError("hunter2")]), 500, "internal", None),
        (ExceptionGroup("tasks", [Refused("overloaded", "too much", retry_ms=1)]), 503, "overloaded", "1"),
    ],
)
async def test_what_goes_wrong_inside(lobby, caplog, failure, status, code, retry_after):
    lobby.service.fails = failure
    answer = await lobby.send("lobby", "hi", "n1")
    assert (answer.status, answer.json["code"]) == (status, code)
    assert answer.headers.get("Retry-After") == retry_after
    for inside in (b"hunter2", b"/var/lib", b"10.0.0.7"):
        assert inside not in answer.body
    assert [record.name for record in caplog.records] == (["belfry.chat.http"] if code == "internal" else [])
    if code == "internal":
        assert "hunter2" in caplog.text
    lobby.service.fails = None
    assert (await lobby.send("lobby", "hi", "n1")).status == 201
