"""POST /v1/guests: a token for anybody, where guests are allowed."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct
from quart import Blueprint
from quart_schema import security_scheme, tag, validate_request, validate_response

from chat.errors import Refused
from chat.wire import User

if TYPE_CHECKING:
    from chat.config import Config
    from chat.tokens import Tokens


class NewGuest(Struct, frozen=True, forbid_unknown_fields=True):
    """Who wants to come in."""

    name: Annotated[
        str,
        Meta(description="What people will see, 1-40 characters. Kept trimmed and in Unicode's NFC.", examples=["Ada"]),
    ]


class Guest(Struct, frozen=True):
    """A new guest's token: it goes into `hello` on the websocket and into `Authorization: Bearer` here."""

    token: Annotated[str, Meta(examples=["eyJhbGciOiJIUzI1NiIs..."])]
    user: User
    expires_at: Annotated[dt.datetime, Meta(tz=True, description="When to ask for another.")]


class Guests:
    """The guests' routes."""

    def __init__(self, config: Config, tokens: Tokens) -> None:
        self._config = config
        self._tokens = tokens

    def routes(self) -> Blueprint:
        routes = Blueprint("guests", __name__)
        routes.add_url_rule("/guests", "create", self.create, methods=["POST"])
        return routes

    @tag(["guests"])
    @security_scheme([])
    @validate_request(NewGuest)
    @validate_response(Guest, 201)
    async def create(self, data: NewGuest) -> tuple[Guest, int]:
        """Become a guest

        Gives a token for a new user of the name you send. Guests are off unless the server's operator allowed
        them (`guests_off`); then tokens come from your own backend.
        """
        if not self._config.guests:
            raise Refused("guests_off", "this server takes no guests; ask its operator for a token")
        token, identity = self._tokens.guest(data.name, self._config.token_ttl)
        expires_at = dt.datetime.fromtimestamp(identity.expires_at, dt.UTC)
        return Guest(token, User(identity.user_id, identity.name), expires_at), 201
