"""The tower over HTTP: who may do what, what is answered, and what hostile clients cannot do."""

from __future__ import annotations

import contextlib
import json
import time
from typing import TYPE_CHECKING, Any

import pytest
import trio
from tower_world import ADMIN, PATIENCE, START, USER, beat, house, until

from bus.events import Leaving, Order, Pace, Rollout
from db.sqlite import SqliteStore
from tower.errors import CODES
from tower.views import FleetView, RolloutView, ServerView

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tower_world import House

READS = ["/v1/servers", "/v1/rollouts", "/v1/events"]


# --- reading ---------------------------------------------------------------------------------------------------


async def test_the_fleet_in_one_glance() -> None:
    async with house() as home:
        await home.beat("s1", sessions=3, sends_per_second=1.5)
        await home.beat("s2", state="starting")
        answer = await home.ask("GET", "/v1/servers")
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "no-store"
        told = answer.json()
        assert set(told) == set(FleetView.__struct_fields__)
        assert [server["id"] for server in told["servers"]] == ["s1", "s2"]
        assert all(set(server) == set(ServerView.__struct_fields__) for server in told["servers"])
        first = told["servers"][0]
        assert (first["state"], first["sessions"], first["sends_per_second"], first["drain"]) == ("ready", 3, 1.5, None)
        assert (told["rollout"], told["wrong"]) == (None, [])
        assert abs(told["now"] - time.time()) < 60


@pytest.mark.parametrize("path", READS)
@pytest.mark.parametrize(
    ("token", "status", "code"), [("", 401, "no_token"), ("x", 401, "bad_token"), (USER, 403, "not_allowed")]
)
async def test_reading_needs_an_administrator(
    path: str, token: str, status: int, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with house() as home:
        answer = await home.ask("GET", path, token)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert ("www-authenticate" in answer.headers) == (status == 401)
        assert f"refused GET {path} from 127.0.0.1" in caplog.text
        assert home.tower.metrics.tower_requests_refused == 1


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:1"}, 200),
        ({"Host": "[::1]:1"}, 200),
        ({"Host": "rebound.example"}, 401),
        ({"X-Forwarded-For": "203.0.113.9"}, 401),
        ({"Forwarded": "for=203.0.113.9"}, 401),
        ({"Authorization": "Bearer nonsense"}, 401),
    ],
)
async def test_an_open_dashboard_is_open_to_who_sits_there_only(headers: dict[str, str], status: int) -> None:
    async with house(open_dashboard=True) as home:
        assert (await home.ask("GET", "/v1/servers", "", headers=headers)).status_code == status
        assert (await home.ask("POST", "/v1/servers/s1/drain", "")).status_code == 401


async def test_what_machines_ask_needs_no_token() -> None:
    async with house() as home:
        await home.beat()
        assert (await home.ask("GET", "/healthz", "")).json() == {"status": "ok"}
        assert (await home.ask("GET", "/readyz", "")).status_code == 200
        text = (await home.ask("GET", "/metrics", "")).text
        assert 'belfry_tower_servers{state="ready"} 1.0' in text
        document = (await home.ask("GET", "/v1/openapi.json", "")).json()
        assert {"/v1/servers", "/v1/rollouts", "/v1/assign", "/v1/servers/{server}/{verb}"} <= set(document["paths"])


# --- verbs -----------------------------------------------------------------------------------------------------


