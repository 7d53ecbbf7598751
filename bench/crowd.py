"""Thousands of clients that follow their servers about: what the C generator cannot do. One epoll set, no event loop.

A client has one room and one place, and does what a good client of its dialect does when it is told to move, closed or
dropped. Belfry's makes before it breaks and resumes; the naive peer's comes back after a second, to whatever is there.
Messages carry their number in the room, so that what a client missed is seen by the next one it gets.
"""

from __future__ import annotations

import contextlib
import errno
import heapq
import itertools
import json
import random
import re
import select
import socket
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from bench.frames import client_frame, upgrade_request, whole_frames
from chat.wire import SUBPROTOCOL

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

WINDOW = 2.0  # seconds, in which clients of a dead server come back first; as `welcome` says by default
NAIVE_RETRY = 1.0  # seconds, always
WELCOME = 10.0  # seconds from dialling to the room; as belfry.js waits
CAP = 10.0  # seconds of backoff
RECEIVE = 65_536  # bytes a read; a read into 256 KB takes 27 us instead of 7, all for its memory
SLICE = 0.05  # seconds between looks at what is due, at most
BUSY = (errno.EINPROGRESS, errno.EAGAIN)
MESSAGE = b'{"t":"message"'
SEQ = re.compile(rb'"seq":(\d+)')
TEXT = re.compile(rb'"text":"n(\d+) (\d+) ')
PARSED = 1_000  # pieces of the stream whose messages are remembered: a second of them
Said = tuple[int, int, int]  # a message's number in its room, among all that were sent, and the server's; 0: none
MISSING: list[Said] = []  # an object that no list of messages is
GOODBYE = client_frame((1000).to_bytes(2, "big"), 8)
PONG = client_frame(b'{"t":"pong"}')


@dataclass(slots=True)
class Client:
    """One client and what it saw."""

    number: int
    room: str
    port: int  # where it is, or was last
    token: str
    group: str
    last: int = 0  # the newest number of its room that it has
    epoch: str | None = None  # its room's, once it was in it
    seq: int = 0  # the server's newest number that it has
    link: Link | None = None
    next: Link | None = None
    attempts: int = 0  # connections dialled
    failures: int = 0  # in a row
    missed: int = 0  # messages that it will never see
    heard: float = 0.0
    silence: float = 0.0  # the longest since `Crowd.watch`
    back: float = 0.0  # when it last had its room again
    latencies: list[float] = field(default_factory=list)  # seconds, of all in its group


@dataclass(slots=True)
class Link:
    """One connection."""

    client: Client
    sock: socket.socket
    port: int
    token: str
    recv: Callable[[int], bytes] = field(init=False)
    open: bool = False  # upgraded
    live: bool = False  # in its room
    over: bool = False
    data: bytes = b""
    out: bytes = b""

    def __post_init__(self) -> None:
        self.recv = self.sock.recv


@dataclass(slots=True)
class Tally:
    """What happened since the last `watch`."""

    handshakes: list[tuple[float, int]] = field(default_factory=list)  # when and at which port
    refused: int = 0  # 503
    unreachable: int = 0
    latencies: dict[str, list[float]] = field(default_factory=dict)  # seconds, by the client's group


