"""kafka-python's clients, made so that nothing of them stays behind, bounded in all they do, and quiet.

Everything here blocks and belongs into a thread. Each step ends within REQUEST or so, whatever the broker does: that is
how soon a server can stop, since a thread that waits for the library cannot be told.
"""

from __future__ import annotations

import contextlib
import logging
import re
import ssl
from typing import TYPE_CHECKING, Any, TypeVar

from kafka import KafkaAdminClient, KafkaConsumer
from kafka.errors import KafkaError, KafkaTimeoutError

from bus.kafka_classes import keep_response_classes
from bus.kafka_net import Tls, network

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kafka.net.compat import KafkaNetClient

    from bus.url import KafkaUrl

log = logging.getLogger("belfry.bus.kafka")

BOOTSTRAP = 1.0  # seconds for the first answer; the library's own 30 would hold up a stop
REQUEST = 1.5  # seconds for any other; 2 ms are common, a garbage collection takes 200
CONNECT = 1.0  # seconds for a connection: a broker that is paused takes it and says nothing
BACKOFF = 0.5  # seconds at most between two tries to connect: how soon a broker that is back is noticed
FLUSH = 0.4  # seconds for the last records on the way out
CONNECTING = {
    "socket_connection_setup_timeout_ms": CONNECT * 1_000,
    "socket_connection_setup_timeout_max_ms": CONNECT * 1_000,
}
NEVER_MS = 86_400_000  # age of what is known of the brokers at which the library asks anew by itself

keep_response_classes()

Client = TypeVar("Client", KafkaAdminClient, KafkaConsumer)


def made(kind: type[Client], url: KafkaUrl, **settings: Any) -> Client:
    """A client that has met a broker. Raises KafkaError within BOOTSTRAP, and then leaves nothing behind."""
    quieten()
    networks: list[KafkaNetClient] = []

    def remembered(**config: Any) -> KafkaNetClient:
        networks.append(network(**config | CONNECTING))
        return networks[-1]

    with _told(networks):
        return kind(
            bootstrap_timeout_ms=int(BOOTSTRAP * 1_000),
            kafka_client=remembered,  # a constructor that fails leaves its sockets to us
            **_common(url),
            **settings,
        )


def net_client(url: KafkaUrl) -> KafkaNetClient:
    """What lies beneath the library's clients, and has met a broker. Raises KafkaError within BOOTSTRAP."""
    quieten()
    client = network(**_common(url) | CONNECTING, metadata_max_age_ms=NEVER_MS)
    with _told([client]):
        client._manager.bootstrap(int(BOOTSTRAP * 1_000))
    return client


@contextlib.contextmanager
def _told(networks: list[KafkaNetClient]) -> Iterator[None]:
    """Whatever is raised closes these, and says what a broker had against us rather than that none answered."""
    try:
        yield
    except BaseException as error:
        refusals = [one._manager.refusal for one in networks if one._manager.refusal is not None]
        for one in networks:
            one.close()
        if isinstance(error, KafkaTimeoutError) and refusals:
            raise refusals[-1] from None
        raise


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
        context.sslsocket_class = Tls
        if url.tls == "required":
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        settings["ssl_context"] = context
    return settings


def why(error: BaseException) -> str:
    """What a client's error means, for people."""
    if isinstance(error, KafkaTimeoutError):
        return "no broker answers"
    name = type(error).__name__
    text = re.sub(rf"^(\[Error -?\d+\]|{name}|[ :])+", "", str(error)) or getattr(error, "description", "")
    return f"{name}: {text}" if text else name


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
