"""One shape for everything that goes wrong over HTTP: {code, message, details?}; codes are tower.errors.CODES."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING

import msgspec
from quart import Response, request
from quart_schema import RequestSchemaValidationError
from werkzeug.exceptions import HTTPException

from tower.errors import CODES, Refused

if TYPE_CHECKING:
    from quart import Quart

log = logging.getLogger("belfry.tower.http")

_BY_STATUS = {400: "bad_request", 404: "not_found", 405: "method_not_allowed", 408: "timeout", 413: "too_large"}


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """Every error has this shape."""

    code: str
    message: str
    details: list[dict[str, str]] | None = None


def install(app: Quart) -> None:
    """Make every error of this app an answer of the one shape."""
    app.register_error_handler(Refused, refused)
    app.register_error_handler(RequestSchemaValidationError, invalid)
    app.register_error_handler(HTTPException, by_status)
    # Exception too, so that an error inside a group is found: Quart-Trio asks for each of the group's members.
    app.register_error_handler(Exception, unexpected)


def problem(error: Refused) -> tuple[int, dict[str, str], bytes]:
    """A refusal as status, headers and body; the fast path of assign answers with it too."""
    status = CODES[error.code][0]
    headers = {}
    if error.retry is not None:
        headers["Retry-After"] = str(max(math.ceil(error.retry), 1))  # whole seconds, RFC 9110, 10.2.3
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="belfry"'
    return status, headers, msgspec.json.encode(Problem(error.code, error.message))


async def refused(error: Refused) -> Response:
    """What the tower or the request's checks refuse."""
    status, headers, body = problem(error)
    return Response(body, status, headers, content_type="application/json")


async def invalid(error: RequestSchemaValidationError) -> Response:
    """What quart-schema found in the query."""
    return await refused(Refused("bad_request", f"the query does not fit: {error.validation_error}"))


async def by_status(error: HTTPException) -> Response:
    """What Quart and Werkzeug refuse by themselves: unknown addresses, wrong methods, too large bodies."""
    status = error.code or 500
    code = _BY_STATUS.get(status) or ("internal" if status >= 500 else "bad_request")
    message = CODES[code][1]
    if status == 405:
        message = f"this address does not take {request.method}"
    elif status == 404:
        message = f"nothing is at {request.path}"
    response = Response(msgspec.json.encode(Problem(code, message)), status, content_type="application/json")
    for name, value in error.get_headers():
        if name.lower() == "allow":
            response.headers[name] = value
    return response


async def unexpected(error: Exception) -> Response:
    """A defect of ours: the log has all of it, the caller none."""
    log.error("unexpected error in %s %s", request.method, request.path, exc_info=error)
    return await refused(Refused("internal", CODES["internal"][1]))
