"""What the controllers (HTTP routes, websocket sessions) ask of the chat service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from chat.wire import User
    from db.records import Appended, RevokeAction, RoomRecord
    from db.store import Store

State = Literal["starting", "ready", "cordoned", "draining", "stopped"]


class Service(Protocol):
    """The rooms of one server, behind HTTP and websocket alike."""

    @property
    def state(self) -> State: ...

    @property
    def store(self) -> Store: ...

    async def send(self, room: str, user: User, nonce: str, text: str) -> Appended:
        """Commit a message and fan it out; returns when it is durable. Raises Refused (texts are checked here)."""

    def members(self, room: str) -> tuple[list[User], int]:
        """Who is in a room now, by name, and how many; in large rooms the list is cut, the count is not."""

    async def revoke(self, user_id: str, action: RevokeAction, by: str) -> int:
        """Kick, ban or let a user in again, everywhere; how many sockets were closed here. Raises StoreUnavailable."""

    def room_deleted(self, room: RoomRecord) -> None:
        """Tell the room's members, here and on other servers, that it is gone."""
