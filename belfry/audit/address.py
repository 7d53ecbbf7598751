"""Where a server is: one origin, spoken to over HTTP and websocket alike. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

_SECURE = {"http": False, "ws": False, "https": True, "wss": True}


@dataclass(frozen=True, slots=True)
class Address:
    """One server's origin."""

    host: str
    port: int
    secure: bool

    @property
    def netloc(self) -> str:
        """As in a Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.secure else 80) else f"{host}:{self.port}"

    @property
    def http(self) -> str:
        """The base of the HTTP API."""
        return f"{'https' if self.secure else 'http'}://{self.netloc}"


def read_address(url: str) -> Address:
    """An address from http://, https://, ws:// or wss://. Raises ValueError, saying what would be right."""
    right = "give the address that people open, such as http://127.0.0.1:8000"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValueError(f'"{url}" is no address ({error}); {right}') from None
    if parts.scheme not in _SECURE or not parts.hostname:
        raise ValueError(f'"{url}" is no address; {right}')
    if parts.path.rstrip("/") not in ("", "/ws") or parts.query or parts.fragment:
        raise ValueError(f'"{url}" has something behind the host; {right}')
    secure = _SECURE[parts.scheme]
    return Address(parts.hostname, port or (443 if secure else 80), secure)
