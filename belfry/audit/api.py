"""What the audit asks over HTTP: accounts, rooms, and the history that is the truth at the end."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any, TypeVar

import httpx
import msgspec
import trio
from msgspec import Struct

from belfry.answers import DESCRIBED, ERRORS, TOWER, described, why
from belfry.audit.client import Account
from belfry.audit.observation import Row, Stored
from chat import wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from belfry.audit.address import Address

TRIES = 8  # of one request; with the pauses between them 13 s, in which a killed server is back
PAUSE = 0.5  # seconds before the second try, then 0.5 more each time
TIMEOUT = 10.0  # seconds a request
PAGE = 200  # messages a page; the most the API gives
CONNECTIONS = 10  # at once; setting up 1,000 clients needs no more, and the load has the websockets

T = TypeVar("T")


class Unreachable(Exception):
    """The server does not answer, or will not have us; str() is its address and what it said."""


class _Guest(Struct, frozen=True):
    token: str
    user: wire.User


class _History(Struct, frozen=True):
    epoch: str
    head: int
    messages: list[wire.Message]


class Api:
    """A fleet's HTTP side: of one server, and when that is gone, of another. An async context manager."""

    def __init__(self, address: Address, elsewhere: Callable[[], Iterable[Address]] = tuple) -> None:
        self._first = self._base = address.http
        self._elsewhere = elsewhere  # where else it may be asked, as far as is known then
        # No connection is kept: an idle one would be one more that a stopping server has to wait for.
        limits = httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=0)
        # Not through a proxy: the websockets do not go through one either.
        # Certificates are checked as for the websockets: by the system, or by the file that SSL_CERT_FILE names.
        self._http = httpx.AsyncClient(
            timeout=TIMEOUT, trust_env=False, limits=limits, verify=ssl.create_default_context()
        )

    async def __aenter__(self) -> Api:
        return self

    async def __aexit__(self, *problem: object) -> None:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 1.0):
            await self._http.aclose()

    async def greet(self) -> None:
        """See that a server is there, by one try: a wrong address should not take 13 s to say. Raises Unreachable."""
        await self._ask("GET", "/healthz", tries=1)

    async def guest(self, name: str) -> Account:
        """An account of its own. Raises Unreachable."""
        answer = await self._ask("POST", "/v1/guests", json={"name": name})
        guest = self._read(answer, _Guest)
        return Account(guest.user.id, guest.token)

    async def make_room(self, name: str, account: Account) -> None:
        """Make a room, or find it made (by a try whose answer was lost). Raises Unreachable."""
        await self._ask("POST", "/v1/rooms", account, fine=(409,), json={"name": name, "title": name})

    async def delete_room(self, name: str, account: Account) -> None:
        """Delete a room that this account made. Raises Unreachable."""
        await self._ask("DELETE", f"/v1/rooms/{name}", account, fine=(404,))

    async def head(self, room: str, account: Account) -> tuple[str, int]:
        """A room's epoch and head. Raises Unreachable."""
        page = await self._page(room, account, after=None, limit=1)
        return page.epoch, page.head

    async def history(self, room: str, account: Account) -> AsyncIterator[Stored]:
        """All of a room's messages, ascending, page by page. Raises Unreachable."""
        after = 0
        while True:
            page = await self._page(room, account, after=after, limit=PAGE)
            rows = tuple(Row(message.seq, message.user.id, message.text) for message in page.messages)
            # An empty page is the end, also below the head: the checker says what is missing then.
            last = not rows or rows[-1].seq >= page.head or rows[-1].seq <= after
            yield Stored(room, page.epoch, page.head, rows, last)
            if last:
                return
            after = rows[-1].seq

    async def _page(self, room: str, account: Account, *, after: int | None, limit: int) -> _History:
        params = {"limit": limit} if after is None else {"limit": limit, "after": after}
        answer = await self._ask("GET", f"/v1/rooms/{room}/messages", account, params=params)
        return self._read(answer, _History)

    async def _is_tower(self) -> bool:
        try:
            answer = await self._ask("GET", DESCRIBED, tries=1)
        except Unreachable:
            return False
        return described(answer.content) == TOWER

    def _go_elsewhere(self) -> None:
        """Ask the next one, if there are others."""
        bases = list(dict.fromkeys([self._first, *(address.http for address in self._elsewhere())]))
        at = bases.index(self._base) if self._base in bases else 0
        self._base = bases[(at + 1) % len(bases)]

    def _read(self, answer: httpx.Response, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(answer.content, type=kind)
        except msgspec.DecodeError as error:
            raise Unreachable(f"{answer.request.url} does not answer as Belfry does: {error}") from None

    async def _ask(
        self,
        method: str,
        path: str,
        account: Account | None = None,
        *,
        fine: tuple[int, ...] = (),
        tries: int = TRIES,
        **more: Any,
    ) -> httpx.Response:
        headers = {"Authorization": f"Bearer {account.token}"} if account is not None else {}
        said = ""
        for number in range(tries):
            await trio.sleep(PAUSE * number)
            try:
                answer = await self._http.request(method, self._base + path, headers=headers, **more)
            except ERRORS as error:
                said = f"{self._base}: {why(error, self._base)}"
                self._go_elsewhere()
                continue
            if answer.is_success or answer.status_code in fine:
                return answer
            said = f"{self._base}: {method} {path}: {_reason(answer)}"
            if answer.status_code == 404 and path != DESCRIBED and await self._is_tower():
                said = f"{self._base}: it is {TOWER}, not a server; name a belfry server with --url"
            if answer.status_code not in (429, 503):
                break
            await trio.sleep(min(5.0, float(answer.headers.get("Retry-After", 0))))
        raise Unreachable(said)


def _reason(answer: httpx.Response) -> str:
    """A refusal as Belfry words it, with its code; of anything else, the beginning of the text."""
    try:
        told = answer.json()
        return f"{told['message']} ({answer.status_code} {told['code']})"
    except (ValueError, KeyError, TypeError):
        return f"HTTP {answer.status_code} {' '.join(answer.text.split())[:200]}".rstrip()
