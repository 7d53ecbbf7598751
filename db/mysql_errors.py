"""What MySQL's and MariaDB's errors mean: whose fault, and one line that says what to do."""

from __future__ import annotations

import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING

import trio
from trio_mysql.err import MySQLError

from db.errors import StoreError, StoreUnavailable, StoreUnusable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from db.url import MysqlUrl

# What the store looks out for itself.
DUPLICATE = 1062
NULL_REFUSED = 1048
DEADLOCK = 1213
LOCK_TIMEOUT = 1205

UNREACHABLE = (2002, 2003, 2005)
LOST = (2006, 2013, 2014, 2027, 2055)
DISK_FULL = (3, 28, 1020, 1021, 1026, 1030, 1114, 1598)
READ_ONLY = (1290, 1792, 1836)
FULL_HOUSE = (1040, 1135, 1203, 1226)
ENDING = (1053, 1077, 1317, 1927, 3024, 1969, 4031)
TOO_LONG = (1406, 1264, 1292, 1366)  # values that strict mode refuses


@contextmanager
def told_apart(url: MysqlUrl, *, opening: bool = False) -> Iterator[None]:
    """Turn MySQL's errors and our timeouts into the store's; what only a bug can cause goes through as it is."""
    try:
        yield
    except StoreUnusable as error:  # found at a login
        if opening:
            raise
        raise StoreUnavailable(str(error)) from error
    except trio.TooSlowError as error:
        raise StoreUnavailable(f"the database {url} does not answer in time; nothing was written") from error
    except (MySQLError, OSError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
        ours = translated(error, url, opening=opening)
        if ours is None:
            raise
        raise ours from error


def error_number(error: BaseException) -> int:
    """The error's number, 0 if it has none."""
    return error.args[0] if error.args and isinstance(error.args[0], int) else 0


def translated(error: BaseException, url: MysqlUrl, *, opening: bool) -> StoreError | None:
    """Our error for one of theirs; None for what only a bug can cause.

    `opening`: a server that starts should say what its operator must mend, and end. One that runs can lose a
    privilege or a schema for a while, and goes on refusing until it is back.
    """
    if isinstance(error.__cause__, ssl.SSLCertVerificationError) or isinstance(error, ssl.SSLCertVerificationError):
        line = (
            f"the certificate of the database {url} is not trusted ({error.__cause__ or error}): give the file of the "
            "authority that signed it as &ca=FILE, and the host by the name that stands in it"
        )
        return StoreUnusable(line) if opening else StoreUnavailable(line)
    if not isinstance(error, MySQLError):
        return StoreUnavailable(f"the connection to the database {url} was lost ({error}); nothing was written")
    code = error_number(error)
    if line := _operators(code, error, url):
        return StoreUnusable(line) if opening else StoreUnavailable(line)
    line = _worlds(code, error, url)
    return StoreUnavailable(line) if line else None


def _worlds(code: int, error: MySQLError, url: MysqlUrl) -> str:
    said = _said(error)
    if code in UNREACHABLE:
        return f"no database answers at {url.host}:{url.port}: start it, or correct the URL; nothing was written"
    if code in LOST or code == 0:
        return f"the connection to the database {url} was lost ({said}); nothing was written"
    if code in ENDING:
        return f"the database {url} is stopping or has cut the statement off ({said}); nothing was written"
    if code in FULL_HOUSE:
        return (
            f"the database {url} takes no more connections (error {code}): "
            "raise max_connections there, each Belfry server needs 6; nothing was written"
        )
    if code in DISK_FULL:
        return f"the disk of the database {url} is full or broken ({said}): look at it there; nothing was written"
    if code in READ_ONLY:
        return (
            f"the database {url} is read-only: SET GLOBAL read_only = OFF on it, "
            "or give the URL of the primary; nothing was written"
        )
    if code in (DEADLOCK, LOCK_TIMEOUT):
        return f"the rows are locked by others for too long in the database {url} ({said}); nothing was written"
    return ""


def _operators(code: int, error: MySQLError, url: MysqlUrl) -> str:
    match code:
        case 1045 | 1698:
            return (
                f"the database {url} refuses the user or the password: correct the URL, or that user's password there"
            )
        case 1044:
            return (
                f"the user {url.user} may not use the database {url.name} at {url.host}:{url.port}, or it is missing: "
                f"as its administrator, CREATE DATABASE `{url.name}`; GRANT ALL ON `{url.name}`.* TO '{url.user}'@'%'"
            )
        case 1049:
            return (
                f"there is no database {url.name} at {url.host}:{url.port}: as its administrator, "
                f"CREATE DATABASE `{url.name}` CHARACTER SET utf8mb4"
            )
        case 1142 | 1143 | 1227 | 1370:
            return (
                f"the user {url.user} lacks a privilege ({_said(error)}): as the administrator, "
                f"GRANT ALL ON `{url.name}`.* TO '{url.user}'@'%'"
            )
        case 1146 | 1054:
            return f"the database {url} lacks a table or column ({_said(error)}): run `belfry db migrate`"
        case 1129 | 1130:
            return f"the database {url} does not take logins from this host ({_said(error)})"
        case 1820 | 1862 | 3118:
            return f"the user {url.user} of the database {url} is locked or must get a new password ({_said(error)})"
        case 1665:
            return f"the database {url} logs statements: SET GLOBAL binlog_format = ROW, and restart Belfry"
        case 1153:
            return (
                f"the database {url} takes too small packets ({_said(error)}): SET GLOBAL max_allowed_packet = 67108864"
            )
        case 1231 | 1193:
            return f"the database {url} is no MySQL 8 or MariaDB 10.6 ({_said(error)}): take one of these"
        case 2059 | 2061 | 1251:
            return (
                f"the user {url.user} logs in to {url.host}:{url.port} in a way that Belfry does not know "
                f"({_said(error)}): give it caching_sha2_password or mysql_native_password"
            )
    return ""


def _said(error: MySQLError) -> str:
    text = " ".join(str(error.args[1] if len(error.args) > 1 else error).split())
    return f"{error_number(error)}: {text[:200]}" if error_number(error) else text[:200]
