"""Each error of the server is somebody's: the world's for now, the operator's, or a bug of ours."""

from __future__ import annotations

import pytest
import trio
from trio_mysql.err import InterfaceError, OperationalError, ProgrammingError

from db.errors import StoreUnavailable, StoreUnusable
from db.mysql_errors import told_apart, translated
from db.url import MysqlUrl

URL = MysqlUrl("ada", "hunter2", "db.example", 3306, "chat")

WORLD = {
    1040: "raise max_connections",
    1053: "is stopping",
    1203: "raise max_connections",
    1205: "locked by others",
    1213: "locked by others",
    1021: "disk",
    1114: "disk",
    28: "disk",
    1290: "read-only: SET GLOBAL read_only = OFF",
    1317: "cut the statement off",
    1836: "read-only",
    1927: "cut the statement off",
    2003: "no database answers at db.example:3306: start it",
    2006: "was lost",
    2013: "was lost",
}
OPERATOR = {
    1044: "GRANT ALL ON `chat`.* TO 'ada'@'%'",
    1045: "correct the URL, or that user's password",
    1049: "CREATE DATABASE `chat` CHARACTER SET utf8mb4",
    1054: "belfry db migrate",
    1130: "does not take logins from this host",
    1142: "GRANT ALL ON `chat`.*",
    1146: "belfry db migrate",
    1153: "max_allowed_packet",
    1193: "MySQL 8 or MariaDB 10.6",
    1665: "binlog_format = ROW",
    1820: "new password",
    2059: "caching_sha2_password or mysql_native_password",
}


@pytest.mark.parametrize("code", WORLD)
@pytest.mark.parametrize("opening", [True, False])
def test_the_worlds(code: int, opening: bool) -> None:
    ours = translated(OperationalError(code, "what it\nsaid"), URL, opening=opening)
    assert isinstance(ours, StoreUnavailable)
    assert WORLD[code] in str(ours)
    assert "\n" not in str(ours)
    assert "hunter2" not in str(ours)


@pytest.mark.parametrize("code", OPERATOR)
def test_the_operators(code: int) -> None:
    at_start = translated(OperationalError(code, "what it said"), URL, opening=True)
    assert isinstance(at_start, StoreUnusable)
    assert OPERATOR[code] in str(at_start)
    later = translated(OperationalError(code, "what it said"), URL, opening=False)
    assert isinstance(later, StoreUnavailable)
    assert str(later) == str(at_start)


@pytest.mark.parametrize("code", [1064, 1062, 1048, 1406])
def test_a_bug_of_ours_is_not_hidden(code: int) -> None:
    error = ProgrammingError(code, "what it said")
    with pytest.raises(ProgrammingError) as caught, told_apart(URL):
        raise error
    assert caught.value is error


@pytest.mark.parametrize(
    "error",
    [ConnectionResetError(104, "reset"), trio.BrokenResourceError(), InterfaceError("This connection is closed")],
)
def test_a_lost_connection(error: Exception) -> None:
    with pytest.raises(StoreUnavailable, match="was lost"), told_apart(URL):
        raise error
