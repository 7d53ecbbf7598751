"""Whether another server lives under our name: two would take each other's beats and orders for their own."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from belfry.errors import Wrong
from chat.others import own_url
from chat.peers import LEASE

if TYPE_CHECKING:
    from chat.config import Config
    from db.store import Store

OVER = ("stopped", "down")


async def check_name(store: Store, config: Config) -> None:
    """Raises Wrong when a server of our id beat lately from another address. The same address is a restart of ours.

    Clocks that differ by more than the lease hide such a server here; the tower sees it then, by two boots that beat in
    turn.
    """
    now, url = dt.datetime.now(dt.UTC), own_url(config)
    for other in await store.servers():
        silent = abs((now - other.seen_at).total_seconds())
        if other.id != config.server_id or other.url == url or other.state in OVER or silent >= LEASE:
            continue
        raise Wrong(
            f"a server named {config.server_id} already runs at {other.url}, so this one at {url} needs another"
            f" --server-id; if that one was killed, its name is free {LEASE:g} s after its last beat"
        )
