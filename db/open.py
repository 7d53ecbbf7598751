"""The one place that knows which twin an address means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from db.sqlite import SqliteStore
from db.url import DatabaseUrl, SqliteUrl, parse_url

if TYPE_CHECKING:
    from db.store import Store


async def open_store(url: DatabaseUrl | str, *, migrate: bool = True) -> Store:
    """The store at this address, brought to this code's schema first if `migrate`.

    Raises BadUrl, StoreUnusable (one line that says what to do) and StoreUnavailable (worth trying again).
    """
    if isinstance(url, str):
        url = parse_url(url)
    if isinstance(url, SqliteUrl):
        return await SqliteStore.open(url.path, migrate=migrate)
    from db.mysql import MysqlStore  # not at the top: its TLS and RSA take half of a SQLite server's start

    return await MysqlStore.open(url, migrate=migrate)
