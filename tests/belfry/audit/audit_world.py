"""A tiny chat world that keeps every promise, and writes down what its clients see: legal histories for the checker.

Each step is a pair of small numbers (what happens, to whom); a step that cannot happen now does nothing, so that any
list of pairs is a history and Hypothesis can shrink it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from belfry.audit.observation import Acked, Closed, Joined, Observation, Row, Saw, Sent, Stored

ROOM = "lobby"
LIMIT = 2  # of a first join: small, so that a join starts in the middle


@dataclass
class Link:
    """One open connection: what is on its way to the client."""

    number: int
    inbox: list[tuple[str, int]] = field(default_factory=list)  # ("saw", seq) or ("ack", index of the send)


@dataclass
class Client:
    """One client: its connections, its position, and its sends (text, committed number)."""

    name: str
    links: list[Link] = field(default_factory=list)
    opened: int = 0
    position: tuple[str, int] | None = None
    sends: list[str] = field(default_factory=list)
    waiting: set[int] = field(default_factory=set)


class World:
    """One room, its store, some clients."""

    def __init__(self, clients: int = 3) -> None:
        self.epoch = "e1"
        self.rows: list[Row] = []
        self.clients = [Client(f"c{number}") for number in range(clients)]
        self.history: list[Observation] = []

    def step(self, what: int, who: int) -> None:
        """One thing happens."""
        client = self.clients[who % len(self.clients)]
        [self.connect, self.send, self.commit, self.deliver, self.deliver, self.close, self.replace][what % 7](client)

    def connect(self, client: Client) -> None:
        """A connection opens, with the position if there is one; during a move it is the second."""
        if len(client.links) == 2:
            return
        client.opened += 1
        link = Link(client.opened)
        after = client.position
        self._join(client, link, after)
        client.links.append(link)

    def _join(self, client: Client, link: Link, after: tuple[str, int] | None) -> None:
        head = len(self.rows)
        gap = after is not None and after[0] != self.epoch
        start = max(0, head - LIMIT) if after is None or gap else after[1]
        self.history.append(Joined(client.name, link.number, ROOM, self.epoch, head, after, LIMIT, gap))
        if client.position is None or client.position[0] != self.epoch or start > client.position[1]:
            client.position = (self.epoch, start)
        link.inbox = [("saw", seq) for seq in range(start + 1, head + 1)]

    def send(self, client: Client) -> None:
        """A client sends; its frame may never arrive."""
        number = len(client.sends)
        text = f"{number} of {client.name}"
        client.sends.append(text)
        client.waiting.add(number)
        self.history.append(Sent(client.name, ROOM, f"u-{client.name}", f"n{number}", text))

    def commit(self, client: Client) -> None:
        """The oldest waiting send arrives at the store, or arrives again; an ack goes out if somebody can get it."""
        if not client.waiting or not client.links:
            return
        number = min(client.waiting)
        row = (f"u-{client.name}", client.sends[number], f"n{number}")
        if all((old.user, old.text, old.nonce) != row for old in self.rows):
            self.rows.append(Row(len(self.rows) + 1, *row))
            client.links[-1].inbox.append(("ack", number))
            for other in self.clients:
                for link in other.links:
                    link.inbox.append(("saw", len(self.rows)))
        else:
            client.links[-1].inbox.append(("ack", number))

    def deliver(self, client: Client) -> None:
        """The next thing arrives on a connection: the older one first, else the newer."""
        for link in client.links:
            if link.inbox:
                kind, number = link.inbox.pop(0)
                (self._saw if kind == "saw" else self._acked)(client, link, number)
                return

    def _saw(self, client: Client, link: Link, seq: int) -> None:
        row = self.rows[seq - 1]
        self.history.append(Saw(client.name, link.number, ROOM, self.epoch, seq, row.user, row.text))
        assert client.position is not None
        if seq > client.position[1]:
            client.position = (self.epoch, seq)

    def _acked(self, client: Client, link: Link, number: int) -> None:
        seq = next(row.seq for row in self.rows if row.text == client.sends[number])
        self.history.append(Acked(client.name, link.number, ROOM, f"n{number}", seq))
        client.waiting.discard(number)

    def close(self, client: Client) -> None:
        """The older connection ends, and what was on its way is gone."""
        if client.links:
            self.history.append(Closed(client.name, client.links.pop(0).number, 1006))

    def replace(self, client: Client) -> None:
        """The room's storage is replaced, rarely; everybody connected is told by an explicit gap."""
        if len(self.rows) < 4 or self.epoch == "e3":
            return
        self.epoch = f"e{int(self.epoch[1:]) + 1}"
        self.rows = []
        for other in self.clients:
            for link in other.links:
                self._join(other, link, other.position if other.position and other.position[0] != self.epoch else None)

    def finish(self, gone: int = 0) -> list[Observation]:
        """Everybody but `gone` clients comes back, everything arrives, and the store is read."""
        for client in self.clients[:gone]:
            while client.links:
                self.close(client)
        for client in self.clients[gone:]:
            if not client.links:
                self.connect(client)
        for _ in range(sum(len(client.sends) for client in self.clients)):
            for client in self.clients[gone:]:
                while any(link.inbox for link in client.links):
                    self.deliver(client)
                self.commit(client)
        for client in self.clients[gone:]:
            while any(link.inbox for link in client.links):
                self.deliver(client)
        middle = len(self.rows) // 2
        head = len(self.rows)
        self.history.append(Stored(ROOM, self.epoch, head, tuple(self.rows[:middle]), last=False))
        self.history.append(Stored(ROOM, self.epoch, head, tuple(self.rows[middle:])))
        return self.history
