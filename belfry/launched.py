"""The chat server as an ASGI app, for a Hypercorn that somebody else started: HTTP there, websockets on BELFRY_PORT.

The server's life is the app's lifespan: it starts with it, and its end is the drain. Websockets need the front door
(Hypercorn has no deadlines and no Outbox), so the door opens on its own port; a proxy sends /ws there.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import trio

from belfry import logs
from belfry.bus import bus_of, label
from belfry.database import opened, place_of
from belfry.errors import Wrong
from belfry.listen import bind, url
from belfry.secret import needed_secret
from belfry.sources import read_settings
from belfry.up import config_of
from bus.open import open_bus
from bus.url import MemoryUrl
from chat.server import ChatServer
from chat.tokens import Tokens
from db.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    Scope = Mapping[str, Any]
    Receive = Callable[[], Awaitable[Mapping[str, Any]]]
    Send = Callable[[Mapping[str, Any]], Awaitable[None]]

WEBSOCKET_PORT = 8001  # unless BELFRY_PORT says otherwise: 8000 is commonly Hypercorn's own


class Launched:
    """An ASGI app with one chat server inside."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._server: ChatServer | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close"})  # before the handshake is answered: HTTP 403
        elif self._server is not None:
            await self._server.app(scope, receive, send)  # type: ignore[arg-type]  # ASGI's scopes, by shape
        else:
            raise RuntimeError("the launcher did not begin ASGI's lifespan: Belfry needs it to start and to stop")

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()  # lifespan.startup
        wrong: list[BaseException] = []
        try:
            await self._live(receive, send)
        except* (Wrong, StoreError) as group:
            wrong = _leaves(group)
        if wrong:
            await send({"type": "lifespan.startup.failed", "message": "; ".join(map(str, wrong))})
        else:
            await send({"type": "lifespan.shutdown.complete"})

    async def _live(self, receive: Receive, send: Send) -> None:
        settings = read_settings("serve", {}, self._environ)
        if settings["db"] is None:
            raise Wrong("BELFRY_DB (variable) is needed, e.g. sqlite:////var/lib/belfry/belfry.db")
        secret = needed_secret(self._environ)
        port = settings["port"] if settings.given("port") else WEBSOCKET_PORT
        listeners = bind(settings["host"], port)
        bus_url = bus_of(settings) or MemoryUrl()
        logger = logs.set_up(settings["log_level"], settings["log_format"], secrets=(secret.key,))
        config = config_of(settings, secret.key, listeners[0].getsockname()[1])
        async with opened(place_of(settings)) as (store, migrated, _), trio.open_nursery() as nursery:
            bus = open_bus(bus_url, f"{config.server_id}/{config.boot}")
            self._server = server = ChatServer(config, store, bus, Tokens(config.secret))
            await nursery.start(server.run, listeners)
            addresses = [url(one) for one in listeners]
            logger.info("websockets open", addresses=addresses, migrated=migrated, bus=label(bus_url))
            await send({"type": "lifespan.startup.complete"})
            await receive()  # lifespan.shutdown; Hypercorn gives its app shutdown_timeout seconds (60) from here
            server.drain()


def _leaves(group: BaseExceptionGroup[Any]) -> list[BaseException]:
    leaves: list[BaseException] = []
    for error in group.exceptions:
        leaves += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return leaves


app = Launched(os.environ)
