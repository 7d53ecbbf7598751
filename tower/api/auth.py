"""Who may read and who may order: an admin token for both, or nothing for reading where the dashboard is open."""

from __future__ import annotations

import ipaddress
import logging
from typing import TYPE_CHECKING

from quart import request

from tower.errors import BadToken, Refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from tower.config import Config
    from tower.metrics import Metrics

    Verify = Callable[[str], tuple[str, bool]]  # a token's user id and whether it is an administrator's; or BadToken

log = logging.getLogger("belfry.tower.http")

LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")
FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Real-IP")


class Gate:
    """Checks the bearer of a request."""

    def __init__(self, config: Config, verify: Verify, metrics: Metrics) -> None:
        self._config = config
        self._verify = verify
        self._metrics = metrics

    def reader(self) -> None:
        """Let a reader pass. Raises Refused."""
        if not (self._config.open_dashboard and "Authorization" not in request.headers and _from_here()):
            self.admin()

    def admin(self) -> str:
        """The user id of an administrator. Raises Refused; who is refused is logged."""
        try:
            user_id, admin = self._verify(_bearer(request.headers.get("Authorization", "")))
            if not admin:
                raise Refused("not_allowed", f"{user_id} is no administrator: belfry token --user NAME --admin")
        except (BadToken, Refused) as error:
            refused = error if isinstance(error, Refused) else Refused("bad_token", str(error))
            self._metrics.tower_requests_refused += 1
            log.warning("refused %s %s from %s: %s", request.method, request.path, request.remote_addr, refused.message)
            raise refused from None
        return user_id


def _bearer(header: str) -> str:
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Refused("no_token", "send an administrator's token: Authorization: Bearer <token>")
    return token.strip()


def _from_here() -> bool:
    """Whether the caller sits at this machine: not behind a proxy on it, nor a page whose name was bent to it."""
    host = request.headers.get("Host", "").lower()
    name = host[: host.find("]") + 1] if host.startswith("[") else host.partition(":")[0]
    if name not in LOCAL_NAMES or any(header in request.headers for header in FORWARDED):
        return False
    try:
        return ipaddress.ip_address(request.remote_addr or "").is_loopback
    except ValueError:
        return False
