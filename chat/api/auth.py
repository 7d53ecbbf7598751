"""Who calls: the bearer token of a request."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from quart import g, request

from chat.errors import Refused

if TYPE_CHECKING:
    from quart import Blueprint

    from chat.tokens import Identity, Tokens


def require_token(routes: Blueprint, tokens: Tokens) -> None:
    """Let these routes run only for callers with a good token; before anything else of the request is looked at."""

    @routes.before_request
    async def check() -> None:
        if request.method != "OPTIONS":
            g.caller = tokens.verify(bearer(request.headers.get("Authorization", "")))


def caller() -> Identity:
    """Who makes this request; only in routes that require a token."""
    return cast("Identity", g.caller)


def bearer(header: str) -> str:
    """The token of an Authorization header. Raises Refused("no_token")."""
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Refused("no_token", "send a token: Authorization: Bearer <token>")
    return token.strip()
