"""`belfry token`: a token for a user, from the same secret the server verifies with."""

from __future__ import annotations

import base64
import hashlib
import re
import unicodedata
from typing import TYPE_CHECKING

from belfry.errors import OK, Wrong
from belfry.kinds import Duration
from belfry.secret import HOW_TO_MAKE, given_secret, kept_secret
from belfry.sources import SECRET_PLACE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from belfry.secret import Secret
    from belfry.sources import Settings

TTL = 86_400.0  # seconds
PLAIN = re.compile(r"[A-Za-z0-9._-]{1,60}")
ID = re.compile(r"[!-~]{1,64}")


def run_token(settings: Settings, flags: Mapping[str, str], environ: Mapping[str, str]) -> int:
    """Print a token on stdout, nothing else. Returns the exit code; raises Wrong."""
    if not flags.get("user"):
        raise Wrong("`belfry token` needs --user NAME, the name people see; e.g. belfry token --user Ada")
    ttl = _ttl(flags.get("ttl"))
    secret = given_secret(environ) or kept(settings)

    from chat.errors import Refused
    from chat.text import check_person_name
    from chat.tokens import Tokens

    try:
        name = check_person_name(flags["user"])
    except Refused as refusal:
        raise Wrong(f"--user (flag): {refusal.message}") from None
    user_id = flags.get("id") or id_of(name)
    if not ID.fullmatch(user_id):
        raise Wrong(f'--id (flag): "{user_id[:60]}" does not fit; give 1-64 visible ASCII characters without spaces')
    print(Tokens(secret.key).issue(user_id, name, ttl, admin="admin" in flags))
    return OK


def id_of(name: str) -> str:
    """The id of a user of whom only the name is known: the same name is the same user each time.

    `u_ada` for Ada; a name that is not plain ASCII is told by 80 bits of its hash, since ids are ASCII.
    """
    folded = unicodedata.normalize("NFC", name).casefold()
    if PLAIN.fullmatch(folded):
        return f"u_{folded}"
    return "u_" + base64.b32encode(hashlib.sha256(folded.encode()).digest()[:10]).decode().lower()


def _ttl(text: str | None) -> float:
    if text is None:
        return TTL
    kind = Duration(1)
    try:
        return kind.read(text)
    except ValueError:
        raise Wrong(f'--ttl (flag): "{text[:60]}" does not fit; give {kind.right}') from None


def kept(settings: Settings) -> Secret:
    """The secret that `belfry up` keeps in the data directory. Raises Wrong when there is none."""
    if settings.given("db"):
        raise Wrong(f"no secret is set: {SECRET_PLACE}; {HOW_TO_MAKE}")
    found = kept_secret(settings["data"])
    if found is None:
        raise Wrong(
            f"{settings['data']} holds no secret: run `belfry up` there first, name its directory with --data, or "
            + SECRET_PLACE
        )
    return found