async def test_a_verb_reaches_its_server_as_an_order(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    async with house() as home:
        await home.beat("s1", sessions=100)
        await home.beat("s2")
        answer = await home.ask("POST", "/v1/servers/s1/drain", json={"per_second": 50, "deadline": 20})
        assert answer.status_code == 202
        told = answer.json()
        assert (
            told["says"]
            == "100 people will be moved over about 2 s to s2; it is cordoned then, to be stopped or uncordoned"
        )
        (order,) = [event for event in home.heard if isinstance(event, Order)]
        assert (order.id, order.order, order.verb) == ("s1", told["order"], "drain")
        assert (order.per_second, order.deadline) == (50.0, 20.0)
        assert "drain s1, ordered by u_admin-token" in caplog.text


async def test_asked_only_it_does_nothing() -> None:
    async with house() as home:
        await home.beat("s1", sessions=100)
        await home.beat("s2")
        answer = await home.ask("POST", "/v1/servers/s1/drain?dry=1")
        assert (answer.status_code, answer.json()["order"]) == (202, "")
        assert not [event for event in home.heard if isinstance(event, Order)]


@pytest.mark.parametrize(
    ("path", "more", "status", "code"),
    [
        ("/v1/servers/s9/drain", {}, 404, "server_missing"),
        ("/v1/servers/s1/explode", {}, 404, "not_found"),
        ("/v1/servers/gone/drain", {}, 409, "server_gone"),
        ("/v1/servers/s1/drain", {}, 409, "last_server"),
        ("/v1/servers/s1/uncordon", {}, 409, "wrong_state"),
        ("/v1/servers/s1/drain", {"json": {"per_second": -1}}, 400, "bad_request"),
        ("/v1/servers/s1/drain", {"json": {"per_second": "fast"}}, 400, "bad_request"),
        ("/v1/servers/s1/drain", {"json": {"speed": 1}}, 400, "bad_request"),
        ("/v1/servers/s1/drain", {"content": b"{"}, 400, "bad_json"),
        ("/v1/servers/s1/drain", {"content": b"\xff\xfe"}, 400, "bad_json"),
        ("/v1/servers/s1/drain", {"content": b"[" * 4_000}, 400, "bad_request"),
        ("/v1/servers/s1/drain", {"content": b" " * 5_000}, 413, "too_large"),
        ("/v1/servers/s1/drain?dry=7", {}, 400, "bad_request"),
        ("/v1/servers/%00%ff/drain", {}, 404, "server_missing"),
    ],
)
async def test_what_is_refused(path: str, more: dict[str, Any], status: int, code: str) -> None:
    async with house() as home:
        await home.beat("gone")
        await home.beat("gone", state="stopped")
        await home.beat("s1")
        answer = await home.ask("POST", path, **more)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert not [event for event in home.heard if isinstance(event, Order)]


@pytest.mark.parametrize(("token", "status"), [("", 401), ("x", 401), (USER, 403)])
async def test_verbs_are_for_administrators(token: str, status: int) -> None:
    async with house() as home:
        await home.beat("s1", sessions=1)
        await home.beat("s2")
        assert (await home.ask("POST", "/v1/servers/s1/drain", token)).status_code == status
        assert not [event for event in home.heard if isinstance(event, Order)]


async def test_without_a_bus_nothing_can_be_ordered(tmp_path: Any) -> None:
    store = await SqliteStore.open(tmp_path / "belfry.db")
    async with house(store, bus=False) as home:
        home.tower.fleet.beat(beat("s1", made_at=time.time()), time.time())
        home.tower.fleet.beat(beat("s2", made_at=time.time()), time.time())
        answer = await home.ask("POST", "/v1/servers/s1/drain")
        assert (answer.status_code, answer.json()["code"]) == (503, "bus_unavailable")
        assert (await home.ask("POST", "/v1/servers/s1/drain?dry=1")).status_code == 202
    await store.aclose()


async def test_other_addresses_and_methods_have_the_one_shape() -> None:
    async with house() as home:
        for method, path, status in (
            ("GET", "/nothing", 404), ("DELETE", "/v1/servers", 405), ("GET", "/v1/servers/s1/drain", 405),
            ("POST", "/v1/assign", 405), ("GET", "/v1/../etc/passwd", 404),
        ):  # fmt: skip
            answer = await home.ask(method, path)
            assert answer.status_code == status
            assert CODES[answer.json()["code"]][0] == status


# --- clients ---------------------------------------------------------------------------------------------------


async def test_where_a_client_goes() -> None:
    async with house() as home:
        answer = await home.ask("GET", "/v1/assign?user=ada&room=lobby", "")
        assert (answer.status_code, answer.json()["code"]) == (503, "nobody_ready")
        assert int(answer.headers["retry-after"]) >= 1
        await home.beat("s1")
        answer = await home.ask("GET", "/v1/assign?user=ada&room=lobby", "", headers={"Origin": "https://else.where"})
        assert answer.json() == {"url": "http://s1", "server": "s1"}
        assert answer.headers["access-control-allow-origin"] == "*"
        slow = await home.ask("GET", "/v1/assign?user=ada", "", content=b"a body goes through Quart")
        assert slow.json() == answer.json()
        for query in (f"user={'x' * 300}", f"room={'x' * 300}", "&".join(f"a{i}=1" for i in range(30))):
            assert (await home.ask("GET", f"/v1/assign?{query}", "")).status_code == 400
        assert home.tower.metrics.tower_assigned == 2
        assert home.tower.metrics.tower_unplaced == 1


async def test_many_questions_on_one_connection_then_another_request() -> None:
    async with house() as home:
        await home.beat("s1")
        question = b"GET /v1/assign?user=%d HTTP/1.1\r\nHost: t\r\n\r\n"
        async with await trio.open_tcp_stream("127.0.0.1", home.port) as stream:
            await stream.send_all(b"".join(question % number for number in range(60)))
            await stream.send_all(b"GET /healthz HTTP/1.1\r\nHost: t\r\n\r\n")
            told = await read_to_end(stream)
        assert told.count(b"HTTP/1.1 200 OK\r\n") + told.count(b"HTTP/1.1 200 \r\n") == 61
        assert told.count(b'{"url":"http://s1","server":"s1"}') == 60
        assert told.endswith(b'{"status":"ok"}')


async def read_to_end(stream: trio.SocketStream) -> bytes:
    told = b""
    with trio.fail_after(PATIENCE):
        while more := await stream.receive_some():
            told += more
    return told


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET / HTTP/2.0\r\n\r\n", b"400"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"400"),
        (b"GET /v1/assign HTTP/1.1\r\nHost: t\r\nX: " + b"y" * 9_000 + b"\r\n\r\n", b"431"),
        (b"GET /healthz HTTP/1.1\r\nHost: t\r\nConnection: \xff\xfe\r\n\r\n", b"200"),
        (b"GET /healthz HTTP/1.1\r\nHost: t\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n\r\n\x00\x01", b"200"),
        (b"GET /v1/servers HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
         b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n", b"401"),
        (b"GET /v1/assign HTTP/1.1\r\nHost: t\r\nContent-Length: -1\r\n\r\n", b"400"),
        (b"GET /healthz HTTP/1.1\r\nBad Header\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"400"),  # TLS
    ],
)  # fmt: skip
async def test_a_strange_request_costs_its_connection_only(sent: bytes, status: bytes) -> None:
    async with house() as home:
        async with await trio.open_tcp_stream("127.0.0.1", home.port) as stream:
            await stream.send_all(sent)
            assert (await read_to_end(stream)).split(b" ", 2)[1] == status
        assert (await home.ask("GET", "/healthz")).status_code == 200


# --- as it happens ---------------------------------------------------------------------------------------------


class Stream:
    """The events of one stream, read one by one."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._read = b""

    async def line(self) -> str:
        """The next line of the body; chunks' sizes and the head are left out by who asks."""
        while b"\n" not in self._read:
            more = await self._stream.receive_some()
            assert more, "the stream has ended"
            self._read += more
        line, _, self._read = self._read.partition(b"\n")
        return line.decode().strip()

    async def next(self, kind: str) -> dict[str, Any]:
        """The next event of a kind, its number under `id`."""
        with trio.fail_after(PATIENCE):
            event: dict[str, str] = {}
            while True:
                name, colon, value = (await self.line()).partition(": ")
                if colon:
                    event[name] = value
                if name == "data" and event.get("event") == kind:
                    return json.loads(value) | {"id": event.get("id")}


@contextlib.asynccontextmanager
async def watching(home: House, *headers: str) -> AsyncIterator[Stream]:
    """A stream of events."""
    lines = ["GET /v1/events HTTP/1.1", "Host: t", f"Authorization: Bearer {ADMIN}", *headers]
    async with await trio.open_tcp_stream("127.0.0.1", home.port) as stream:
        await stream.send_all("\r\n".join([*lines, "", ""]).encode())
        yield Stream(stream)


async def test_events_as_they_happen() -> None:
    async with house() as home:
        await home.beat("s1")
        async with watching(home) as stream:
            head = []
            while not head or not head[-1].startswith("retry"):
                head.append(await stream.line())
            assert "content-type: text/event-stream" in head
            assert head[-1] == "retry: 1000"
            note = await stream.next("note")
            assert (note["level"], note["text"]) == ("info", "s1 takes clients at http://s1")
            assert [server["id"] for server in (await stream.next("fleet"))["servers"]] == ["s1"]
            await home.beat("s1", state="draining", sessions=4)
            note = await stream.next("note")
            assert note["text"] == "s1 is draining: 4 people to move"
            while (await stream.next("fleet"))["servers"][0]["state"] != "draining":
                pass
            home.say(Rollout("r1", "f", "began", servers=1, made_at=time.time()))
            assert (await stream.next("note"))["text"] == "a redeploy of one server began"
            while (look := await stream.next("fleet"))["rollout"] is None:
                pass
            assert set(look["rollout"]) == set(RolloutView.__struct_fields__)
        async with watching(home, f"Last-Event-ID: {note['id']}") as stream:
            assert (await stream.next("note"))["text"] == "a redeploy of one server began"
        await until(lambda: len(home.tower.feed) == 0)


async def test_a_stream_ends_when_the_tower_stops_and_slow_readers_hold_nothing() -> None:
    async with house() as home:
        await home.beat("s1")
        request = f"GET /v1/events HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {ADMIN}\r\n\r\n".encode()
        slow = [await trio.open_tcp_stream("127.0.0.1", home.port) for _ in range(5)]
        for stream in slow:
            await stream.send_all(request)  # and nothing is ever read
        await until(lambda: len(home.tower.feed) == 5)
        began = trio.current_time()
    # `house` has waited for the stop
    assert trio.current_time() - began < PATIENCE
    for stream in slow:
        assert b"event: fleet" in await read_to_end(stream)
        await stream.aclose()


# --- servers ask, supervisors tell -----------------------------------------------------------------------------


async def test_who_leaves_is_given_a_pace_and_where_to() -> None:
    async with house() as home:
        for id in ("s1", "s2", "s3"):
            await home.beat(id, sessions=100)
        home.say(Leaving("s1", "s1-a", "ask-1", 1_000, 25.0))
        await until(lambda: any(isinstance(event, Pace) for event in home.heard))
        (pace,) = (event for event in home.heard if isinstance(event, Pace))
        assert (pace.id, pace.ask, pace.per_second) == ("s1", "ask-1", pytest.approx(540.0))
        assert {target.url for target in pace.targets} == {"http://s2", "http://s3"}
        assert sum(target.share for target in pace.targets) == pytest.approx(1.0)


async def until_kept(store: SqliteStore, state: str) -> None:
    """Wait until the newest rollout is written in this state."""
    with trio.fail_after(PATIENCE):
        while True:
            found = await store.rollouts(1)
            if found and found[0].state == state:
                return
            await trio.sleep(0.01)


async def test_a_rollouts_story_is_kept_and_told(tmp_path: Any) -> None:
    store = await SqliteStore.open(tmp_path / "belfry.db")
    steps = [
        Rollout("r1", "f", "began", servers=1, version_from="1", version_to="2", made_at=START),
        Rollout("r1", "f", "starting", "s1", 1, made_at=START + 1),
        Rollout("r1", "f", "handed", "s1", 1, moved=7, stall_ms=81.5, made_at=START + 2),
        Rollout("r1", "f", "done", made_at=START + 3),
    ]
    async with house(store) as home:  # the process before hears the first half
        for step in steps[:2]:
            home.say(step)
        await until_kept(store, "running")
    async with house(store) as home:  # the one after it the rest
        for step in steps[2:]:
            home.say(step)
        await until_kept(store, "done")
        (story,) = (await home.ask("GET", "/v1/rollouts?limit=5")).json()["rollouts"]
        assert [step["step"] for step in story["steps"]] == ["began", "starting", "handed", "done"]
        assert (story["state"], story["moved"], story["longest_stall_ms"], story["version_to"]) == (
            "done",
            7,
            81.5,
            "2",
        )
        for limit in ("0", "101", "x"):
            assert (await home.ask("GET", f"/v1/rollouts?limit={limit}")).status_code == 400
    await store.aclose()
