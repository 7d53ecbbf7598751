"""/v1/users: send somebody away, for an admin token."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct
from quart import Blueprint
from quart_schema import tag, validate_request, validate_response
from werkzeug.routing import BaseConverter

from chat.api.auth import caller, require_token
from chat.errors import Refused
from chat.tokens import SUBJECT

if TYPE_CHECKING:
    from chat.service import Service
    from chat.tokens import Tokens
    from db.records import RevokeAction


class Kick(Struct, frozen=True, forbid_unknown_fields=True):
    """How somebody is sent away."""

    ban: Annotated[bool, Meta(description="Also keep the user out until the ban is lifted.")] = False


class Kicked(Struct, frozen=True):
    """What was done."""

    user_id: str
    closed: Annotated[int, Meta(description="Sockets closed on this server; the others follow within 3 s.")]


class UserId(BaseConverter):
    """A user id in an address, `<user:...>`: it may hold slashes anywhere, as no `<path:...>` may."""

    part_isolating = False
    regex = ".+?"
    weight = 200  # as a path's: whatever is told apart by its beginning goes first


class UserRoutes:
    """The users' routes, for administrators."""

    def __init__(self, service: Service, tokens: Tokens) -> None:
        self._service = service
        self._tokens = tokens

    def routes(self) -> Blueprint:
        routes = Blueprint("users", __name__)
        routes.add_url_rule("/users/<user:user_id>/kick", "kick", self.kick, methods=["POST"])
        routes.add_url_rule("/users/<user:user_id>/ban", "unban", self.unban, methods=["DELETE"])
        require_token(routes, self._tokens)
        return routes

    @tag(["users"])
    @validate_request(Kick)
    @validate_response(Kicked)
    async def kick(self, user_id: str, data: Kick) -> Kicked:
        """Send a user away

        Closes all their sockets with 4501, here at once and on the other servers within 3 s. Without `ban` they may
        come back. For administrators.
        """
        return await self._revoke(user_id, "ban" if data.ban else "kick")

    @tag(["users"])
    @validate_response(Kicked)
    async def unban(self, user_id: str) -> Kicked:
        """Let a banned user in again

        For administrators.
        """
        return await self._revoke(user_id, "unban")

    async def _revoke(self, user_id: str, action: RevokeAction) -> Kicked:
        admin = caller()
        if not admin.admin:
            raise Refused("not_allowed", "this is for administrators")
        if re.fullmatch(SUBJECT, user_id) is None:
            raise Refused("bad_request", "a user id is 1-64 printable ASCII characters")
        return Kicked(user_id, await self._service.revoke(user_id, action, admin.user_id))
