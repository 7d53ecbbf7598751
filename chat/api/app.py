"""The Quart-Trio app, put together."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import msgspec
from prometheus_client import REGISTRY, CollectorRegistry
from quart.json.provider import JSONProvider
from quart_schema import QuartSchema
from quart_trio import QuartTrio
from quart_trio.wrappers import TrioRequest

from chat.api import errors, headers
from chat.api.errors import BadRequest, Detail
from chat.api.guests import Guests
from chat.api.health import Health
from chat.api.messages import MessageRoutes
from chat.api.openapi import BEARER, INFO, TAGS, Document
from chat.api.pages import page_routes, read_pages
from chat.api.rooms import RoomRoutes
from chat.api.users import UserId, UserRoutes
from chat.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from chat.config import Config
    from chat.service import Service
    from chat.tokens import Tokens

BODY_BYTES = 65_536  # a message of 4,000 characters is 48 KB when each is escaped as a surrogate pair
BODY_TIMEOUT = 20  # seconds for a body to arrive: 64 KiB at 3 KB/s, the slowest phone we serve


class Json(JSONProvider):
    """JSON by msgspec: RFC 3339 moments in UTC, no escapes for what UTF-8 can say, strict when reading."""

    def dumps(self, obj: Any, **kwargs: Any) -> str:
        return msgspec.json.encode(obj).decode()

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        return msgspec.json.decode(s)


class Request(TrioRequest):
    """A request whose body is JSON or refused, with the reason."""

    async def get_json(self, force: bool = False, silent: bool = False, cache: bool = True) -> Any:
        if not self.is_json:
            problem = f"application/json, not {self.mimetype}" if self.mimetype else "application/json"
            raise BadRequest(f"the Content-Type must be {problem}", Detail("Content-Type", f"must be {problem}"))
        try:
            return msgspec.json.decode(await self.get_data())
        except (msgspec.DecodeError, UnicodeDecodeError) as error:  # the latter for a string that is not UTF-8
            raise Refused("bad_json", f"the body is not JSON: {error}") from None
        except RecursionError:
            raise Refused("bad_json", "the body is nested too deeply") from None


class App(QuartTrio):
    """Quart with our requests and our log."""

    request_class = Request

    def log_exception(self, exception_info: Any) -> None:
        """Log what escaped the error handlers, to our log; Quart's own starts a thread for its first line."""
        logging.getLogger("belfry.chat.http").error("unexpected error", exc_info=exception_info)


def make_app(
    service: Service,
    config: Config,
    tokens: Tokens,
    registry: CollectorRegistry = REGISTRY,
    origins: Callable[[], Collection[str]] | None = None,
) -> QuartTrio:
    """The whole HTTP side of one chat server: API, documentation, health, metrics and the web client.

    `origins`: whose pages may read it, if that changes; else those of the config.
    """
    app = App("chat.api", static_folder=None)
    app.config.update(MAX_CONTENT_LENGTH=BODY_BYTES, BODY_TIMEOUT=BODY_TIMEOUT, PROPAGATE_EXCEPTIONS=False)
    # Redirects to an address with one slash fewer would be answers outside the one shape.
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    app.url_map.converters["user"] = UserId
    QuartSchema(
        app,
        openapi_path="/v1/openapi.json",
        # quart-schema's own pages load their scripts from elsewhere, which our CSP forbids: /v1/docs is ours.
        redoc_ui_path=None,
        scalar_ui_path=None,
        swagger_ui_path=None,
        info=INFO,
        tags=list(TAGS),
        security_schemes=dict(BEARER),
        security=[{"bearer": []}],
        conversion_preference="msgspec",
        openapi_provider_class=Document,
    )
    app.json = Json(app)
    errors.install(app)
    headers.install(app, origins or (lambda: config.origins))
    app.register_blueprint(Guests(config, tokens).routes(), url_prefix="/v1")
    app.register_blueprint(RoomRoutes(service, tokens).routes(), url_prefix="/v1")
    app.register_blueprint(MessageRoutes(service, tokens).routes(), url_prefix="/v1")
    app.register_blueprint(UserRoutes(service, tokens).routes(), url_prefix="/v1")
    app.register_blueprint(Health(service, registry).routes())
    app.register_blueprint(page_routes(read_pages()))
    return app
