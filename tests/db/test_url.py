"""Database addresses, and that no message or repr gives a password away."""

from __future__ import annotations

from pathlib import Path

import pytest

from db.errors import StoreUnavailable
from db.open import open_store
from db.sqlite import SqliteStore
from db.url import BadUrl, MysqlUrl, SqliteUrl, parse_url


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("sqlite:///belfry.db", "belfry.db"),
        ("sqlite:///data/belfry.db", "data/belfry.db"),
        ("sqlite:///./belfry.db", "belfry.db"),
        ("sqlite:////var/lib/belfry.db", "/var/lib/belfry.db"),
        ("sqlite:////var/my%20data/%3F%23%25.db", "/var/my data/?#%.db"),
        ("sqlite:////var/größe.db", "/var/größe.db"),
    ],
)
def test_sqlite(text: str, path: str) -> None:
    assert parse_url(text) == SqliteUrl(Path(path))


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("mysql://ada:secret@db.example:3307/chat", MysqlUrl("ada", "secret", "db.example", 3307, "chat")),
        ("mysql://ada:secret@127.0.0.1/chat", MysqlUrl("ada", "secret", "127.0.0.1", 3306, "chat")),
        ("mysql://ada@[::1]:3306/chat", MysqlUrl("ada", "", "::1", 3306, "chat")),
        ("mysql://ada@h/c?tls=required", MysqlUrl("ada", "", "h", 3306, "c", "required")),
        ("mysql://ada@h/c?tls=verify", MysqlUrl("ada", "", "h", 3306, "c", "verify")),
        (
            "mysql://ada@h/c?tls=verify&ca=/etc/a%20ca.pem",
            MysqlUrl("ada", "", "h", 3306, "c", "verify", Path("/etc/a ca.pem")),
        ),
        ("mysql://a%40b:p%2F%3A%40%23%3F%25@h/my%20chat", MysqlUrl("a@b", "p/:@#?%", "h", 3306, "my chat")),
    ],
)
def test_mysql(text: str, url: MysqlUrl) -> None:
    assert parse_url(text) == url
    assert parse_url(str(url).replace("***", "x")) == MysqlUrl(url.user, "x", url.host, url.port, url.name)


def test_the_password_is_never_shown() -> None:
    url = parse_url("mysql://ada:hunter2@h/chat")
    assert str(url) == "mysql://ada:***@h:3306/chat"
    assert "hunter2" not in repr(url)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not a database URL"),
        ("belfry.db", "use sqlite:///file"),
        ("sqlite:belfry.db", "use sqlite:///file"),
        ("postgres://ada:hunter2@h/chat", "'postgres'"),
        ("sqlite://belfry.db", "three slashes"),
        ("sqlite://", "names no file"),
        ("sqlite:///", "names no file"),
        ("sqlite:////var/", "names no file"),
        ("sqlite:///:memory:", "in memory"),
        ("sqlite:///a?mode=ro", "%3F"),
        ("sqlite:///a%00b", "NUL"),
        ("mysql://h/chat", "names no user"),
        ("mysql://:hunter2@h/chat", "names no user"),
        ("mysql://ada:hunter2@/chat", "names no host"),
        ("mysql://ada:hunter2@h", "one database name"),
        ("mysql://ada:hunter2@h/", "one database name"),
        ("mysql://ada:hunter2@h/a/b", "one database name"),
        ("mysql://ada:hunter2@h:port/chat", "host or port is malformed"),
        ("mysql://ada:hunter2@h:99999/chat", "host or port is malformed"),
        ("mysql://ada:hunter2/x@h/chat", "host or port is malformed"),
        ("mysql://ada:hunter2?x@h/chat", "%3F"),
        ("mysql://ada:hunter2@[::1/chat", "host or port is malformed"),
        ("mysql://ada:hunter2@h/chat?ssl=1", "?tls=required"),
        ("mysql://ada:hunter2@h/chat?tls", "required"),
        ("mysql://ada:hunter2@h/chat?tls=maybe", "required"),
        ("mysql://ada:hunter2@h/chat?tls=required&ca=/x", "beside tls=verify"),
        ("mysql://ada:hunter2@h/chat?ca=/x", "beside tls=verify"),
        ("mysql://ada:hunter2@h/chat?tls=verify&ca=", "names a PEM file"),
        ("mysql://ada:hunter2@h/chat#x", "%23"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_without_the_password(text: str, says: str) -> None:
    with pytest.raises(BadUrl) as caught:
        parse_url(text)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


async def test_open_store_chooses_the_twin(tmp_path: Path) -> None:
    store = await open_store(f"sqlite:///{tmp_path}/odd %25 name?.db".replace("?", "%3F"))
    assert isinstance(store, SqliteStore)
    await store.aclose()
    assert [path.name for path in sorted(tmp_path.glob("*.db"))] == ["odd % name?.db"]  # noqa: ASYNC240  # a tmp_path
    with pytest.raises(StoreUnavailable, match=r"no database answers at 127\.0\.0\.1:1: start it"):
        await open_store("mysql://ada:hunter2@127.0.0.1:1/chat")
    with pytest.raises(BadUrl):
        await open_store("nonsense")
