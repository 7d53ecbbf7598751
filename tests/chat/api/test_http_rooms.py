"""Rooms over HTTP: make, find, page, rename, delete, and who may."""

from __future__ import annotations

import datetime as dt

import pytest
import trio

from chat.wire import User


async def make(house, *names):
    for name in names:
        answer = await house.ask("POST", "/v1/rooms", json={"name": name})
        assert answer.status == 201


async def test_make_and_read_a_room(house):
    made = await house.ask("POST", "/v1/rooms", json={"name": "tea-break", "title": "  Tea & Cafe\u0301 "})
    assert made.status == 201
    assert made.headers["Location"] == "/v1/rooms/tea-break"
    assert made.json["title"] == "Tea & Café"
    assert made.json["created_by"] == "u_ada"
    assert made.json["head"] == 0
    assert set(made.json) == {"name", "title", "epoch", "head", "created_by", "created_at", "updated_at", "active_at"}
    moment = dt.datetime.fromisoformat(made.json["created_at"])
    assert moment.utcoffset() == dt.timedelta(0)
    assert made.json["created_at"].endswith("Z")
    read = await house.ask("GET", "/v1/rooms/tea-break", house.bob)
    assert (read.status, read.json) == (200, made.json)


async def test_a_room_without_a_title_is_shown_by_its_name(house):
    assert (await house.ask("POST", "/v1/rooms", json={"name": "lobby"})).json["title"] == "lobby"
    assert (await house.ask("POST", "/v1/rooms", json={"name": "null", "title": "null"})).json["title"] == "null"


async def test_a_taken_name(house):
    await make(house, "lobby")
    answer = await house.ask("POST", "/v1/rooms", house.bob, json={"name": "lobby"})
    assert (answer.status, answer.json["code"]) == (409, "room_taken")


async def test_pages_of_rooms_have_each_room_once_in_order(house):
    names = [f"room-{number:02}" for number in range(23)]
    await make(house, *reversed(names))
    for sort, order, expected in (
        ("name", "asc", names),
        ("name", "desc", names[::-1]),
        ("created_at", "asc", names[::-1]),
        ("active_at", "desc", names),
    ):
        seen, cursor = [], ""
        while cursor is not None:
            query = f"?sort={sort}&order={order}&limit=5" + (f"&cursor={cursor}" if cursor else "")
            answer = await house.ask("GET", "/v1/rooms" + query)
            assert answer.status == 200
            assert len(answer.json["rooms"]) <= 5
            seen += [room["name"] for room in answer.json["rooms"]]
            cursor = answer.json["next_cursor"]
        assert seen == expected


async def test_rooms_are_found_by_name_and_title_in_any_case(house):
    await make(house, "lobby", "kitchen")
    await house.ask("PATCH", "/v1/rooms/kitchen", json={"title": "Éclairs & 100% tea"})
    for q, found in (
        ("LOB", ["lobby"]),
        ("%C3%A9clairs", ["kitchen"]),
        ("100%25", ["kitchen"]),
        ("%25", ["kitchen"]),
        ("_", []),
    ):
        answer = await house.ask("GET", f"/v1/rooms?q={q}")
        assert [room["name"] for room in answer.json["rooms"]] == found, q


async def test_the_default_page(house):
    answer = await house.ask("GET", "/v1/rooms")
    assert answer.json == {"rooms": [], "next_cursor": None}
    await make(house, *(f"r{number}" for number in range(51)))
    answer = await house.ask("GET", "/v1/rooms")
    assert len(answer.json["rooms"]) == 50
    assert answer.json["next_cursor"] is not None


async def test_a_cursor_of_another_listing(house):
    await make(house, "a", "b")
    cursor = (await house.ask("GET", "/v1/rooms?limit=1&sort=name")).json["next_cursor"]
    for query in (f"sort=active_at&cursor={cursor}", f"order=desc&cursor={cursor}", "cursor=x", "cursor=%00"):
        answer = await house.ask("GET", f"/v1/rooms?limit=1&{query}")
        assert (answer.status, answer.json["code"]) == (400, "bad_cursor"), query


