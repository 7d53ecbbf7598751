"""Where the inside of kafka-python is put right: what it leaves open, forgets, keeps to itself, its thread."""

from __future__ import annotations

import socket
import ssl
from typing import Any

from kafka.errors import AuthorizationError, KafkaConnectionError, SaslAuthenticationFailedError
from kafka.net.compat import KafkaNetClient
from kafka.net.inet import KafkaNetSocket
from kafka.net.manager import KafkaConnectionManager
from kafka.net.selector import NetworkSelector


class _LastWords:
    """The library forgets what comes in the same moment as the end of the stream: a broker's refusal, for example.

    Here the end comes by itself, at the next look.
    """

    _came = False  # whether anything came since the last end

    def recv(self, *how: Any) -> bytes:
        data: bytes = super().recv(*how)  # type: ignore[misc]  # of the socket that this is mixed into
        if not data and self._came:
            self._came = False
            raise BlockingIOError
        self._came = bool(data)
        return data


class _Plain(_LastWords, socket.socket):
    """The library's selector says the socket in an error it catches, at each wait; the common text asks the kernel."""

    __repr__ = object.__repr__


class _Direct(KafkaNetSocket):  # type: ignore[misc]  # the library has no types
    """The library leaves a socket that did not connect to the garbage collector, two a second; this one closes it."""

    SCHEMES = ("direct",)

    def socket(
        self, family: int = socket.AF_UNSPEC, sock_type: int = socket.SOCK_STREAM, proto: int = socket.IPPROTO_TCP
    ) -> _Plain:
        return _Plain(family, sock_type, proto)

    async def sock_connect(self, net: Any, sock: _Plain, *where: Any, **how: Any) -> Any:
        try:
            return await super().sock_connect(net, sock, *where, **how)
        except BaseException:
            sock.close()
            raise


class _Here(NetworkSelector):  # type: ignore[misc]
    """The library's own loop, run by whoever calls it: a thread of its own costs as much again in hand-overs."""

    def start(self) -> None:
        pass


class Tls(_LastWords, ssl.SSLSocket):
    """The library leaves a socket whose handshake fails to the garbage collector too."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except BaseException:
            self.close()
            raise


class _Manager(KafkaConnectionManager):  # type: ignore[misc]
    """The library tries again and in the end says that none answered; this one remembers what was answered."""

    refusal: Exception | None = None  # of a broker that does not want us, or that we do not trust

    async def _connect(self, node: Any, connection: Any, *arguments: Any, **how: Any) -> None:
        await super()._connect(node, connection, *arguments, **how)
        error = connection.init_future.exception
        refused = isinstance(error, SaslAuthenticationFailedError | AuthorizationError)
        if refused or (isinstance(error, KafkaConnectionError) and "CERTIFICATE_VERIFY_FAILED" in str(error)):
            self.refusal = error


def network(**config: Any) -> KafkaNetClient:
    """What lies beneath each of the library's clients, put right."""
    net = _Here(**config)
    return KafkaNetClient(net=net, manager=_Manager(net, **config), **config)
