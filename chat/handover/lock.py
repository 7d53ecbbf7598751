"""Who may write to the store while two processes know it: a data directory has one writer, a MySQL server many."""

from __future__ import annotations

from typing import Protocol


class StoreLock(Protocol):
    """The right to write, as it goes from a process to its successor. Where many may write, all of it does nothing."""

    async def take(self) -> None:
        """Have it as soon as it is free, for the first time or again. Set the timeout around it."""

    def release(self) -> None:
        """Let the other process have it."""


class NoLock:
    """For stores that take any number of writers."""

    async def take(self) -> None:
        return None

    def release(self) -> None:
        return None
