"""The secret: from the environment or the data directory, made once, private, told in one line when unfit."""

from __future__ import annotations

import os
import stat
import threading
from typing import TYPE_CHECKING

import pytest

from belfry.errors import Wrong
from belfry.secret import given_secret, kept_secret, made_secret, needed_secret, open_to_others

if TYPE_CHECKING:
    from pathlib import Path

GOOD = "x1" * 16


def test_a_variable(tmp_path: Path) -> None:
    found = given_secret({"BELFRY_SECRET": f" {GOOD}\n"})
    assert found is not None
    assert found.key == GOOD.encode()
    assert GOOD not in repr(found)
    assert not open_to_others(found)


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_text(GOOD + "\r\n")
    path.chmod(0o600)
    found = needed_secret({"BELFRY_SECRET_FILE": str(path)})
    assert found.key == GOOD.encode()
    assert not open_to_others(found)
    path.chmod(0o640)
    assert open_to_others(found)


def test_none_is_none_until_it_is_needed() -> None:
    assert given_secret({"BELFRY_SECRET": "", "BELFRY_SECRET_FILE": ""}) is None
    with pytest.raises(Wrong, match=r"BELFRY_SECRET.*BELFRY_SECRET_FILE.*openssl rand"):
        needed_secret({})


@pytest.mark.parametrize(
    ("environ", "line"),
    [
        ({"BELFRY_SECRET": "short"}, r"BELFRY_SECRET \(variable\): 5 bytes; a secret has at least 32"),
        ({"BELFRY_SECRET": GOOD, "BELFRY_SECRET_FILE": "x"}, "are both set; unset one"),
        ({"BELFRY_SECRET_FILE": "/nowhere/s"}, r"BELFRY_SECRET_FILE \(variable\): /nowhere/s: No such file"),
    ],
)
def test_mistakes(environ: dict[str, str], line: str) -> None:
    with pytest.raises(Wrong, match=line) as caught:
        given_secret(environ)
    assert GOOD not in str(caught.value)
    assert "short" not in str(caught.value)


def test_a_file_that_is_no_secret(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(b"x" * 70_000)
    with pytest.raises(Wrong, match="larger than"):
        given_secret({"BELFRY_SECRET_FILE": str(tmp_path / "big")})
    with pytest.raises(Wrong, match="Is a directory"):
        given_secret({"BELFRY_SECRET_FILE": str(tmp_path)})


def test_it_is_made_once_private_and_kept(tmp_path: Path) -> None:
    assert kept_secret(tmp_path) is None
    old = os.umask(0)
    try:
        made = made_secret(tmp_path)
    finally:
        os.umask(old)
    assert made.made
    assert len(made.key) >= 32
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600
    again = made_secret(tmp_path)
    assert (again.key, again.made) == (made.key, False)
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]


def test_two_that_start_at_once_agree(tmp_path: Path) -> None:
    keys: list[bytes] = []
    threads = [threading.Thread(target=lambda: keys.append(made_secret(tmp_path).key)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(keys) == 8
    assert len(set(keys)) == 1


def test_an_emptied_file_is_told_and_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "secret").touch()
    with pytest.raises(Wrong, match="0 bytes"):
        made_secret(tmp_path)
    assert (tmp_path / "secret").read_bytes() == b""


def test_a_place_where_nothing_can_be_kept(tmp_path: Path) -> None:
    with pytest.raises(Wrong, match="cannot keep the secret"):
        made_secret(tmp_path / "missing")
