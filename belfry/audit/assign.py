"""What a client asks of the tower when its server is gone: where to go instead."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import msgspec
import trio

from belfry.audit.address import read_address

if TYPE_CHECKING:
    from belfry.audit.address import Address

PATIENCE = 3.0  # seconds for question and answer
LARGEST = 65_536  # bytes of an answer; a good one has 200


class _Assigned(msgspec.Struct, frozen=True):
    url: str


async def assigned(tower: Address, user: str, room: str) -> Address | None:
    """Where the tower sends this user; None when it does not say. Never raises for what a tower can do wrong.

    By hand, not by a client library: thousands ask at once, and a TLS context apiece would be what is measured.
    """
    query = urlencode({"user": user, "room": room})
    request = f"GET /v1/assign?{query} HTTP/1.1\r\nHost: {tower.netloc}\r\nConnection: close\r\n\r\n"
    with trio.move_on_after(PATIENCE):
        try:
            stream = await _dial(tower)
            try:
                await stream.send_all(request.encode())
                answer = await _read(stream)
            finally:
                await trio.aclose_forcefully(stream)
        except (OSError, trio.BrokenResourceError):
            return None
        head, _, body = answer.partition(b"\r\n\r\n")
        if b" 200 " not in head.split(b"\r\n", 1)[0]:
            return None
        try:
            return read_address(msgspec.json.decode(body, type=_Assigned).url)
        except (msgspec.DecodeError, UnicodeDecodeError, ValueError):
            return None
    return None


async def _dial(tower: Address) -> trio.abc.Stream:
    if not tower.secure:
        return await trio.open_tcp_stream(tower.host, tower.port)
    return await trio.open_ssl_over_tcp_stream(
        tower.host, tower.port, ssl_context=ssl.create_default_context(), https_compatible=True
    )


async def _read(stream: trio.abc.Stream) -> bytes:
    answer = b""
    while len(answer) < LARGEST and (data := await stream.receive_some(LARGEST)):
        answer += data
    return answer
