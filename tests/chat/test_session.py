"""A session over real sockets: hello, rooms, sends and what is wrong with them, answered as the wire says."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import client_frames
import httpx
import pytest
import trio
import trio.testing
from chat_world import ROOM, Client, Frame, house, token

from chat.config import Limits
from chat.outbox import Outbox

if TYPE_CHECKING:
    from pathlib import Path


SPACES, COMPACT = (", ", ": "), (",", ":")  # between keys and values; a compact send may be handled where it came


async def test_a_conversation(tmp_path: Path) -> None:
    async with house(tmp_path) as belfry:
        ada = await (await belfry.connect()).upgrade()
        welcome = await ada.hello("ada")
        assert welcome["user"] == {"id": "ada", "name": "Ada"}
        assert (welcome["server"], welcome["heartbeat_ms"], welcome["reconnect"]) == (
            "s1",
            25_000,
            {"window_ms": 2_000},
        )
        joined = await ada.join()
        assert (joined["head"], joined["messages"], joined["gap"], joined["count"]) == (0, [], False, 1)
        assert joined["members"] == [{"id": "ada", "name": "Ada"}]
        bob = await belfry.client("bob", ROOM)
        await ada.say({"t": "send", "room": ROOM, "nonce": "n1", "text": "hi"})
        ack, message = await ada.hear("ack", "message"), await ada.hear("ack", "message")
        assert (ack["t"], ack["room"], ack["nonce"], ack["seq"]) == ("ack", ROOM, "n1", 1)
        assert message == {
            "t": "message",
            "room": ROOM,
            "seq": 1,
            "from": {"id": "ada", "name": "Ada"},
            "text": "hi",
            "at": ack["at"],
        }
        assert await bob.hear("message") == message
        assert (await ada.leave()).code == 1000


async def test_frames_behind_hello_need_not_wait(tmp_path: Path) -> None:
    async with house(tmp_path) as belfry:
        ada = await belfry.connect()
        await ada.upgrade()
        await ada.say(
            {"t": "hello", "token": token("ada")},
            {"t": "join", "room": ROOM},
            *({"t": "send", "room": ROOM, "nonce": f"n{number}", "text": str(number)} for number in range(20)),
        )
        assert [(await ada.hear())["t"] for _ in range(2)] == ["welcome", "joined"]
        for number in range(20):
            assert (await ada.hear("ack"))["nonce"] == f"n{number}"
        assert await ada.messages(20) == list(range(1, 21))


async def test_welcome_and_the_first_room_are_one_send(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sends: list[list[bytes]] = []
    send_gathered = Outbox.send_gathered

    def noted(outbox: Outbox) -> None:
        sends.append(list(outbox.kept or ()))
        send_gathered(outbox)

    monkeypatch.setattr(Outbox, "send_gathered", noted)
    async with house(tmp_path) as belfry:
        ada = await belfry.client("ada", ROOM)
        position = (await ada.join())["epoch"], 0
        sends.clear()
        back = await (await belfry.connect()).upgrade()
        await back.say({"t": "hello", "token": token("cy"), "resume": {ROOM: position}})
        assert [(await back.hear())["t"] for _ in range(2)] == ["welcome", "joined"]
        ((welcome, joined),) = sends
        assert b'"welcome"' in welcome
        assert b'"joined"' in joined
        refused = await (await belfry.connect()).upgrade()
        await refused.say({"t": "hello", "token": "forged"})
        assert (await refused.hear("error"))["code"] == "bad_token"


async def test_a_nonce_said_again_gets_the_number_of_the_first_time(tmp_path: Path) -> None:
    async with house(tmp_path) as belfry:
        ada, bob = await belfry.client("ada", ROOM), await belfry.client("bob", ROOM)
        send: Frame = {"t": "send", "room": ROOM, "nonce": "same", "text": "once"}
        await ada.say(send, send, send | {"text": "other words"})
        assert [(await ada.hear("ack"))["seq"] for _ in range(3)] == [1, 1, 1]
        assert await ada.tell("once", "same") == 1
        again = await belfry.client("ada", ROOM)
        assert await again.tell("once", "same") == 1
        assert await bob.tell("mine", "same") == 2
        assert await bob.messages(2) == [1, 2]
        assert belfry.metric("repeats") == 4


async def test_typing_is_told_to_the_room(tmp_path: Path) -> None:
    async with house(tmp_path) as belfry:
        ada, bob = await belfry.client("ada", ROOM), await belfry.client("bob", ROOM)
        await ada.say({"t": "typing", "room": ROOM})
        assert await bob.hear("typing") == {"t": "typing", "room": ROOM, "from": {"id": "ada", "name": "Ada"}}


async def test_read_marks_are_told_stored_and_never_go_back(tmp_path: Path) -> None:
    async with house(tmp_path) as belfry:
        ada, bob = await belfry.client("ada", ROOM), await belfry.client("bob", ROOM)
        for number in range(5):
            await bob.tell("x", f"n{number}")
        for seq, told in ((3, 3), (4, 4), (999, 5)):
            await ada.say({"t": "read", "room": ROOM, "seq": seq}, {"t": "read", "room": ROOM, "seq": 2})
            assert await bob.hear("read") == {"t": "read", "room": ROOM, "user": "ada", "seq": told}
        assert (await (await belfry.client("ada")).join())["read"] == 5
        assert (await (await belfry.client("eve")).join())["read"] == 0
        await belfry.server.hub.flush_marks()
        stored = await belfry.store.live_room(ROOM, 0, 10)
        assert stored is not None
        assert stored.marks == {"ada": 5}


async def test_read_marks_outlive_the_server(tmp_path: Path) -> None:
    async with house(tmp_path) as belfry:
        ada = await belfry.client("ada", ROOM)
        await ada.tell("x", "n")
        await ada.say({"t": "read", "room": ROOM, "seq": 1})
        await ada.hear("read")
        belfry.server.drain()
        await ada.hear_close()
        await belfry.stopped.wait()
    async with house(tmp_path) as belfry:
        assert (await (await belfry.client("ada")).join())["read"] == 1


async def test_who_leaves_a_room_hears_no_more_of_it(tmp_path: Path) -> None:
    async with house(tmp_path, first_rooms=(ROOM, "tea")) as belfry:
        ada, bob = await belfry.client("ada", ROOM, "tea"), await belfry.client("bob", ROOM, "tea")
        await ada.say({"t": "leave", "room": "tea"}, {"t": "send", "room": "tea", "nonce": "n", "text": "still there?"})
        assert (await ada.hear("error"))["code"] == "not_joined"
        await bob.tell("in tea", "n1", "tea")
        await bob.tell("in lobby", "n2", ROOM)
        assert (await ada.hear("message"))["room"] == ROOM
        assert [frame["t"] for frame in ada.waiting if frame.get("room") == "tea" and frame["t"] == "message"] == []


async def test_one_user_in_two_places_gets_everything_twice_and_counts_once(tmp_path: Path) -> None:
    async with house(tmp_path) as belfry:
        phone, desk = await belfry.client("ada", ROOM), await belfry.client("ada")
        assert (await desk.join())["count"] == 1
        await phone.tell("from the phone", "n")
        assert (await desk.hear("message"))["text"] == "from the phone"
        assert [frame for frame in desk.waiting if frame["t"] == "ack"] == []


LONG = "x" * 4_001
WRONG: dict[str, tuple[Frame | str, str]] = {
    "not JSON": ("{t:", "bad_json"),
    "nothing": ("", "bad_json"),
    "a list": ("[]", "bad_frame"),
    "a number": ("17", "bad_frame"),
    "no type": ({"room": ROOM}, "bad_frame"),
    "a type that is a number": ({"t": 5}, "bad_frame"),
    "an unknown type": ({"t": "shout"}, "unknown_type"),
    "a server's type": ({"t": "ack", "room": ROOM}, "unknown_type"),
    "a missing field": ({"t": "send", "room": ROOM, "text": "x"}, "bad_frame"),
    "a field of the wrong type": ({"t": "send", "room": ROOM, "nonce": 5, "text": "x"}, "bad_frame"),
    "a null": ({"t": "join", "room": None}, "bad_frame"),
    "hello again": ({"t": "hello", "token": "x"}, "bad_frame"),
    "a limit out of range": ({"t": "join", "room": ROOM, "limit": 501}, "bad_frame"),
    "a limit under zero": ({"t": "join", "room": ROOM, "limit": -1}, "bad_frame"),
    "a position that is none": ({"t": "join", "room": ROOM, "after": ["e"]}, "bad_frame"),
    "a position under zero": ({"t": "join", "room": ROOM, "after": ["e", -1]}, "bad_frame"),
    "a number beyond 63 bits": ({"t": "read", "room": ROOM, "seq": 2**63}, "bad_frame"),
    "a number beyond reason": ('{"t":"read","room":"lobby","seq":1' + "0" * 5_000 + "}", "bad_frame"),
    "a number beyond floats": ('{"t":"read","room":"lobby","seq":1e999}', "bad_frame"),
    "half a character": ('{"t":"send","room":"lobby","nonce":"n","text":"\\ud800"}', "bad_json"),
    "brackets without end": ('{"t":"pong","x":' + "[" * 50_000, "bad_json"),
    "a room name in capitals": ({"t": "join", "room": "Lobby"}, "room_name_invalid"),
    "a room name with a letter that looks like one": ({"t": "join", "room": "l\u043ebby"}, "room_name_invalid"),
    "a room name that reorders": ({"t": "join", "room": "\u202elobby"}, "room_name_invalid"),
    "a room name of nothing": ({"t": "join", "room": ""}, "room_name_invalid"),
    "a room name with a NUL": ({"t": "join", "room": "lob\0by"}, "room_name_invalid"),
    "a room name that leads upwards": ({"t": "join", "room": ".."}, "room_name_invalid"),
    "a room name too long": ({"t": "join", "room": "r" * 65}, "bad_frame"),
    "a missing room": ({"t": "join", "room": "nowhere"}, "room_missing"),
    "typing where one is not": ({"t": "typing", "room": "nowhere"}, "not_joined"),
    "reading where one is not": ({"t": "read", "room": "nowhere", "seq": 1}, "not_joined"),
    "leaving where one is not": ({"t": "leave", "room": "nowhere"}, "not_joined"),
    "sending where one is not": ({"t": "send", "room": "nowhere", "nonce": "n", "text": "x"}, "not_joined"),
    "no text": ({"t": "send", "room": ROOM, "nonce": "n", "text": ""}, "text_empty"),
    "nothing to see": ({"t": "send", "room": ROOM, "nonce": "n", "text": "\u200b\u2060 \u3164"}, "text_empty"),
    "a text too long": ({"t": "send", "room": ROOM, "nonce": "n", "text": LONG}, "text_too_long"),
    "a control character": ({"t": "send", "room": ROOM, "nonce": "n", "text": "a\0b"}, "text_invalid"),
    "a nonce of nothing": ({"t": "send", "room": ROOM, "nonce": "", "text": "x"}, "bad_frame"),
    "a nonce too long": ({"t": "send", "room": ROOM, "nonce": "n" * 65, "text": "x"}, "bad_frame"),
    "a nonce that is not ASCII": ({"t": "send", "room": ROOM, "nonce": "\u00e4", "text": "x"}, "nonce_invalid"),
}  # fmt: skip


@pytest.mark.parametrize("separators", [SPACES, COMPACT])
async def test_what_is_wrong_is_told_and_the_session_goes_on(tmp_path: Path, separators: tuple[str, str]) -> None:
    async with house(tmp_path) as belfry:
        ada = await belfry.client("ada", ROOM)
        for name, (said, code) in WRONG.items():
            await ada.send(client_frames.text(said if isinstance(said, str) else _json(said, separators)))
            error = await ada.hear("error")
            assert (name, error["code"], error["temporary"]) == (name, code, False)
            assert error["message"]
        assert await ada.tell("still here", "good") == 1


def _json(frame: Frame, separators: tuple[str, str] = SPACES) -> str:
    return json.dumps(frame, ensure_ascii=False, separators=separators)


TEXTS = [
    "e\u0301 is not \u00e9",
    "\u202eright to left\u202c \u2067isolated\u2069",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea",
    "z" + "\u0351" * 500,
    "\ufdfd\u2028\u2029 \ufeff tab\tnew\nline\r\n",
    '"quotes" \\ / </script><b>&amp;',
    "\U0010ffff\ufffe\uffff",
    "\U0001f600" * 4_000,
    "x" * 4_000,
]


async def test_every_text_that_is_one_comes_back_to_the_letter(tmp_path: Path) -> None:
    async with house(tmp_path) as belfry:
        ada, bob = await belfry.client("ada", ROOM), await belfry.client("bob", ROOM)
        for number, text in enumerate(TEXTS):
            await ada.tell(text, f"n{number}")
            assert (await bob.hear("message"))["text"] == text
        joined = await (await belfry.client("eve")).join()
        assert [message["text"] for message in joined["messages"]] == TEXTS


@pytest.mark.parametrize(
    ("first", "code", "error"),
    [
        ({"t": "join", "room": ROOM}, 1008, "bad_frame"),
        ({"t": "pong"}, 1008, "bad_frame"),
        ("hello", 1008, "bad_json"),
        ({"t": "hello"}, 1008, "bad_frame"),
        ({"t": "hello", "token": "x" * 9_000}, 1008, "bad_frame"),
        ({"t": "hello", "token": ""}, 4500, "bad_token"),
        ({"t": "hello", "token": "x.y.z"}, 4500, "bad_token"),
        ({"t": "hello", "token": token("ada", -1)}, 4500, "bad_token"),
        ({"t": "hello", "token": token("ada")[:-2]}, 4500, "bad_token"),
        ({"t": "hello", "token": "\u00fc"}, 4500, "bad_token"),
    ],
)
async def test_a_first_frame_that_is_no_good_hello(tmp_path: Path, first: Any, code: int, error: str) -> None:
    async with house(tmp_path) as belfry:
        stranger = await (await belfry.connect()).upgrade()
        await stranger.send(client_frames.text(first if isinstance(first, str) else _json(first)))
        assert (await stranger.hear("error"))["code"] == error
        assert (await stranger.hear_close()).code == code
        assert await (await belfry.client("ada", ROOM)).tell("fine", "n") == 1


async def test_a_session_is_in_as_many_rooms_as_it_may_be(tmp_path: Path) -> None:
    rooms = tuple(f"r{number}" for number in range(4))
    async with house(tmp_path, first_rooms=rooms, limits=Limits(rooms_per_session=3)) as belfry:
        ada = await belfry.client("ada", *rooms[:3])
        await ada.say({"t": "join", "room": rooms[3]})
        error = await ada.hear("error")
        assert (error["code"], error["ref"]) == ("too_many_rooms", rooms[3])
        await ada.join(rooms[0])
        await ada.say({"t": "leave", "room": rooms[0]})
        await ada.join(rooms[3])


async def test_a_deleted_room_is_told_and_a_new_one_begins_at_one(tmp_path: Path) -> None:
    async with house(tmp_path) as belfry:
        ada, bob = await belfry.client("ada", ROOM), await belfry.client("bob", ROOM)
        old = await ada.join()
        await ada.tell("x", "n1")
        record = await belfry.store.delete_room(ROOM)
        assert record is not None
        belfry.server.room_deleted(record)
        for client in (ada, bob):
            error = await client.hear("error")
            assert (error["code"], error["ref"], error["temporary"]) == ("room_deleted", ROOM, False)
        await ada.say({"t": "send", "room": ROOM, "nonce": "n2", "text": "anyone?"}, {"t": "join", "room": ROOM})
        assert [(await ada.hear("error"))["code"] for _ in range(2)] == ["not_joined", "room_missing"]
        await belfry.room(ROOM)
        new = await ada.join(after=[old["epoch"], 1])
        assert (new["gap"], new["head"], new["messages"]) == (True, 0, [])
        assert new["epoch"] != old["epoch"]
        assert await ada.tell("anew", "n1") == 1


async def test_a_room_deleted_behind_the_servers_back_is_let_go(tmp_path: Path) -> None:
    async with house(tmp_path) as belfry:
        ada = await belfry.client("ada", ROOM)
        await belfry.store.delete_room(ROOM)
        await belfry.room(ROOM, 3)
        await ada.say({"t": "send", "room": ROOM, "nonce": "n", "text": "x"})
        assert {(await ada.hear("error"))["code"] for _ in range(2)} == {"room_missing", "room_deleted"}
        assert (await ada.join())["head"] == 3
        assert await ada.tell("x", "n") == 4


async def test_http_and_websocket_speak_in_the_same_rooms(tmp_path: Path) -> None:
    async with house(tmp_path) as belfry:
        ada = await belfry.client("ada", ROOM)
        headers = {"Authorization": f"Bearer {token('bob')}", "Idempotency-Key": "k1"}
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{belfry.port}", timeout=30) as http:
            for _ in range(2):
                answer = await http.post(f"/v1/rooms/{ROOM}/messages", json={"text": "by http"}, headers=headers)
                assert answer.json()["seq"] == 1
            assert (await ada.hear("message"))["from"] == {"id": "bob", "name": "Bob"}
            await ada.tell("by websocket", "n")
            history = (await http.get(f"/v1/rooms/{ROOM}/messages", headers=headers)).json()
            assert [message["text"] for message in history["messages"]] == ["by http", "by websocket"]
            members = (await http.get(f"/v1/rooms/{ROOM}/members", headers=headers)).json()
            assert members == {"members": [{"id": "ada", "name": "Ada"}], "count": 1}


async def test_pings_of_the_protocol_are_answered(tmp_path: Path) -> None:
    async with house(tmp_path) as belfry:
        ada: Client = await belfry.client("ada", ROOM)
        await ada.send(client_frames.frame(client_frames.PING, b"are you there"))
        await ada.tell("x", "n")
        assert ada.pongs == [b"are you there"]


async def test_a_fragmented_send_is_a_send(tmp_path: Path) -> None:
    async with house(tmp_path) as belfry:
        ada = await belfry.client("ada", ROOM)
        whole = b'{"t":"send","room":"lobby","nonce":"n","text":"in two"}'
        await ada.send(client_frames.frame(client_frames.TEXT, whole[:20], fin=False))
        await trio.sleep(0.02)
        await ada.send(client_frames.frame(client_frames.CONTINUATION, whole[20:]))
        assert (await ada.hear("ack"))["seq"] == 1
        assert (await ada.hear("message"))["text"] == "in two"
