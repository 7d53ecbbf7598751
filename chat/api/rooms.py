"""/v1/rooms: make, find, rename and delete rooms, and see who is in one."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Annotated

import trio
from msgspec import Meta, Struct
from quart import Blueprint
from quart_schema import tag, validate_querystring, validate_request, validate_response

from chat.api.auth import caller, require_token
from chat.errors import Refused
from chat.text import check_room_name, check_title
from chat.wire import User
from db.records import Order, RoomSort
from db.store import BadCursor, RoomTaken

if TYPE_CHECKING:
    from chat.service import Service
    from chat.tokens import Identity, Tokens
    from db.records import RoomRecord

DELETE_TIMEOUT = 30.0  # seconds a deletion may go on after its caller hung up: a million messages go in ten

Moment = Annotated[dt.datetime, Meta(tz=True)]


class Room(Struct, frozen=True):
    """One room."""

    name: Annotated[str, Meta(description="Unique and for ever; stands in addresses.", examples=["lobby"])]
    title: Annotated[str, Meta(description="What people see.", examples=["Lobby"])]
    epoch: Annotated[str, Meta(description="Changes when the room's storage is replaced; part of each position.")]
    head: Annotated[int, Meta(description="The number of its newest message, 0 for an empty room.")]
    created_by: Annotated[str, Meta(description="The id of the user who made it.")]
    created_at: Moment
    updated_at: Annotated[Moment, Meta(description="The title's last change.")]
    active_at: Annotated[Moment, Meta(description="The newest message, or the creation.")]


class Rooms(Struct, frozen=True):
    """A page of rooms."""

    rooms: list[Room]
    next_cursor: Annotated[str | None, Meta(description="Ask again with this as `cursor`; null at the end.")]


class RoomsQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """Which rooms, in which order."""

    q: Annotated[
        str, Meta(max_length=100, description="Only rooms whose name or title contains this, in any case.")
    ] = ""
    sort: Annotated[RoomSort, Meta(description="What to order by.")] = "name"
    order: Annotated[Order, Meta(description="Upwards or downwards.")] = "asc"
    limit: Annotated[int, Meta(ge=1, le=100, description="Rooms a page.")] = 50
    cursor: Annotated[
        Annotated[str, Meta(max_length=500)] | None,
        Meta(description="`next_cursor` of the page before; q, sort and order stay the same."),
    ] = None


class NewRoom(Struct, frozen=True, forbid_unknown_fields=True):
    """A room to make."""

    name: Annotated[str, Meta(description="1-64 of a-z 0-9 . _ -", examples=["tea-break"])]
    title: Annotated[
        str | None, Meta(description="1-100 characters; the name if it is left out.", examples=["Tea break"])
    ] = None


class RoomChange(Struct, frozen=True, forbid_unknown_fields=True):
    """What to change in a room."""

    title: Annotated[str, Meta(description="1-100 characters.", examples=["Tea and biscuits"])]


class Members(Struct, frozen=True):
    """Who is in a room now."""

    members: Annotated[list[User], Meta(description="By name; cut in large rooms.")]
    count: Annotated[int, Meta(description="How many there are, never cut.")]


class RoomRoutes:
    """The rooms' routes."""

    def __init__(self, service: Service, tokens: Tokens) -> None:
        self._service = service
        self._tokens = tokens

    def routes(self) -> Blueprint:
        routes = Blueprint("rooms", __name__)
        routes.add_url_rule("/rooms", "list", self.list, methods=["GET"])
        routes.add_url_rule("/rooms", "create", self.create, methods=["POST"])
        routes.add_url_rule("/rooms/<room>", "read", self.read, methods=["GET"])
        routes.add_url_rule("/rooms/<room>", "change", self.change, methods=["PATCH"])
        routes.add_url_rule("/rooms/<room>", "delete", self.delete, methods=["DELETE"])
        routes.add_url_rule("/rooms/<room>/members", "members", self.members, methods=["GET"])
        require_token(routes, self._tokens)
        return routes

    @tag(["rooms"])
    @validate_querystring(RoomsQuery)
    @validate_response(Rooms)
    async def list(self, query_args: RoomsQuery) -> Rooms:
        """List rooms

        Pages are cut by position, not by number: rooms that are made or renamed meanwhile neither repeat nor
        hide others.
        """
        query = query_args
        try:
            page = await self._service.store.rooms(query.q, query.sort, query.order, query.limit, query.cursor)
        except BadCursor:
            raise Refused("bad_cursor", "the cursor was made by another listing; start without one") from None
        return Rooms([as_room(record) for record in page.rooms], page.next_cursor)

    @tag(["rooms"])
    @validate_request(NewRoom)
    @validate_response(Room, 201)
    async def create(self, data: NewRoom) -> tuple[Room, int, dict[str, str]]:
        """Make a room

        It is yours: only you and administrators may rename or delete it. `room_taken` if the name is in use.
        """
        name = check_room_name(data.name)
        title = check_title(data.title if data.title is not None else name)
        try:
            record = await self._service.store.create_room(name, title, caller().user_id, dt.datetime.now(dt.UTC))
        except RoomTaken:
            raise Refused("room_taken", f"a room named {name} exists already") from None
        return as_room(record), 201, {"Location": f"/v1/rooms/{name}"}

    @tag(["rooms"])
    @validate_response(Room)
    async def read(self, room: str) -> Room:
        """Read a room"""
        return as_room(await find(self._service, room))

    @tag(["rooms"])
    @validate_request(RoomChange)
    @validate_response(Room)
    async def change(self, room: str, data: RoomChange) -> Room:
        """Rename a room

        Changes the title; the name stays for ever. For the room's creator and administrators.
        """
        allow(caller(), await find(self._service, room), "rename")
        record = await self._service.store.rename_room(room, check_title(data.title), dt.datetime.now(dt.UTC))
        if record is None:
            raise missing(room)
        return as_room(record)

    @tag(["rooms"])
    async def delete(self, room: str) -> tuple[str, int]:
        """Delete a room

        With all its messages. Its members are told, and may make a new one of the same name, which begins at 1
        with another epoch. For the room's creator and administrators.
        """
        allow(caller(), await find(self._service, room), "delete")
        # A caller who hangs up between the two must not leave members in a room that is gone.
        with trio.fail_after(DELETE_TIMEOUT) as scope:
            scope.shield = True
            record = await self._service.store.delete_room(room)
            if record is None:
                raise missing(room)
            self._service.room_deleted(record)
        return "", 204

    @tag(["rooms"])
    @validate_response(Members)
    async def members(self, room: str) -> Members:
        """List who is in a room"""
        await find(self._service, room)
        members, count = self._service.members(room)
        return Members(members, count)


def as_room(record: RoomRecord) -> Room:
    """A room as it is shown; its internal id is not."""
    return Room(
        name=record.name,
        title=record.title,
        epoch=record.epoch,
        head=record.last_seq,
        created_by=record.created_by,
        created_at=record.created_at,
        updated_at=record.updated_at,
        active_at=record.active_at,
    )


async def find(service: Service, name: str) -> RoomRecord:
    """A room by its name. Raises Refused("room_name_invalid") or Refused("room_missing")."""
    record = await service.store.room(check_room_name(name))
    if record is None:
        raise missing(name)
    return record


def missing(name: str) -> Refused:
    return Refused("room_missing", f"no room is named {name}")


def allow(who: Identity, room: RoomRecord, verb: str) -> None:
    """Raise Refused("not_allowed") unless the room is theirs or they are an administrator."""
    if not who.admin and room.created_by != who.user_id:
        raise Refused("not_allowed", f"only its creator or an administrator may {verb} this room")
