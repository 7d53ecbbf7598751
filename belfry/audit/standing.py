"""Where everybody stands while the checker folds: sends without an ack, clients in rooms, connections in rooms."""

from __future__ import annotations

from typing import TYPE_CHECKING

from belfry.audit.ledger import Ledger

if TYPE_CHECKING:
    from belfry.audit.observation import Joined, Sent


class Send:
    """A send without an ack."""

    __slots__ = ("client", "digest", "epoch", "nonce", "refused", "seq", "user")

    def __init__(self, sent: Sent, digest: int) -> None:
        self.client = sent.client
        self.user = sent.user
        self.nonce = sent.nonce
        self.digest = digest
        self.epoch = ""
        self.seq = 0  # where it was first seen
        self.refused = False


class Own:
    """One client in one room, over all its connections: where it stands, and the epochs it left behind."""

    __slots__ = ("epoch", "left", "seq")

    def __init__(self) -> None:
        self.epoch = ""
        self.seq = 0
        self.left: tuple[str, ...] = ()


class Reader:
    """One connection in one room."""

    __slots__ = ("anchored", "epoch", "head", "holes", "own", "resumed", "seq")

    def __init__(self, joined: Joined, own: Own) -> None:
        self.epoch = joined.epoch
        self.head = joined.head
        self.own = own
        self.resumed = joined.after is not None and not joined.gap
        self.anchored = self.resumed
        if joined.after is not None and not joined.gap:
            self.seq = joined.after[1]
        else:
            self.seq = max(0, joined.head - joined.limit)
        self.holes: list[tuple[int, int]] = []  # first and last number of each, ascending


class Room:
    """One room: its numbers by epoch, and the sends that have none for certain."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.ledgers: dict[str, Ledger] = {}
        self.sends: dict[tuple[str, str], Send] = {}  # (client, nonce); unacknowledged
        self.by_text: dict[int, Send] = {}  # the same, by digest
        self.recent: dict[tuple[str, str], tuple[str, int]] = {}  # acknowledged: (epoch, seq)
        self.stored: tuple[str, int] | None = None  # (epoch, head), from the store
        self.read_to = 0  # the last number read from the store
        self.read_whole = False

    def ledger(self, epoch: str) -> Ledger:
        if (ledger := self.ledgers.get(epoch)) is None:
            ledger = self.ledgers[epoch] = Ledger()
        return ledger
