"""The Quart-Trio app of the tower, put together."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import msgspec
from quart.json.provider import JSONProvider
from quart_schema import Info, QuartSchema, Tag
from quart_trio import QuartTrio

from tower.api import errors
from tower.api.auth import Gate
from tower.api.fleet import FleetRoutes
from tower.api.health import Health
from tower.api.pages import page_routes, read_pages

if TYPE_CHECKING:
    from quart import Response

    from tower.api.auth import Verify
    from tower.config import Config
    from tower.service import Tower

BODY_BYTES = 4_096  # of a verb's three numbers
BODY_TIMEOUT = 5  # seconds for a body to arrive

SECURITY = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}


class Json(JSONProvider):
    """JSON by msgspec."""

    def dumps(self, obj: Any, **kwargs: Any) -> str:
        return msgspec.json.encode(obj).decode()

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        return msgspec.json.decode(s)


class App(QuartTrio):
    """Quart with our log."""

    def log_exception(self, exception_info: Any) -> None:
        """Log what escaped the error handlers, to our log; Quart's own starts a thread for its first line."""
        logging.getLogger("belfry.tower.http").error("unexpected error", exc_info=exception_info)


def make_app(tower: Tower, config: Config, verify: Verify) -> QuartTrio:
    """The whole HTTP side of one tower: API, health, metrics and the dashboard."""
    app = App("tower.api", static_folder=None)
    app.config.update(MAX_CONTENT_LENGTH=BODY_BYTES, BODY_TIMEOUT=BODY_TIMEOUT, PROPAGATE_EXCEPTIONS=False)
    # Redirects to an address with one slash fewer would be answers outside the one shape.
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    QuartSchema(
        app,
        openapi_path="/v1/openapi.json",
        redoc_ui_path=None,
        scalar_ui_path=None,
        swagger_ui_path=None,
        info=Info(title="Belfry's tower", version="1", description="The fleet, and what an operator does with it."),
        tags=[Tag("fleet", "For administrators."), Tag("clients", "For clients and load balancers.")],
        conversion_preference="msgspec",
    )
    app.json = Json(app)
    errors.install(app)
    gate = Gate(config, verify, tower.metrics)

    @app.after_request
    async def finish(response: Response) -> Response:
        response.headers.update(SECURITY)
        response.headers.setdefault("Cache-Control", "no-store")
        return response

    app.register_blueprint(FleetRoutes(tower, gate).routes(), url_prefix="/v1")
    app.register_blueprint(Health(tower).routes())
    app.register_blueprint(page_routes(read_pages()))
    return app
