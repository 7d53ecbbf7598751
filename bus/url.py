"""Bus addresses: `memory:` and `kafka://host:port,host:port`. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qsl, unquote

Tls = Literal["required", "verify"]

KAFKA_PORT = 9092
PREFIX = "belfry."
SASL = ("SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN")
FORMS = "use memory: (inside one process) or kafka://host:port,host:port"
OPTIONS = "prefix=NAME, tls=required, tls=verify, ca=FILE and sasl=scram-sha-512, scram-sha-256 or plain"

_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.%]+)\]|([A-Za-z0-9._-]+))(?::(\d{1,5}))?")
_PREFIX = re.compile(r"[A-Za-z0-9._-]{1,100}")


class BadUrl(ValueError):
    """Not a bus address; the message is one line for people and never holds the password."""


@dataclass(frozen=True, slots=True)
class MemoryUrl:
    """A bus inside one process."""

    def __str__(self) -> str:
        return "memory:"


@dataclass(frozen=True, slots=True)
class KafkaUrl:
    """Brokers of one cluster: any of them tells all others.

    `prefix` begins the topics' names: fleets with different ones do not hear each other.
    `tls`: None is plain text, "required" encrypts, "verify" also checks the broker's certificate, by `ca` if given.
    """

    brokers: tuple[str, ...]  # host:port each
    prefix: str = PREFIX
    user: str = ""
    password: str = field(default="", repr=False)
    sasl: str = SASL[0]
    tls: Tls | None = None
    ca: Path | None = None

    def __str__(self) -> str:
        who = f"{self.user}:***@" if self.user else ""
        prefix = f"?prefix={self.prefix}" if self.prefix != PREFIX else ""
        return f"kafka://{who}{','.join(self.brokers)}{prefix}"


BusUrl = MemoryUrl | KafkaUrl


def parse_url(text: str) -> BusUrl:
    """A bus address from text, percent-decoded. Raises BadUrl."""
    if text == "memory:":
        return MemoryUrl()
    scheme, mark, rest = text.partition("://")
    # The rest of the text is not repeated in any message: it may hold a password.
    if not mark or scheme != "kafka":
        raise BadUrl(f"no bus is reached by {text.partition(':')[0][:20]!r}: {FORMS}")
    rest, _, query = rest.partition("?")
    who, at, hosts = rest.rpartition("@")
    user, _, password = who.partition(":")
    if at and not user:
        raise BadUrl("the Kafka URL has an @ but no user before it: kafka://user:password@host:port")
    options = _options(query)
    sasl = options.get("sasl", SASL[0]).upper()
    if sasl not in SASL:
        raise BadUrl(f"sasl in a Kafka URL is {', '.join(SASL).lower()}")
    if "sasl" in options and not user:
        raise BadUrl("sasl in a Kafka URL needs a user: kafka://user:password@host:port?sasl=...")
    tls = options.get("tls")
    if tls not in (None, "required", "verify"):
        raise BadUrl("tls in a Kafka URL is required (encrypted) or verify (and the broker's certificate is checked)")
    if "ca" in options and (tls != "verify" or not options["ca"]):
        raise BadUrl("ca in a Kafka URL names a PEM file and stands beside tls=verify")
    prefix = options.get("prefix", PREFIX)
    if not _PREFIX.fullmatch(prefix):
        raise BadUrl("prefix in a Kafka URL is 1-100 of A-Z a-z 0-9 . _ -, as topics' names are")
    return KafkaUrl(
        brokers=_brokers(hosts.removesuffix("/")),
        prefix=prefix,
        user=unquote(user),
        password=unquote(password),
        sasl=sasl,
        tls=tls,  # type: ignore[arg-type]  # mypy does not narrow by `in`
        ca=Path(options["ca"]) if "ca" in options else None,
    )


def _brokers(text: str) -> tuple[str, ...]:
    brokers = []
    for part in text.split(","):
        found = _HOST.fullmatch(part.strip())
        port = int(found[3] or KAFKA_PORT) if found else 0
        if not found or not 0 < port < 65_536:
            raise BadUrl(
                "the Kafka URL names a broker that is not host or host:port; write kafka://host:port,host:port"
            )
        brokers.append(f"[{found[1]}]:{port}" if found[1] else f"{found[2]}:{port}")
    return tuple(dict.fromkeys(brokers))


def _options(query: str) -> dict[str, str]:
    options = dict(parse_qsl(query, keep_blank_values=True))
    if set(options) - {"prefix", "tls", "ca", "sasl"} or (query and not options):
        raise BadUrl(f"a Kafka URL takes after its ? only {OPTIONS}; in a password write ? as %3F")
    return options
