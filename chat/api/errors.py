"""One shape for everything that goes wrong over HTTP: {code, message, details?}.

`code` is for programs and comes from chat.errors.CODES, which gives the status too; `message` is for people;
`details` says which fields do not fit.
"""

from __future__ import annotations

import logging
import math
import re
from typing import TYPE_CHECKING

import msgspec
from quart import Response, request
from quart_schema import RequestSchemaValidationError
from quart_schema.validation import QuerystringValidationError, RequestHeadersValidationError
from werkzeug.exceptions import HTTPException

from chat.errors import CODES, Refused
from db.errors import OutcomeUnknown, StoreUnavailable

if TYPE_CHECKING:
    from quart import Quart

log = logging.getLogger("belfry.chat.http")

STORE_RETRY_MS = 1_000  # a database that restarts is back in seconds; a full disk is looked at each second

_BY_STATUS = {400: "bad_request", 404: "not_found", 405: "method_not_allowed", 408: "timeout", 413: "too_large"}
_MSGSPEC = re.compile(r"(?P<problem>.*?)(?: - at `(?P<path>.+)`)?", re.DOTALL)
_MSGSPEC_FIELD = re.compile(r"Object (?:contains|missing) (?P<problem>unknown|required) field `(?P<field>.+?)`")
_MISSING_ARGUMENT = re.compile(r"Missing required argument '(?P<name>\w+)'")


class Detail(msgspec.Struct, frozen=True):
    """One field that does not fit, and why."""

    field: str
    problem: str


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """Every error has this shape."""

    code: str
    message: str
    details: list[Detail] | None = None


class BadRequest(Refused):
    """A parameter, a header or the body does not fit; says which."""

    def __init__(self, message: str, *details: Detail) -> None:
        super().__init__("bad_request", message)
        self.details = list(details)


def install(app: Quart) -> None:
    """Make every error of this app an answer of the one shape."""
    app.register_error_handler(Refused, refused)
    app.register_error_handler(StoreUnavailable, store_unavailable)
    app.register_error_handler(OutcomeUnknown, outcome_unknown)
    app.register_error_handler(RequestSchemaValidationError, invalid)
    app.register_error_handler(HTTPException, by_status)
    # Exception too, so that an error inside a group is found: Quart-Trio asks for each of the group's members.
    app.register_error_handler(Exception, unexpected)


def answer(code: str, message: str, details: list[Detail] | None = None, status: int | None = None) -> Response:
    """An error as a response; the status is that of the code, unless the protocol demands another."""
    body = msgspec.json.encode(Problem(code, message, details or None))
    return Response(body, status or CODES[code][0], content_type="application/json")


async def refused(error: Refused) -> Response:
    """What the service or the request's checks refuse."""
    details = error.details if isinstance(error, BadRequest) else None
    response = answer(error.code, error.message, details)
    if error.retry_ms is not None:
        response.headers["Retry-After"] = str(math.ceil(error.retry_ms / 1_000))  # whole seconds, RFC 9110, 10.2.3
    if response.status_code == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="belfry"'
    return response


async def store_unavailable(_error: StoreUnavailable) -> Response:
    """The database is away; nothing was written."""
    code = "store_unavailable"
    return await refused(Refused(code, "the database cannot answer now; nothing was written", retry_ms=STORE_RETRY_MS))


async def outcome_unknown(_error: OutcomeUnknown) -> Response:
    """The database was lost in the middle of a commit."""
    message = "the database did not say whether this was written; send it again with the same Idempotency-Key"
    return await refused(Refused("store_unavailable", message, retry_ms=STORE_RETRY_MS))


async def invalid(error: RequestSchemaValidationError) -> Response:
    """What quart-schema found in the query, the headers or the body."""
    if isinstance(error, RequestHeadersValidationError):
        where, detail = "a header", _header_detail(str(error.validation_error))
    else:
        where = "the query" if isinstance(error, QuerystringValidationError) else "the body"
        detail = _detail(str(error.validation_error))
    return await refused(BadRequest(f"{where} does not fit: {detail.field}: {detail.problem}", detail))


async def by_status(error: HTTPException) -> Response:
    """What Quart and Werkzeug refuse by themselves: unknown addresses, wrong methods, too large bodies."""
    status = error.code or 500
    code = _BY_STATUS.get(status) or ("internal" if status >= 500 else "bad_request")
    message = CODES[code][1]
    if status == 405:
        message = f"this address does not take {request.method}"
    elif status == 404:
        message = f"nothing is at {request.path}"
    response = answer(code, message, status=status)
    for name, value in error.get_headers():
        if name.lower() == "allow":
            response.headers[name] = value
    return response


async def unexpected(error: Exception) -> Response:
    """A defect of ours: the log has all of it, the caller none."""
    log.error("unexpected error in %s %s", request.method, request.path, exc_info=error)
    return answer("internal", CODES["internal"][1])


def _detail(text: str) -> Detail:
    """msgspec's message, cut into the field and what is wrong with it."""
    whole = _MSGSPEC.fullmatch(text)
    assert whole is not None  # both groups may be empty
    path = (whole["path"] or "$").removeprefix("$").removeprefix(".")
    if (named := _MSGSPEC_FIELD.fullmatch(whole["problem"])) is not None:
        return Detail(".".join(filter(None, (path, named["field"]))), named["problem"])
    problem = whole["problem"].replace("`", "")
    return Detail(path or "body", problem[:1].lower() + problem[1:])


def _header_detail(text: str) -> Detail:
    missing = _MISSING_ARGUMENT.fullmatch(text)
    assert missing is not None, text  # headers are all of type str: nothing else can be wrong with them
    return Detail(missing["name"].replace("_", "-").title(), "required")
