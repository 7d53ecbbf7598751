"""The head of an HTTP request as far as the front door needs it: which way in, and whether it may come in. Pure."""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chat.errors import CODES
from chat.wire import SUBPROTOCOL

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

TLS = b"\x16"  # how a TLS client begins; no HTTP request does
HEAD_BYTES = 8_192  # of a request's head; browsers send 1 KB, with large cookies 4
REASONS = {
    400: "Bad Request", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed", 408: "Request Timeout",
    426: "Upgrade Required", 431: "Request Header Fields Too Large", 503: "Service Unavailable",
}  # fmt: skip
_REQUEST = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([!-~]+) HTTP/1\.([01])")
# The value is stripped afterwards: a pattern that leaves out its blanks takes minutes for 8,000 of them.
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([^\x00-\x08\x0a-\x1f\x7f]*)")


class Refusal(Exception):
    """The request does not come in; `response` is the whole answer."""

    def __init__(self, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.response = answer(code, message, headers or {})


def answer(code: str, message: str, headers: Mapping[str, str]) -> bytes:
    """A whole HTTP response in the one error shape, after which the connection closes."""
    status = CODES[code][0]
    body = json.dumps({"code": code, "message": message}).encode()
    lines = [
        f"HTTP/1.1 {status} {REASONS[status]}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Connection: close",
        "X-Content-Type-Options: nosniff",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@dataclass(frozen=True, slots=True)
class Head:
    """A request line and its headers, names in lower case."""

    method: str
    path: str  # without the query
    headers: dict[bytes, list[bytes]]
    minor: int = 1  # of HTTP/1.x

    def values(self, name: bytes) -> list[str]:
        """A list header's items, in lower case: `Connection: keep-alive, Upgrade` is two."""
        joined = b",".join(self.headers.get(name, []))
        return [item.strip().lower() for item in joined.decode("latin-1").split(",") if item.strip()]

    def body_bytes(self) -> int | None:
        """The body's length; None if only reading it tells, or the header is wrong (which Hypercorn then refuses)."""
        if b"transfer-encoding" in self.headers:
            return None
        values = set(self.headers.get(b"content-length", [b"0"]))
        value = values.pop()
        return int(value) if not values and re.fullmatch(rb"[0-9]{1,18}", value) else None

    def one(self, name: bytes) -> str | None:
        """A header that may be given once; None if it is missing. Raises Refusal when given twice."""
        values = self.headers.get(name)
        if not values:
            return None
        if len(values) > 1:
            raise Refusal("bad_request", f"the header {name.decode()} is given {len(values)} times")
        return values[0].decode("latin-1")


def parse_head(raw: bytes) -> Head:
    """Parse a head up to and without its last empty line. Raises Refusal."""
    first, *lines = raw.split(b"\r\n")
    request = _REQUEST.fullmatch(first)
    if request is None:
        raise Refusal("bad_request", "the request line is not HTTP/1.1")
    headers: dict[bytes, list[bytes]] = {}
    for line in lines:
        header = _HEADER.fullmatch(line)
        if header is None:
            raise Refusal("bad_request", "a header is not well-formed")
        name, value = header[1].lower(), header[2].strip(b" \t")
        if name in (b"connection", b"upgrade", b"host", b"transfer-encoding") and not value.isascii():
            raise Refusal("bad_request", f"the header {name.decode()} is not ASCII")
        headers.setdefault(name, []).append(value)
    return Head(request[1].decode(), request[2].partition(b"?")[0].decode(), headers, int(request[3]))


def without_upgrade(raw: bytes) -> bytes:
    """The head without its Upgrade header: an upgrade that is not offered (h2c) may be ignored, and is."""
    first, *lines = raw.split(b"\r\n")
    return b"\r\n".join([first, *(line for line in lines if not line.lower().startswith(b"upgrade:"))])


@dataclass(frozen=True, slots=True)
class Upgrade:
    """A good opening handshake: the client's key, and whether it asked for our subprotocol."""

    key: bytes
    subprotocol: bool


def wants_websocket(head: Head) -> bool:
    """Whether this is an opening handshake, good or bad."""
    return "websocket" in head.values(b"upgrade")


def check_upgrade(head: Head, origins: Collection[str]) -> Upgrade:
    """Check an opening handshake at /ws by RFC 6455, 4.2.1, and its page's origin. Raises Refusal."""
    if head.method != "GET" or "upgrade" not in head.values(b"connection"):
        raise Refusal("bad_request", "a websocket begins with GET, Connection: Upgrade and Upgrade: websocket")
    if not head.minor:  # what nginx speaks to us until it is told otherwise
        raise Refusal("bad_request", "a websocket needs HTTP/1.1; in nginx: proxy_http_version 1.1")
    if head.one(b"sec-websocket-version") != "13":
        raise Refusal("upgrade_required", "websocket version 13 only", {"Sec-WebSocket-Version": "13"})
    key = head.one(b"sec-websocket-key") or ""
    try:
        if len(base64.b64decode(key, validate=True)) != 16:
            raise ValueError
    except (binascii.Error, ValueError):
        raise Refusal("bad_request", "Sec-WebSocket-Key is not 16 bytes in base64") from None
    offered = head.values(b"sec-websocket-protocol")
    if offered and SUBPROTOCOL not in offered:
        raise Refusal("bad_request", f"the subprotocol spoken here is {SUBPROTOCOL}")
    check_origin(head, origins)
    return Upgrade(key.encode(), bool(offered))


def check_origin(head: Head, origins: Collection[str]) -> None:
    """Browsers send Origin: it must be this host or an allowed one, so that other pages cannot use a user's session."""
    origin = head.one(b"origin")
    if origin is None or "*" in origins or origin in origins:
        return
    host = head.one(b"host") or ""
    scheme, _, rest = origin.partition("://")
    if scheme in ("http", "https") and rest.lower() == host.lower() and rest:
        return
    raise Refusal("origin_refused", f"pages of {origin[:200]} may not connect here; --origins allows more")
