"""One connection to MySQL or MariaDB: how it is opened, how statements go over it, how it ends.

trio-mysql 1.0 (a port of PyMySQL) speaks the protocol; what is here mends what it leaves open, each seen by running it:

- Against caching_sha2_password it forgets an `await` wherever the server has the password in its cache, and it hashes
  the salt with its terminating NUL, so that the cache never helps. Answered here, by its own plug-in map. It offers
  the plug-in that the server names at first on the path with the bug, so that name is taken away: the server then
  asks by itself.
- Asked for TLS, it goes on in plain text when the server has none. Refused here.
- Its close() calls a method that Trio's streams do not have, and swallows the error: the socket stayed open.
- It encodes texts with `surrogateescape`, which would put invalid UTF-8 on the wire. Here statements are bytes.
"""

from __future__ import annotations

import datetime as dt
import select
import ssl
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import trio
from trio_mysql import connections, converters
from trio_mysql._auth import scramble_caching_sha2, sha2_rsa_encrypt
from trio_mysql.constants import CLIENT, COMMAND, FIELD_TYPE

from db.errors import StoreUnusable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from db.url import MysqlUrl

SALT = 20  # bytes; a NUL follows them on the wire
CACHED, ASKS_ALL = 3, 4  # what the server says to a hashed password: known from before, or send it whole
ASK_KEY = b"\x02"
LOCK_WAIT = (
    3  # seconds for another server's commit on the same room; under ANSWER, so that the server's word comes first
)
ESCAPES = (("\\", r"\\"), ("'", r"\'"), ('"', r"\""), ("\n", r"\n"), ("\r", r"\r"), ("\x1a", r"\Z"))  # the first first
GOODBYE = 0.5  # seconds to say COM_QUIT; the server notices a closed socket too

# What a session needs, in one round trip. READ COMMITTED: at REPEATABLE READ InnoDB also locks the gaps between
# index entries, and two servers that insert into one room would deadlock over nothing; the locking statements here
# read the newest rows either way. Backslash escapes stay on: the quoting below relies on them.
SESSION = f"""\
SET NAMES utf8mb4, sql_mode = 'STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION,ERROR_FOR_DIVISION_BY_ZERO',
    time_zone = '+00:00', autocommit = 1, foreign_key_checks = 1, unique_checks = 1,
    innodb_lock_wait_timeout = {LOCK_WAIT};
SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED;
SELECT @@max_allowed_packet, VERSION()"""


class Result(NamedTuple):
    """What one statement gave."""

    rows: tuple[tuple[Any, ...], ...]
    affected: int
    insert_id: int


class Connection(connections.Connection):  # type: ignore[misc]  # trio-mysql has no types: its class is Any here
    """A connection that one task uses at a time; after any exception out of `run` only `drop` may follow."""

    def __init__(self, url: MysqlUrl, *, database: bool = True) -> None:
        super().__init__(
            host=url.host,
            port=url.port,
            user=url.user,
            password=url.password.encode(),
            database=url.name if database else None,
            charset="utf8mb4",
            use_unicode=True,
            client_flag=CLIENT.MULTI_STATEMENTS,
            connect_timeout=31_536_000,  # seconds, its longest: the caller has the timeout
            autocommit=None,
            conv=CONVERSIONS,
            auth_plugin_map={b"caching_sha2_password": _CachingSha2},
            ssl=_tls(url),
            program_name="belfry",
        )
        self.is_open = False
        self.packet = 0  # bytes: the server's max_allowed_packet
        self.version = ""
        self.answered = 0  # statements of the last run that the server had answered
        self.sent = False  # whether the last run's statements had gone out whole
        self.opened_at = self.used_at = time.monotonic()

    async def open(self) -> None:
        """Connect, log in, and set the session up. The caller bounds the time."""
        try:
            await self.connect()
            ((self.packet, self.version),) = (await self.run(SESSION.encode()))[-1].rows
            self.is_open = True
        except BaseException:
            self.drop()
            raise

    async def run(self, sql: bytes) -> list[Result]:
        """Send one or more statements (`;` between) in one go; all their results.

        The server stops at the first that fails, and that is raised; `answered` tells which one it was.
        """
        self.answered, self.sent = 0, False
        await self._execute_command(COMMAND.COM_QUERY, sql)
        self.sent = True
        results = []
        while True:
            affected = await self._read_query_result()
            results.append(Result(self._result.rows or (), affected, self._result.insert_id or 0))
            self.answered += 1
            if not self._result.has_next:
                break
        self.used_at = time.monotonic()
        return results

    @property
    def is_encrypted(self) -> bool:
        """Whether TLS is on."""
        return isinstance(self._sock, trio.SSLStream)

    def is_silent(self) -> bool:
        """Whether an idle connection is as it was left: anything to read now is its end, or a message about it."""
        raw = self._raw_socket()
        if raw is None:
            return False
        # On TLS a late session ticket makes us drop a good connection, at the price of one handshake.
        watched = select.poll()
        watched.register(raw.fileno(), select.POLLIN)
        return not watched.poll(0)

    def drop(self) -> None:
        """Close it at once, whatever state it is in; the server rolls back what was not committed."""
        self._force_close()

    async def goodbye(self) -> None:
        """Close an idle one politely, so that the server does not log an aborted connection."""
        with trio.move_on_after(GOODBYE, shield=True):
            try:
                await self._write_bytes(b"\x01\x00\x00\x00" + bytes([COMMAND.COM_QUIT]))
            except (OSError, trio.BrokenResourceError, trio.ClosedResourceError, connections.err.MySQLError):
                self.drop()  # it was gone already
        self.drop()

    async def _get_server_information(self) -> None:
        await super()._get_server_information()
        if self.ssl and not self.server_capabilities & CLIENT.SSL:
            raise StoreUnusable(
                f"the database server at {self.host}:{self.port} offers no TLS: "
                "turn it on there, or take tls= off the URL"
            )
        self._auth_plugin_name = ""

    def _force_close(self) -> None:
        raw = self._raw_socket()
        if raw is not None:
            raw.close()
        self._sock = None
        self._closed = True
        self.is_open = False
        self._rbuf = bytearray()

    def __del__(self) -> None:
        """Nothing: trio-mysql's would close the socket when Trio may be over. Who opens one drops it."""

    def _raw_socket(self) -> trio.socket.SocketType | None:
        stream = self._sock
        while isinstance(stream, trio.SSLStream):
            stream = stream.transport_stream
        return None if stream is None else stream.socket


