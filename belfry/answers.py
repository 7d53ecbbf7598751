"""What answers at an address, or why nothing does, in words: httpx has names of classes and OpenSSL's own words."""

from __future__ import annotations

import os
import socket
import ssl
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx
import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVER, TOWER = "a belfry server", "a tower"
DESCRIBED = "/v1/openapi.json"  # asks for no token, so that a wrong address is told before a wrong secret
TITLES = {"Belfry": SERVER, "Belfry's tower": TOWER}
NO_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG")  # what plain HTTP looks like to TLS

# What a request may raise: a host that no name server could be asked for is a UnicodeError.
ERRORS = (httpx.HTTPError, httpx.InvalidURL, UnicodeError)


class _Info(msgspec.Struct):
    title: str = ""


class _Described(msgspec.Struct):
    info: _Info


def why(error: BaseException, url: str) -> str:
    """Why a request to this address got no answer."""
    for one in _causes(error):
        if isinstance(one, socket.gaierror | UnicodeError):
            later = " that can be looked up now" if getattr(one, "errno", None) == socket.EAI_AGAIN else ""
            return f"there is no host {(urlsplit(url).hostname or '')[:60]}{later}"
        if isinstance(one, ConnectionRefusedError):
            return "nothing listens there"
        if isinstance(one, ssl.SSLCertVerificationError):
            return f"its certificate is refused: {one.verify_message}"
        if isinstance(one, ssl.SSLError):
            return "it speaks http, not https" if one.reason in NO_TLS else "it speaks no TLS that fits"
        if isinstance(one, httpx.TimeoutException):
            return "it does not answer in time"
        if isinstance(one, OSError) and one.errno:
            return os.strerror(one.errno)
    return str(error) or type(error).__name__


def described(content: bytes) -> str:
    """What describes itself so at DESCRIBED: SERVER, TOWER, or "" for anything else."""
    try:
        return TITLES.get(msgspec.json.decode(content, type=_Described).info.title, "")
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ""


def kind_at(url: str, timeout: float) -> str:
    """What is at an address: SERVER, TOWER, or "" when it does not tell."""
    try:
        return described(httpx.get(url + DESCRIBED, timeout=timeout).content)
    except ERRORS:
        return ""


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what led to it, of a group its members too: one for each address of a host."""
    while error is not None:
        yield error
        if isinstance(error, BaseExceptionGroup):
            for member in error.exceptions:
                yield from _causes(member)
        error = error.__cause__ or error.__context__
