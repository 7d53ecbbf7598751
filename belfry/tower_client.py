"""A running tower as the command line asks it: one admin token, one line for everything that can go wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from belfry.errors import Failed, Wrong
from belfry.secret import given_secret
from belfry.token import kept

if TYPE_CHECKING:
    from collections.abc import Mapping

    import httpx

    from belfry.sources import Settings

T = TypeVar("T")

TIMEOUT = 10.0  # seconds; an answer takes a hundredth
TOKEN_TTL = 60.0  # seconds; a token is made anew for each request, since watching a drain may take an hour
WHO = "u_operator"  # what the tower's log says of who did it from the command line


class TowerClient:
    """Speaks to one tower; used within `with`, so that a drain that is watched keeps one connection."""

    def __init__(self, settings: Settings, environ: Mapping[str, str]) -> None:
        import httpx

        from chat.tokens import Tokens

        self.url: str = settings["tower"].rstrip("/")
        self._lead = settings.lead("tower")
        self._tokens = Tokens((given_secret(environ) or kept(settings)).key)
        self._http = httpx.Client(timeout=TIMEOUT, base_url=self.url)

    def __enter__(self) -> TowerClient:
        return self

    def __exit__(self, *exc: object) -> None:
        self._http.close()

    def ask(self, path: str, kind: type[T]) -> T:
        """GET. Raises Failed and Wrong."""
        return self._decoded(self._send("GET", path), kind)

    def order(self, path: str, body: Mapping[str, Any], kind: type[T]) -> T:
        """POST. Raises Failed and Wrong."""
        return self._decoded(self._send("POST", path, json=dict(body)), kind)

    def _send(self, method: str, path: str, **more: Any) -> httpx.Response:
        from belfry.answers import ERRORS, SERVER, kind_at, why

        token = self._tokens.issue(WHO, "operator", TOKEN_TTL, admin=True)
        try:
            answer = self._http.request(method, path, headers={"Authorization": f"Bearer {token}"}, **more)
        except ERRORS as error:
            raise Failed(
                f"{self._lead}no tower answers at {self.url}: {why(error, self.url)}; name a running one with --tower"
            ) from None
        if answer.status_code == 404 and kind_at(self.url, TIMEOUT) == SERVER:
            raise Wrong(f"{self._lead}{self.url} is {SERVER}, not a tower; name a tower with --tower")
        if answer.status_code == 401:
            raise Failed(
                f"the tower at {self.url} has another secret; set BELFRY_SECRET to its own, or name its --data"
            )
        if answer.status_code >= 500:
            raise Failed(f"the tower at {self.url} could not: {_reason(answer)}")
        if answer.status_code >= 400:
            raise Wrong(_reason(answer))
        return answer

    def _decoded(self, answer: httpx.Response, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(answer.content, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise Failed(f"what answers at {self.url} is no tower of this version; name one with --tower") from None


def _reason(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {answer.status_code}"