async def test_only_the_creator_and_admins_rename(house):
    await make(house, "lobby")
    refused = await house.ask("PATCH", "/v1/rooms/lobby", house.bob, json={"title": "Mine"})
    assert (refused.status, refused.json["code"]) == (403, "not_allowed")
    assert (await house.ask("GET", "/v1/rooms/lobby")).json["title"] == "lobby"
    by_creator = await house.ask("PATCH", "/v1/rooms/lobby", json={"title": "Ada's"})
    assert (by_creator.status, by_creator.json["title"]) == (200, "Ada's")
    by_admin = await house.ask("PATCH", "/v1/rooms/lobby", house.admin, json={"title": "Ours"})
    assert (by_admin.status, by_admin.json["title"]) == (200, "Ours")
    assert by_admin.json["updated_at"] > by_admin.json["created_at"]


async def test_only_the_creator_and_admins_delete_and_the_room_is_told(house):
    await make(house, "lobby", "attic")
    refused = await house.ask("DELETE", "/v1/rooms/lobby", house.bob)
    assert (refused.status, refused.json["code"]) == (403, "not_allowed")
    assert house.service.deleted == []
    for room, token in (("lobby", house.ada), ("attic", house.admin)):
        deleted = await house.ask("DELETE", f"/v1/rooms/{room}", token)
        assert (deleted.status, deleted.body) == (204, b"")
        assert (await house.ask("GET", f"/v1/rooms/{room}")).status == 404
    assert [room.name for room in house.service.deleted] == ["lobby", "attic"]


async def test_a_new_room_of_an_old_name_is_another(house):
    await make(house, "lobby")
    await house.send("lobby", "hi", "n1")
    before = (await house.ask("GET", "/v1/rooms/lobby")).json
    await house.ask("DELETE", "/v1/rooms/lobby")
    await make(house, "lobby")
    after = (await house.ask("GET", "/v1/rooms/lobby")).json
    assert (before["head"], after["head"]) == (1, 0)
    assert before["epoch"] != after["epoch"]


class SlowToDelete:
    """The store, whose delete_room waits until it is let go."""

    def __init__(self, store):
        self._store = store
        self.began = trio.Event()
        self.go = trio.Event()

    def __getattr__(self, name):
        return getattr(self._store, name)

    async def delete_room(self, name):
        record = await self._store.delete_room(name)
        self.began.set()
        await self.go.wait()
        return record


async def test_a_caller_who_hangs_up_does_not_leave_members_in_a_deleted_room(house):
    await make(house, "lobby")
    store = house.service.store = SlowToDelete(house.service.store)
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(house.ask, "DELETE", "/v1/rooms/lobby")
            await store.began.wait()
            nursery.cancel_scope.cancel()
            store.go.set()
    assert [room.name for room in house.service.deleted] == ["lobby"]


async def test_who_is_in_a_room(house):
    await make(house, "lobby")
    house.service.here = [User("u_ada", "Ada"), User("u_bob", "Bob")]
    house.service.hidden = 5
    answer = await house.ask("GET", "/v1/rooms/lobby/members")
    assert answer.json == {"members": [{"id": "u_ada", "name": "Ada"}, {"id": "u_bob", "name": "Bob"}], "count": 7}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/v1/rooms/attic", None),
        ("PATCH", "/v1/rooms/attic", {"title": "x"}),
        ("DELETE", "/v1/rooms/attic", None),
        ("GET", "/v1/rooms/attic/members", None),
        ("GET", "/v1/rooms/attic/messages", None),
    ],
)
async def test_a_missing_room(house, method, path, body):
    answer = await house.ask(method, path, json=body)
    assert (answer.status, answer.json) == (404, {"code": "room_missing", "message": "no room is named attic"})


async def test_a_slash_at_the_end_changes_nothing(house):
    await make(house, "lobby")
    assert (await house.ask("GET", "/v1/rooms/lobby/")).status == 200
