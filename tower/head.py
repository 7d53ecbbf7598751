"""The head of an HTTP request as far as a tower's door needs it: what it answers itself, what Hypercorn gets. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl

import msgspec

from tower.errors import Refused

TLS = b"\x16"  # how a TLS client begins; no HTTP request does
HEAD_BYTES = 8_192  # of a request's head; browsers send 1 KB
REASONS = {
    200: "OK", 400: "Bad Request", 408: "Request Timeout", 431: "Request Header Fields Too Large",
    503: "Service Unavailable",
}  # fmt: skip
USER = 256  # characters of a user or a room
_REQUEST = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+ ([!-~]+) HTTP/1\.[01]")
_ASSIGN = re.compile(rb"GET /v1/assign(?:\?([!-~]*))? HTTP/1\.1")
_SLOW = re.compile(rb"\r\n(?:content-length|transfer-encoding|expect|upgrade)[ \t]*:", re.IGNORECASE)
_BODY = re.compile(rb"\r\n(?:content-length|transfer-encoding)[ \t]*:", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection:[^\r\n]*\bclose\b", re.IGNORECASE)
# What is between two hops only: a request goes to Hypercorn alone on its connection, and as plain HTTP/1.
_HOP = re.compile(rb"(?:connection|keep-alive|proxy-connection|upgrade|http2-settings)[ \t]*:", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Assign:
    """A question that is answered without Hypercorn: GET /v1/assign."""

    user: str
    room: str
    close: bool


@dataclass(frozen=True, slots=True)
class Other:
    """Any other request: its head as Hypercorn gets it, and its address without the query."""

    head: bytes
    path: str
    body: bool  # whether more than the head belongs to it


def parse(raw: bytes) -> Assign | Other:
    """Take a head apart, given up to and without its last empty line. Raises Refused."""
    first, _, rest = raw.partition(b"\r\n")
    if (asked := _ASSIGN.fullmatch(first)) and not _SLOW.search(raw):
        user, room = _who((asked[1] or b"").decode())
        return Assign(user, room, _CLOSE.search(raw) is not None)
    request = _REQUEST.fullmatch(first)
    if request is None:
        raise Refused("bad_request", "the request line is not HTTP/1.1")
    lines = [line for line in rest.split(b"\r\n") if line and not _HOP.match(line)]
    head = b"\r\n".join([first, *lines, b"Connection: close"]) + b"\r\n\r\n"
    return Other(head, request[1].partition(b"?")[0].decode(), _BODY.search(raw) is not None)


def answer(status: int, body: bytes, headers: dict[str, str], *, close: bool) -> bytes:
    """A whole HTTP response."""
    lines = [
        f"HTTP/1.1 {status} {REASONS[status]}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        *(f"{name}: {value}" for name, value in headers.items()),
        *(("Connection: close",) if close else ()),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def assigned(url: str, server: str, *, close: bool) -> bytes:
    """The answer to Assign."""
    body = msgspec.json.encode({"url": url, "server": server})
    return answer(200, body, ANYBODY, close=close)


ANYBODY = {"Access-Control-Allow-Origin": "*", "Access-Control-Expose-Headers": "Retry-After"}


def _who(query: str) -> tuple[str, str]:
    if not query:
        return "", ""
    try:
        said = dict(parse_qsl(query, max_num_fields=20))
    except ValueError:
        raise Refused("bad_request", "the query does not fit: it has more than 20 fields") from None
    user, room = said.get("user", ""), said.get("room", "")
    if len(user) > USER or len(room) > USER:
        raise Refused("bad_request", f"the query does not fit: user and room have at most {USER} characters")
    return user, room