class _CachingSha2:
    """MySQL 8's login: a hash against the server's cache, else the password itself, over TLS or RSA."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def authenticate(self, packet: Any) -> Any:
        connection = self._connection
        salt = packet.read_all()[:SALT]
        answer = await self._exchange(scramble_caching_sha2(connection.password, salt))
        if not answer.is_extra_auth_data():
            return answer  # OK already: the password is empty
        answer.advance(1)
        said = answer.read_uint8()
        if said == CACHED:
            return await connection._read_packet()
        if said != ASKS_ALL:
            raise connections.err.OperationalError(2061, f"caching_sha2_password: unknown answer {said}")
        if connection._secure:
            return await self._exchange(connection.password + b"\0")
        # The key is taken as it comes: whoever can forge it can read all that follows anyway, unless there is TLS.
        key = (await self._exchange(ASK_KEY)).get_all_data()[1:]
        return await self._exchange(sha2_rsa_encrypt(connection.password, salt, key))

    async def _exchange(self, data: bytes) -> Any:
        await self._connection.write_packet(data)
        return await self._connection._read_packet()


def quoted(text: str) -> str:
    """A text as a literal of SQL."""
    return f"'{converters.escape_string(text)}'"


def quoted_all(texts: Sequence[str]) -> list[str]:
    """Many texts as literals of SQL, none with a NUL: done once for all of them it takes a sixth of the time.

    Raises ValueError for a NUL.
    """
    joined = "\0".join(texts)
    for plain, escaped in ESCAPES:
        joined = joined.replace(plain, escaped)
    literals = [f"'{text}'" for text in joined.split("\0")] if texts else []
    if len(literals) != len(texts):
        raise ValueError("a text with a NUL among many")
    return literals


def moment_literal(at: dt.datetime) -> str:
    """An aware moment as a literal of DATETIME(6) in UTC. Raises ValueError for a naive one."""
    if at.tzinfo is None:
        raise ValueError("a moment must know its time zone")
    return f"'{at.astimezone(dt.UTC).replace(tzinfo=None).isoformat(' ', 'microseconds')}'"


def _moment(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text + "+00:00")


CONVERSIONS = converters.conversions | {FIELD_TYPE.DATETIME: _moment}


def _tls(url: MysqlUrl) -> ssl.SSLContext | None:
    if url.tls is None:
        return None
    try:
        context = ssl.create_default_context(cafile=url.ca)
    except OSError as error:
        raise StoreUnusable(
            f"the CA file {url.ca} of the database URL cannot be read ({error}): name a PEM file"
        ) from None
    if url.tls == "required":  # encrypted, but whoever answers is believed to be the server
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
