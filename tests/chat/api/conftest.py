"""A house for the HTTP API: the real app and a real SQLite store, and a service that only sends and remembers."""

from __future__ import annotations

import contextlib
import datetime as dt
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import CollectorRegistry, Counter

from chat.api.app import make_app
from chat.config import Config
from chat.errors import Refused
from chat.text import check_text
from chat.tokens import Tokens
from db.records import Draft, RoomMissing
from db.sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from chat.service import State
    from chat.wire import User
    from db.records import Appended, RevokeAction, RoomRecord
    from db.store import Store

ORIGIN = "https://app.example.org"


@dataclass
class HouseService:
    """A Service of one server without sockets: sends go straight to the store."""

    store: Store
    state: State = "ready"
    here: list[User] = field(default_factory=list)
    hidden: int = 0  # members that a large room's list leaves out
    revoked: list[tuple[str, str, str]] = field(default_factory=list)
    deleted: list[RoomRecord] = field(default_factory=list)
    fails: Exception | None = None  # what the next calls raise

    async def send(self, room: str, user: User, nonce: str, text: str) -> Appended:
        if self.fails is not None:
            raise self.fails
        check_text(text, 4_000)
        record = await self.store.room(room)
        assert record is not None
        draft = Draft(record.id, user.id, user.name, nonce, text)
        (outcome,) = await self.store.append([draft], dt.datetime.now(dt.UTC))
        if isinstance(outcome, RoomMissing):
            raise Refused("room_missing", f"no room is named {room}")
        return outcome

    def members(self, room: str) -> tuple[list[User], int]:
        return self.here, len(self.here) + self.hidden

    async def revoke(self, user_id: str, action: RevokeAction, by: str) -> int:
        if self.fails is not None:
            raise self.fails
        self.revoked.append((user_id, action, by))
        return 2

    def room_deleted(self, room: RoomRecord) -> None:
        self.deleted.append(room)


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: Any  # case-insensitive, as Werkzeug has it
    body: bytes
    json: Any  # None if the body is not JSON


class House:
    """One app, its service and its callers."""

    def __init__(self, store: Store, **settings: Any) -> None:
        self.tokens = Tokens(b"a secret of more than thirty-two bytes")
        self.service = HouseService(store)
        self.config = Config(**({"guests": True, "origins": (ORIGIN,)} | settings))
        self.registry = CollectorRegistry()
        Counter("belfry_things", "Things", registry=self.registry).inc(3)
        self.app = make_app(self.service, self.config, self.tokens, self.registry)
        self.ada = self.tokens.issue("u_ada", "Ada", 3_600)
        self.bob = self.tokens.issue("u_bob", "Bob", 3_600)
        self.admin = self.tokens.issue("u_op", "Op", 3_600, admin=True)

    async def ask(
        self,
        method: str,
        path: str,
        token: str | None = None,
        *,
        json: Any = None,
        data: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """Make one request, as Ada unless told otherwise; a token of "" is none."""
        token = self.ada if token is None else token
        sent = {"Authorization": f"Bearer {token}"} if token else {}
        options: dict[str, Any] = {"headers": sent | (headers or {})}
        if json is not None:
            options["json"] = json
        if data is not None:
            options["data"] = data
        response = await self.app.test_client().open(path, method=method, **options)
        body = await response.get_data()
        is_json = response.headers.get("Content-Type") == "application/json"
        return Answer(response.status_code, response.headers, body, await response.get_json() if is_json else None)

    async def send(self, room: str, text: str, nonce: str, token: str | None = None) -> Answer:
        path = f"/v1/rooms/{room}/messages"
        return await self.ask("POST", path, token, json={"text": text}, headers={"Idempotency-Key": nonce})


@contextlib.asynccontextmanager
async def open_house(path: Path, **settings: Any) -> AsyncIterator[House]:
    store = await SqliteStore.open(path / "belfry.sqlite")
    try:
        yield House(store, **settings)
    finally:
        await store.aclose()


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path) as opened:
        yield opened


@pytest.fixture
def open_a_house(tmp_path: Path) -> Any:
    """Opens a house with settings of the test's own."""
    return lambda **settings: open_house(tmp_path, **settings)
