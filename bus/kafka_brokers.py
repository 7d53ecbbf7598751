"""Who leads which partition, and connections to the leaders, for requests of our own.

The library meets the brokers: it resolves names, connects, does TLS and SASL, and learns who leads what. A connection
it has made is then taken from its loop and used directly, by one thread, which writes a request and waits for the
answer: decision 0027.
"""

from __future__ import annotations

import logging
import ssl
import time
from collections import deque
from select import POLLOUT, poll
from typing import TYPE_CHECKING, Any, Protocol

from kafka.errors import (
    IncompatibleBrokerVersion,
    KafkaConnectionError,
    KafkaError,
    KafkaProtocolError,
    KafkaTimeoutError,
    LeaderNotAvailableError,
)

from bus.kafka_client import REQUEST, net_client
from bus.kafka_wire import FETCH, FETCH_VERSION, PRODUCE, PRODUCE_VERSION, framed

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable

    from kafka import TopicPartition

    from bus.url import KafkaUrl

log = logging.getLogger("belfry.bus.kafka")

NEEDED = {FETCH: FETCH_VERSION, PRODUCE: PRODUCE_VERSION}
LEADERLESS = 0.5  # seconds for which a partition may have no leader: those of a new topic have one after 0.1
READ = 262_144  # bytes in one read: a commit to a busy partition
LONGEST = 64 * 1_048_576  # bytes of an answer: eight partitions' greatest records; beyond, it is not a broker


class Channel:
    """A connection to one broker: requests go out one after the other, their answers come in the same order."""

    def __init__(self, sock: socket.socket, node: int) -> None:
        self.node = node
        self._sock = sock
        self._sock.setblocking(False)
        self._is_tls = isinstance(sock, ssl.SSLSocket)
        self._number = 0
        self._asked: deque[tuple[int, float]] = deque()  # numbers of requests whose answers are to come, and until when
        self._came = bytearray()

    def fileno(self) -> int:
        return self._sock.fileno()

    def close(self) -> None:
        """End it; what was asked is not answered any more."""
        self._sock.close()

    def ask(self, api: int, version: int, body: bytes, patience: float) -> None:
        """Send a request that is answered within `patience` seconds. Raises OSError and KafkaError."""
        self._number = (self._number + 1) % 2**31
        self._asked.append((self._number, time.monotonic() + patience))
        left = memoryview(framed(api, version, self._number, body))
        deadline = time.monotonic() + REQUEST
        while left:
            try:
                left = left[self._sock.send(left) :]
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                wait_for([self], POLLOUT, deadline - time.monotonic())
                if time.monotonic() > deadline:
                    raise KafkaTimeoutError("a broker takes no more") from None

    def answers(self) -> list[bytes]:
        """The answers that have come whole, in the order of the requests; does not wait.

        Raises OSError, and KafkaError when what comes is no answer, or none comes in time.
        """
        self._read()
        found = []
        came = self._came
        while len(came) >= 4:
            size = int.from_bytes(came[:4], "big", signed=True)
            if not 4 <= size <= LONGEST:
                raise KafkaProtocolError(f"an answer of {size} bytes")
            if len(came) < 4 + size:
                break
            if not self._asked or self._asked[0][0] != int.from_bytes(came[4:8], "big"):
                raise KafkaProtocolError("an answer to nothing that was asked")
            self._asked.popleft()
            found.append(bytes(memoryview(came)[8 : 4 + size]))
            del came[: 4 + size]
        if not found and self._asked and time.monotonic() > self._asked[0][1]:
            raise KafkaTimeoutError("a broker does not answer")
        return found

    def _read(self) -> None:
        while True:
            try:
                data = self._sock.recv(READ)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return
            if not data:
                raise KafkaConnectionError("a broker closed the connection")
            self._came += data
            if len(data) < READ and not self._is_tls:  # what TLS has taken in and not given out no poll tells of
                return


class Descriptor(Protocol):
    """What the kernel can wait for."""

    def fileno(self) -> int: ...


def wait_for(descriptors: Iterable[Descriptor], events: int, seconds: float) -> None:
    """Wait until one of them is ready, so long at most."""
    poller = poll()
    for descriptor in descriptors:
        poller.register(descriptor, events)
    poller.poll(max(0.0, seconds) * 1_000)


class Brokers:
    """The library's client, as far as channels need it. Belongs into one thread."""

    def __init__(self, url: KafkaUrl, topics: Iterable[str]) -> None:
        """Meet a broker and ask for these topics. Raises KafkaError within two seconds or so."""
        self._client = net_client(url)
        self._manager: Any = self._client._manager
        self._channels: dict[int, Channel] = {}
        try:
            self._refuse_old()
            self._cluster.config["allow_auto_create_topics"] = False  # as the library forgets to
            self._manager.run(self._cluster.set_topics, list(topics))
        except BaseException:
            self.close()
            raise

    @property
    def _cluster(self) -> Any:
        return self._manager.cluster

    def _refuse_old(self) -> None:
        spoken = self._manager.broker_version_data
        for api, version in NEEDED.items():
            low, high = spoken.api_versions.get(api, (0, 0))
            if not low <= version <= high:
                raise IncompatibleBrokerVersion(
                    f"the broker is of version {spoken.broker_version_str}; it must be 2.3 or newer"
                )

    def refresh(self) -> None:
        """Ask anew who leads what and how many partitions there are; a broker that does not answer changes nothing."""
        try:
            self._manager.run(self._cluster.refresh_metadata)
        except KafkaError as error:  # the next look may meet another; what we need is answered on our channels
            log.debug("nobody said who leads what: %r", error)

    def partitions(self, topic: str) -> int:
        """How many partitions a topic has, 0 when it is not there."""
        return len(self._cluster.partitions_for_topic(topic) or ())

    def channel(self, part: TopicPartition) -> Channel:
        """The channel to the partition's leader, opened when there is none. Raises KafkaError and OSError."""
        node = self._leader(part)
        channel = self._channels.get(node)
        if channel is None:
            channel = self._channels[node] = Channel(self._connected(node), node)
        return channel

    def _leader(self, part: TopicPartition) -> int:
        """Who leads a partition, which a topic that was just made takes a moment to know."""
        deadline = time.monotonic() + LEADERLESS
        while True:
            node: int | None = self._cluster.leader_for_partition(part)
            if node is not None and node >= 0:
                return node
            if time.monotonic() > deadline:
                raise LeaderNotAvailableError(f"{part.topic}-{part.partition} has no leader")
            time.sleep(LEADERLESS / 10)
            self.refresh()

    def _connected(self, node: int) -> socket.socket:
        """A connection that the library makes, greets and forgets."""
        self._manager.close(node)  # the one it has may be in use
        connection = self._manager.run(self._manager.get_connection, node)
        transport = connection.transport
        sock: socket.socket = transport._sock
        self._manager._net.cancel(transport._read_task)
        transport._sock = None
        connection.close()
        return sock

    def close(self) -> None:
        """End all connections."""
        for channel in self._channels.values():
            channel.close()
        self._client.close()
