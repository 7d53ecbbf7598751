"""kafka-python's clients, made so that nothing of them stays behind, bounded in all they do, and quiet.

Everything here blocks and belongs into a thread. Each step ends within REQUEST or so, whatever the broker does: that is
how soon a server can stop, since a thread that waits for the library cannot be told.
"""

from __future__ import annotations

import logging
import socket
import ssl
from typing import TYPE_CHECKING, Any, TypeVar

from kafka import KafkaAdminClient, KafkaConsumer
from kafka.errors import KafkaError, KafkaTimeoutError
from kafka.net.compat import KafkaNetClient
from kafka.net.inet import KafkaNetSocket
from kafka.net.selector import NetworkSelector

if TYPE_CHECKING:
    from bus.url import KafkaUrl

log = logging.getLogger("belfry.bus.kafka")

BOOTSTRAP = 1.0  # seconds for the first answer; the library's own 30 would hold up a stop
REQUEST = 1.5  # seconds for any other; 2 ms are common, a garbage collection takes 200
CONNECT = 1.0  # seconds for a connection: a broker that is paused takes it and says nothing
BACKOFF = 0.5  # seconds at most between two tries to connect: how soon a broker that is back is noticed
FLUSH = 0.4  # seconds for the last records on the way out
NEVER_MS = 86_400_000  # age of what is known of the brokers at which the library asks anew by itself


class _Plain(socket.socket):
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


Client = TypeVar("Client", KafkaAdminClient, KafkaConsumer)


def made(kind: type[Client], url: KafkaUrl, **settings: Any) -> Client:
    """A client that has met a broker. Raises KafkaError within BOOTSTRAP, and then leaves nothing behind."""
    quieten()
    networks: list[KafkaNetClient] = []

    def remembered(**config: Any) -> KafkaNetClient:
        config["socket_connection_setup_timeout_ms"] = CONNECT * 1_000
        config["socket_connection_setup_timeout_max_ms"] = CONNECT * 1_000
        networks.append(KafkaNetClient(net=_Here(**config), **config))
        return networks[-1]

    try:
        return kind(
            bootstrap_timeout_ms=int(BOOTSTRAP * 1_000),
            kafka_client=remembered,  # a constructor that fails leaves its thread and sockets to us
            **_common(url),
            **settings,
        )
    except BaseException:
        for one in networks:
            one.close()
        raise


def net_client(url: KafkaUrl) -> KafkaNetClient:
    """What lies beneath the library's clients, and has met a broker. Raises KafkaError within BOOTSTRAP."""
    quieten()
    config = _common(url) | {
        "socket_connection_setup_timeout_ms": CONNECT * 1_000,
        "socket_connection_setup_timeout_max_ms": CONNECT * 1_000,
        "metadata_max_age_ms": NEVER_MS,
    }
    client = KafkaNetClient(net=_Here(**config), **config)
    try:
        client._manager.bootstrap(int(BOOTSTRAP * 1_000))
    except BaseException:
        client.close()
        raise
    return client


def _common(url: KafkaUrl) -> dict[str, Any]:
    return {
        "bootstrap_servers": list(url.brokers),
        "client_id": "belfry",
        "request_timeout_ms": int(REQUEST * 1_000),
        "reconnect_backoff_max_ms": int(BACKOFF * 1_000),
        "proxy_url": "direct://",  # what makes the library take _Direct
        **_security(url),
    }


def _security(url: KafkaUrl) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "security_protocol": ("SASL_" if url.user else "") + ("SSL" if url.tls else "PLAINTEXT")
    }
    if url.user:
        settings |= {"sasl_mechanism": url.sasl, "sasl_plain_username": url.user, "sasl_plain_password": url.password}
    if url.tls:
        context = ssl.create_default_context(cafile=url.ca)
        if url.tls == "required":
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        settings["ssl_context"] = context
    return settings


def why(error: BaseException) -> str:
    """What a client's error means, for people."""
    if isinstance(error, KafkaTimeoutError):
        return "no broker answers"
    text = str(error).removeprefix(type(error).__name__).strip(" :") or getattr(error, "description", "")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


class _Overheard(logging.Handler):
    """What the library says: our own lines tell when the broker goes and comes, so only its accidents are told."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and not isinstance(record.exc_info[1], OSError | KafkaError):
            log.error("kafka-python: %s", record.getMessage(), exc_info=record.exc_info)
        else:
            log.debug("kafka-python: %s", record.getMessage())


def quieten() -> None:
    """Take the library's log: it says a dozen lines a second while a broker is away."""
    logger = logging.getLogger("kafka")
    if not any(isinstance(handler, _Overheard) for handler in logger.handlers):
        logger.addHandler(_Overheard())
        logger.setLevel(logging.WARNING)
        logger.propagate = False
