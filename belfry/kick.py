"""`belfry kick USER`: send somebody away, through a running server, with an admin token made from its secret."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING
from urllib.parse import quote

from belfry.errors import OK, Failed, Wrong
from belfry.kinds import Url
from belfry.secret import given_secret
from belfry.token import ID, kept

if TYPE_CHECKING:
    from collections.abc import Mapping

    import httpx

    from belfry.sources import Settings

TIMEOUT = 10.0  # seconds; a commit and a look at the sockets take one hundredth
TOKEN_TTL = 60.0  # seconds; it is used once
WHO = "u_operator"  # what the log says of who did it from the command line
DEFAULT_URL = "http://127.0.0.1:8000"
URL = Url(("http", "https"), f"an address such as {DEFAULT_URL}")


def run_kick(settings: Settings, flags: Mapping[str, str], environ: Mapping[str, str]) -> int:
    """Kick, ban or let in again, and say what was done. Returns the exit code; raises Wrong, Failed."""
    import httpx

    from belfry.answers import ERRORS, TOWER, kind_at, why
    from chat.tokens import Tokens

    user_id = flags.get("user")
    if not user_id:
        raise Wrong("`belfry kick` needs a user id; e.g. belfry kick u_ada --ban")
    if not ID.fullmatch(user_id):
        raise Wrong(f'"{user_id[:60]}" (argument) is no user id; give 1-64 visible ASCII characters without spaces')
    if "ban" in flags and "unban" in flags:
        raise Wrong("--ban (flag) and --unban (flag) contradict each other; give one of them")
    url = flags.get("url", DEFAULT_URL).rstrip("/")
    try:
        URL.read(url)
    except ValueError as error:
        right = str(error) or URL.right
        raise Wrong(f'--url (flag): "{url[:60]}" does not fit; give {right}') from None
    secret = given_secret(environ) or kept(settings)
    token = Tokens(secret.key).issue(WHO, "operator", TOKEN_TTL, admin=True)
    headers = {"Authorization": f"Bearer {token}"}
    # A segment of dots alone would be taken for the way up, unless its dots are written out.
    quoted = quote(user_id, safe="") if user_id.strip(".") else "%2E" * len(user_id)
    address = f"{url}/v1/users/{quoted}"
    try:
        if "unban" in flags:
            answer = httpx.delete(f"{address}/ban", headers=headers, timeout=TIMEOUT)
        else:
            answer = httpx.post(f"{address}/kick", json={"ban": "ban" in flags}, headers=headers, timeout=TIMEOUT)
    except ERRORS as error:
        raise Failed(f"no server answers at {url}: {why(error, url)}; name a running one with --url") from None
    if answer.status_code == 404 and kind_at(url, TIMEOUT) == TOWER:
        lead = "--url (flag): " if "url" in flags else ""
        raise Wrong(f"{lead}{url} is {TOWER}, not a server; name a belfry server with --url")
    if answer.status_code == 401:
        raise Failed(f"the server at {url} has another secret; set BELFRY_SECRET to its own, or name its --data")
    if answer.status_code != 200:
        raise Failed(f"the server at {url} refused: {_reason(answer)}")
    print(_done(user_id, flags, _closed(answer, url), url), file=sys.stderr)
    return OK


def _done(user_id: str, flags: Mapping[str, str], closed: int, url: str) -> str:
    """What was done, in words; no server knows who exists, so that a wrong id is seen by its having no socket."""
    if "unban" in flags:
        return f"{user_id} may come back"
    others = "the other servers close theirs within 3 s"
    if closed:
        done = "is banned" if "ban" in flags else "was sent away"
        return f"{user_id} {done}; {closed} socket{'s' * (closed != 1)} closed at {url}, {others}"
    banned = f"{user_id} is banned; " if "ban" in flags else ""
    return (
        f"{banned}nobody with the id {user_id} has a socket at {url}; {others}. An id is not the name people see: "
        "it is such as u_ada, and stands with each message (user.id)"
    )


def _closed(answer: httpx.Response, url: str) -> int:
    try:
        return int(answer.json()["closed"])
    except (ValueError, KeyError, TypeError):
        raise Failed(f"what answers at {url} is no server of this version; name one with --url") from None


def _reason(answer: httpx.Response) -> str:
    try:
        return f"{answer.json()['message']} ({answer.status_code})"
    except (ValueError, KeyError, TypeError):
        return f"HTTP {answer.status_code}"
