"""What stands on every answer: the browser's safety rules, who may keep it, and which other origins may read it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quart import Response, request

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from quart import Quart

SECURITY = {
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self' data:",
            # A drain may send the page to a server that began after this page was loaded; it asks that one, or the
            # tower, by fetch.
            "connect-src 'self' ws: wss: http: https:",
            "manifest-src 'self'",
            "font-src 'self'",
            "base-uri 'none'",
            "form-action 'self'",
            "frame-ancestors 'none'",
        )
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}

PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, POST, PATCH, DELETE",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Idempotency-Key",
    "Access-Control-Max-Age": "600",  # seconds; a changed `origins` setting is felt within ten minutes
}


def install(app: Quart, origins: Callable[[], Collection[str]]) -> None:
    """Put the headers on every answer of this app, errors too, and answer preflights.

    `origins`: whose pages may read /v1 besides our own, as it is now; "*" is everybody's.
    """

    @app.before_request
    async def preflight() -> Response | None:
        asked = request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
        if not asked or allowed_origin(origins()) is None:
            return None
        return Response(b"", 204, headers=PREFLIGHT)

    @app.after_request
    async def finish(response: Response) -> Response:
        response.headers.update(SECURITY)
        if request.path.startswith("/v1/"):
            response.headers["Cache-Control"] = "no-store"
            response.vary.add("Origin")
            if (origin := allowed_origin(origins())) is not None:
                response.headers["Access-Control-Allow-Origin"] = origin
                response.headers["Access-Control-Expose-Headers"] = "Location, Retry-After"
        else:
            response.headers.setdefault("Cache-Control", "no-store")
        return response


def allowed_origin(origins: Collection[str]) -> str | None:
    """The request's Origin if a page from there may read /v1; there are no cookies, so nothing else is at stake."""
    origin: str | None = request.headers.get("Origin")
    if origin is None or not request.path.startswith("/v1/"):
        return None
    if "*" in origins:
        return "*"
    return origin if origin in origins else None
