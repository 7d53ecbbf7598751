"""Senders who wait for their acks: when all of them have sent again, nobody is left whom a transaction could wait for.

A client that sends its next message when the last one is acknowledged, as ours do, gives each transaction one message
and then waits for it. Where all senders do so, and nobody sent while the transaction was under way, the next one is
complete as soon as each of them has sent as many messages as before. Pure.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class Lockstep:
    """The senders of the last transaction, by user: a device of theirs is as good as another."""

    def __init__(self) -> None:
        self._owing: Counter[str] = Counter()  # messages until each has sent as many again
        self._kept = False

    def began(self, users: Iterable[str]) -> None:
        """A transaction begins with messages of these users, named once for each."""
        self._owing = Counter(users)
        self._kept = False

    def answered(self, *, silent: bool) -> None:
        """It has ended; `silent`: nobody sent meanwhile."""
        self._kept = silent

    def sent(self, user: str) -> None:
        """A message came."""
        owing = self._owing
        if user in owing:
            owing[user] -= 1
            if not owing[user]:
                del owing[user]

    @property
    def is_complete(self) -> bool:
        """Whether all have sent again who waited for their acks, and nobody else."""
        return self._kept and not self._owing
