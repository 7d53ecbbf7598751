"""Database addresses: `sqlite:///path` and `mysql://user:password@host:port/name`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qsl, unquote, urlsplit

Tls = Literal["required", "verify"]

MYSQL_PORT = 3306
FORMS = "use sqlite:///file (relative), sqlite:////dir/file (absolute) or mysql://user:password@host:port/name"


class BadUrl(ValueError):
    """Not a database address; the message is one line for people and never holds the password."""


@dataclass(frozen=True, slots=True)
class SqliteUrl:
    """A database in a file."""

    path: Path

    def __str__(self) -> str:
        return f"sqlite:///{self.path}"


@dataclass(frozen=True, slots=True)
class MysqlUrl:
    """A database on a MySQL or MariaDB server.

    `tls`: None is plain text, "required" encrypts, "verify" also checks the server's certificate, by `ca` if given.
    """

    user: str
    password: str = field(repr=False)
    host: str
    port: int
    name: str
    tls: Tls | None = None
    ca: Path | None = None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"mysql://{self.user}:***@{host}:{self.port}/{self.name}"


DatabaseUrl = SqliteUrl | MysqlUrl


def parse_url(text: str) -> DatabaseUrl:
    """A database address from text, percent-decoded. Raises BadUrl."""
    scheme, mark, _ = text.partition("://")
    if not mark:
        raise BadUrl(f"not a database URL: {FORMS}")
    # The rest of the text is not repeated in any message: it may hold a password.
    if scheme == "sqlite":
        return _sqlite(text)
    if scheme == "mysql":
        return _mysql(text)
    raise BadUrl(f"no database is reached by {scheme[:20]!r}: {FORMS}")


def _sqlite(text: str) -> SqliteUrl:
    parts = urlsplit(text)
    if parts.netloc:
        raise BadUrl("a SQLite URL has three slashes before a relative path and four before an absolute one")
    if parts.query or parts.fragment:
        raise BadUrl("a SQLite URL takes no ? or #; as part of the file's name write them %3F and %23")
    path = unquote(parts.path[1:])
    if not path or path.endswith("/"):
        raise BadUrl("the SQLite URL names no file: use sqlite:///file or sqlite:////dir/file")
    if "\0" in path:
        raise BadUrl("a file's name cannot hold a NUL")
    if path == ":memory:":
        raise BadUrl("a database in memory would keep nothing: name a file")
    return SqliteUrl(Path(path))


def _mysql(text: str) -> MysqlUrl:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        # `from None`: the cause's message quotes the text, and with a "/" or "@" in the password a part of that.
        raise BadUrl(
            "the MySQL URL's host or port is malformed; in user and password "
            "write @ : / # ? % as %40 %3A %2F %23 %3F %25"
        ) from None
    if parts.fragment:
        raise BadUrl("a MySQL URL takes no #; in user and password write it %23")
    if not parts.username:
        raise BadUrl("the MySQL URL names no user: mysql://user:password@host:port/name")
    if not parts.hostname:
        raise BadUrl("the MySQL URL names no host: mysql://user:password@host:port/name")
    name = unquote(parts.path[1:])
    if not name or "/" in name:
        raise BadUrl("the MySQL URL must end in one database name: mysql://user:password@host:port/name")
    tls, ca = _tls(parts.query)
    return MysqlUrl(
        user=unquote(parts.username),
        password=unquote(parts.password or ""),
        host=parts.hostname,
        port=MYSQL_PORT if port is None else port,
        name=name,
        tls=tls,
        ca=ca,
    )


def _tls(query: str) -> tuple[Tls | None, Path | None]:
    asked = dict(parse_qsl(query, keep_blank_values=True))
    if set(asked) - {"tls", "ca"} or (query and not asked):
        raise BadUrl("a MySQL URL takes ?tls=required, ?tls=verify or ?tls=verify&ca=FILE; in a password ? is %3F")
    tls = asked.get("tls")
    if tls not in (None, "required", "verify"):
        raise BadUrl("tls in a MySQL URL is required (encrypted) or verify (and the server's certificate is checked)")
    if "ca" in asked and (tls != "verify" or not asked["ca"]):
        raise BadUrl("ca in a MySQL URL names a PEM file and stands beside tls=verify")
    return tls, Path(asked["ca"]) if "ca" in asked else None  # type: ignore[return-value]  # mypy does not narrow by `in`
