"""`belfry token` prints a token that the server takes, and nothing else on stdout."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from belfry.errors import Wrong
from belfry.secret import made_secret
from belfry.sources import read_settings
from belfry.token import id_of, run_token
from chat.tokens import Tokens

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "Zr8pQ1xLw93mTb5yVc7dKs2hNf6gJe4a"


def token(capsys: pytest.CaptureFixture[str], flags: dict[str, str], environ: dict[str, str]) -> str:
    assert run_token(read_settings("token", flags, environ), flags, environ) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.count("\n") == 1
    return out.strip()


def test_a_token_from_the_environments_secret(capsys: pytest.CaptureFixture[str]) -> None:
    found = token(capsys, {"user": "Ada", "ttl": "1h"}, {"BELFRY_SECRET": SECRET})
    identity = Tokens(SECRET.encode(), clock=lambda: 0.0).verify(found)
    assert (identity.user_id, identity.name, identity.admin) == ("u_ada", "Ada", False)


def test_an_admins_token_from_the_data_directorys_secret(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = made_secret(tmp_path)
    found = token(capsys, {"user": "Ada", "id": "boss", "admin": "yes", "data": str(tmp_path)}, {})
    identity = Tokens(made.key).verify(found)
    assert (identity.user_id, identity.admin) == ("boss", True)


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ({}, "needs --user NAME"),
        ({"user": "Ada", "ttl": "soon"}, r'--ttl \(flag\): "soon" does not fit'),
        ({"user": "\n"}, r"--user \(flag\): "),
        ({"user": "x" * 41}, r"--user \(flag\): "),
        ({"user": "Ada", "id": "a b"}, r'--id \(flag\): "a b" does not fit'),
    ],
)
def test_mistakes(flags: dict[str, str], line: str) -> None:
    environ = {"BELFRY_SECRET": SECRET}
    with pytest.raises(Wrong, match=line):
        run_token(read_settings("token", flags, environ), flags, environ)


def test_no_secret(tmp_path: Path) -> None:
    flags = {"user": "Ada", "data": str(tmp_path)}
    with pytest.raises(Wrong, match="holds no secret: run `belfry up` there first"):
        run_token(read_settings("token", flags, {}), flags, {})
    flags = {"user": "Ada", "db": "sqlite:///x"}
    with pytest.raises(Wrong, match="no secret is set"):
        run_token(read_settings("token", flags, {}), flags, {})


def test_the_same_name_is_the_same_user() -> None:
    assert id_of("Ada") == id_of("ada") == "u_ada"
    assert id_of("Zoe\u0308") == id_of("Zo\u00eb")
    assert id_of("Zo\u00eb") != id_of("Zoe")
    assert id_of("Ada Lovelace").isascii()
    assert len(id_of("\U0001f469" * 40)) <= 64