class Crowd:
    """All clients, and who publishes to them."""

    def __init__(self, ports: Sequence[int], *, naive: bool = False) -> None:
        self.ports = list(ports)  # where a client whose server is gone may look
        self.naive = naive
        self.clients: list[Client] = []
        self.tally = Tally()
        self.sent: list[float] = []  # when each message was meant to be sent
        self._numbers: dict[str, int] = {}
        self._publishers: dict[str, list[Client]] = {}
        self._epoll = select.epoll()
        self._links: dict[int, Link] = {}
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._parsed: dict[bytes, list[Said] | None] = {}
        self._due = float("inf")
        self._step = 0.0
        self._rng = random.Random(5)

    # --- for the scenario --------------------------------------------------------------------------------------

    def add(self, client: Client, after: float = 0.0, *, publishes: bool = False) -> None:
        """A client comes in `after` so many seconds."""
        self.clients.append(client)
        self._counts(client)
        if publishes:
            self._publishers.setdefault(client.room, []).append(client)
        self._later(after, lambda: self._dial(client, client.port, client.token))

    def publish(self, per_second: float) -> None:
        """From now on rooms are spoken in, by turns; 0 ends it."""
        self._step = 1.0 / per_second if per_second else 0.0
        self._due = time.perf_counter() if per_second else float("inf")

    def watch(self) -> None:
        """Count from here."""
        self.tally = Tally()
        now = time.perf_counter()
        for client in self.clients:
            client.silence, client.heard, client.attempts, client.missed = 0.0, now, 0, 0
            self._counts(client)

    def _counts(self, client: Client) -> None:
        client.latencies = self.tally.latencies.setdefault(client.group, [])

    def run(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Let everything go on for this long, or until something holds; whether it does."""
        end = time.perf_counter() + seconds
        while (now := time.perf_counter()) < end:
            if until():
                return True
            while self._timers and self._timers[0][0] <= now:
                heapq.heappop(self._timers)[2]()
            self._speak(now)
            wait = min(end, self._due, self._timers[0][0] if self._timers else end) - time.perf_counter()
            self._receive(self._epoll.poll(max(0.0, min(SLICE, wait))))
        return until()

    def live(self) -> int:
        """Clients that are in their room."""
        return sum(client.link is not None and client.link.live for client in self.clients)

    def close(self) -> None:
        """Hang up."""
        for link in list(self._links.values()):
            self._drop(link)
        self._epoll.close()

    # --- speaking ----------------------------------------------------------------------------------------------

    def _speak(self, now: float) -> None:
        rooms = list(self._publishers)
        while self._due <= now:
            number = len(self.sent)
            room = rooms[number % len(rooms)]
            self._numbers[room] = count = self._numbers.get(room, 0) + 1
            self.sent.append(self._due)
            self._due += self._step
            text = f"n{count} {number} " + "x" * 40
            frame = {"t": "send", "room": room, "nonce": f"b{number}", "text": text}
            for publisher in self._publishers[room]:
                if publisher.link is not None and publisher.link.live:
                    self._write(publisher.link, client_frame(json.dumps(frame).encode()))

    def _write(self, link: Link, data: bytes) -> None:
        link.out += data
        with contextlib.suppress(OSError):
            link.out = link.out[link.sock.send(link.out) :]
        if link.out:
            self._epoll.modify(link.sock.fileno(), select.EPOLLIN | select.EPOLLOUT)

    # --- connecting --------------------------------------------------------------------------------------------

    def _later(self, seconds: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._timers, (time.perf_counter() + seconds, next(self._order), action))

    def _dial(self, client: Client, port: int, token: str) -> None:
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.attempts += 1
        link = Link(client, sock, port, token)
        link.out = upgrade_request("/ws", port, None if self.naive else SUBPROTOCOL)
        client.next = link
        if sock.connect_ex(("127.0.0.1", port)) not in (0, *BUSY):
            self._lost(link, 0.0)
            return
        self._later(WELCOME, lambda: None if link.live or link.over else self._lost(link, 0.0))
        self._links[sock.fileno()] = link
        self._epoll.register(sock.fileno(), select.EPOLLIN | select.EPOLLOUT)

    def _drop(self, link: Link) -> None:
        link.over = True
        number = link.sock.fileno()
        if number >= 0:
            if self._links.pop(number, None) is not None:
                self._epoll.unregister(number)
            link.sock.close()

    def _hello(self, link: Link) -> None:
        client = link.client
        if self.naive:
            frames = [{"t": "join", "room": client.room}]
        else:
            frames = [{"t": "hello", "token": link.token}]
            if client.epoch is None:
                frames.append({"t": "join", "room": client.room, "limit": 0})  # type: ignore[dict-item]
            else:
                frames[0]["resume"] = {client.room: (client.epoch, client.seq)}  # type: ignore[assignment]
        self._write(link, b"".join(client_frame(json.dumps(frame).encode()) for frame in frames))

    # --- what comes --------------------------------------------------------------------------------------------

    def _receive(self, ready: list[tuple[int, int]]) -> None:
        """Take in what arrived; a piece that a hundred others got before, as most are, in as few steps as can be.

        This process shares the cores with what it measures, and has tens of thousands of deliveries a second.
        """
        links, parsed, heard, clock = self._links, self._parsed, self._heard, time.perf_counter
        for number, events in ready:
            link = links.get(number)
            if link is None:
                continue
            if events & select.EPOLLOUT and not self._writable(link):
                continue
            try:
                data = link.recv(RECEIVE)
            except BlockingIOError:
                continue
            except OSError:
                data = b""
            if link.live and not link.data and (found := parsed.get(data)) is not None:
                heard(link.client, found, clock())
            else:
                self._arrived(link, data)

    def _writable(self, link: Link) -> bool:
        """Go on with what waits to be sent; whether the connection is still there."""
        if link.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._lost(link, 0.0)
            return False
        with contextlib.suppress(OSError):
            link.out = link.out[link.sock.send(link.out) :]
        if not link.out:
            self._epoll.modify(link.sock.fileno(), select.EPOLLIN)
        return True

    def _arrived(self, link: Link, data: bytes) -> None:
        if not data:
            self._lost(link, 0.0)
            return
        if link.live and not link.data and (found := self._found(data)) is not None:
            self._heard(link.client, found, time.perf_counter())
            return
        link.data += data
        if link.open or self._opened(link):
            self._frames(link)

    def _found(self, data: bytes) -> list[Said] | None:
        """The messages in what arrived, if it is nothing but whole messages; a hundred clients get the same bytes."""
        found = self._parsed.get(data, MISSING)
        if found is not MISSING:
            return found
        if len(self._parsed) > PARSED:
            self._parsed.clear()
        frames, rest = whole_frames(data)
        ours = [_said(payload) if opcode == 1 else None for opcode, payload in frames]
        said = None if rest or None in ours else [one for one in ours if one is not None]
        self._parsed[data] = said
        return said

    def _heard(self, client: Client, found: list[Said], now: float) -> None:
        for count, number, seq in found:
            client.latencies.append(now - self.sent[number])
            if count == client.last + 1:
                client.last = count
                if now - client.heard > client.silence:
                    client.silence = now - client.heard
                client.heard = now
            else:
                self._saw(client, count, now)
            if seq > client.seq:
                client.seq = seq

    def _opened(self, link: Link) -> bool:
        """Whether the answer to the handshake is here, and good."""
        head, end, rest = link.data.partition(b"\r\n\r\n")
        if not end:
            return False
        if not head.startswith(b"HTTP/1.1 101"):
            self.tally.refused += 1
            told = re.search(rb"(?i)retry-after: (\d+)", head)
            self._lost(link, float(told[1]) if told else 0.0)
            return False
        link.open, link.data = True, rest
        self.tally.handshakes.append((time.perf_counter(), link.port))
        self._hello(link)
        return True

    def _frames(self, link: Link) -> None:
        now = time.perf_counter()
        frames, link.data = whole_frames(link.data)
        for opcode, payload in frames:
            if opcode == 1:
                self._frame(link, payload, now)
            elif opcode == 8:
                self._lost(link, 0.0)
                return
            if link.sock.fileno() < 0:
                return

    def _frame(self, link: Link, payload: bytes, now: float) -> None:
        if payload.startswith(MESSAGE):
            if (said := _said(payload)) is not None:
                self._heard(link.client, [said], now)
            return
        frame = msgspec.json.decode(payload)
        match frame["t"]:
            case "joined":
                self._joined(link, frame, now)
            case "moving":
                port = int(frame["url"].rpartition(":")[2].partition("/")[0]) if frame.get("url") else link.port
                ticket = frame["ticket"]
                self._later(frame["not_before_ms"] / 1000, lambda: self._move(link, port, ticket))
            case "ping":
                self._write(link, PONG)

    def _saw(self, client: Client, count: int, now: float) -> None:
        if count <= client.last:
            return  # a repeat: both connections of a move brought it
        if client.last and count > client.last + 1:
            client.missed += count - client.last - 1
        client.last = count
        client.silence = max(client.silence, now - client.heard)
        client.heard = now

    def _joined(self, link: Link, frame: dict[str, object], now: float) -> None:
        client = link.client
        if not self.naive:
            for message in frame["messages"]:  # type: ignore[attr-defined]
                if (found := TEXT.search(b'"text":"%b' % message["text"].encode())) is not None:
                    self._saw(client, int(found[1]), now)
            client.epoch = str(frame["epoch"])
            client.seq = max(client.seq, int(frame["head"]))  # type: ignore[call-overload]
        old, client.link, client.next = client.link, link, None
        link.live, client.back, client.failures, client.port = True, now, 0, link.port
        if old is not None and old is not link:
            with contextlib.suppress(OSError):
                old.sock.send(GOODBYE)
            self._drop(old)

    # --- coming back -------------------------------------------------------------------------------------------

    def _move(self, link: Link, port: int, ticket: str) -> None:
        if link.client.link is link and link.client.next is None:
            self._dial(link.client, port, ticket)

    def _lost(self, link: Link, asked: float) -> None:
        client, was_live = link.client, link.live
        self._drop(link)
        link.live = False
        if client.link is link:
            client.link = None
        if client.next is link:
            client.next = None
            self.tally.unreachable += not link.open and not asked
        if client.link is not None or client.next is not None:
            return  # a move that failed, or one that is under way
        port = client.port
        if not was_live:
            client.failures += 1
            port = self._rng.choice([one for one in self.ports if one != client.port] or self.ports)
        if self.naive:
            wait = NAIVE_RETRY
        elif asked:
            wait, port = asked + self._rng.random(), link.port
        elif was_live:
            wait = self._rng.uniform(0.0, WINDOW)
        else:
            wait = self._rng.uniform(0.0, min(CAP, 0.5 * 2.0 ** (client.failures - 1)))
        self._later(wait, lambda: self._dial(client, port, client.token))


def _said(payload: bytes) -> Said | None:
    """What a `message` frame says; None for any other frame, and for a message of somebody else."""
    found = TEXT.search(payload) if payload.startswith(MESSAGE) else None
    if found is None:
        return None
    seq = SEQ.search(payload)
    return int(found[1]), int(found[2]), int(seq[1]) if seq is not None else 0


def busiest(moments: Sequence[float]) -> int:
    """The most within one second, wherever it begins."""
    ordered = sorted(moments)
    first = most = 0
    for last, moment in enumerate(ordered):
        while moment - ordered[first] >= 1.0:
            first += 1
        most = max(most, last - first + 1)
    return most


def share(values: Sequence[float], part: float) -> float:
    """The value that this part of all does not pass; 0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else 0.0
