"""A channel between two processes of one machine: messages, and file descriptors that ride on them.

A message is its length and its number of descriptors, 4 bytes each, then its bytes; the descriptors are attached to
its first byte. The kernel keeps them with the bytes they were sent with, so they come out in the order they went in.
"""

from __future__ import annotations

import array
import errno
import os
import socket
import struct
from collections import deque
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Sequence

HEAD = struct.Struct("!II")
MESSAGE_BYTES = 268_435_456  # of one message; what claims more is not one of ours
DESCRIPTORS = 253  # SCM_MAX_FD of Linux: in one message
BUFFER = 4_194_304  # bytes on their way, so that a sender seldom waits; the kernel cuts it to net.core.wmem_max
READ = 1_048_576
TOO_MANY_PAUSE = 0.002  # seconds; descriptors on their way are bounded by the kernel until the other side takes some


class ChannelBroken(Exception):
    """The other process closed the channel, died, or spoke another language."""


class Channel:
    """One end. One task may send and one receive at a time."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            sock.setsockopt(socket.SOL_SOCKET, option, BUFFER)
        self._sock = trio.socket.from_stdlib_socket(sock)
        self._data = bytearray()
        self._descriptors: deque[int] = deque()
        self._sending = trio.Lock()

    @classmethod
    def pair(cls) -> tuple[socket.socket, socket.socket]:
        """Two connected sockets of the right kind, to be given to processes."""
        return socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)

    def fileno(self) -> int:
        """The descriptor, for who inherits it."""
        return self._sock.fileno()

    async def send(self, message: bytes, descriptors: Sequence[int] = ()) -> None:
        """Send one message. The descriptors are duplicated by the kernel and stay ours. Raises ChannelBroken."""
        if len(descriptors) > DESCRIPTORS:
            raise ValueError(f"{len(descriptors)} descriptors do not fit into one message")
        data = memoryview(HEAD.pack(len(message), len(descriptors)) + message)
        async with self._sending:
            try:
                if descriptors:
                    data = data[await self._send_with(data, descriptors) :]
                while data:
                    data = data[await self._sock.send(data) :]
            except (OSError, trio.ClosedResourceError) as error:
                raise ChannelBroken(str(error)) from None

    async def _send_with(self, data: memoryview, descriptors: Sequence[int]) -> int:
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))
        while True:
            try:
                return await self._sock.sendmsg([data], [rights])
            except OSError as error:
                if error.errno != errno.ETOOMANYREFS:
                    raise
                await trio.sleep(TOO_MANY_PAUSE)

    async def receive(self) -> tuple[bytes, list[int]]:
        """The next message and its descriptors, which are ours to close; being cancelled loses none.

        Raises ChannelBroken at the end.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        await self._until_buffered(HEAD.size)
        size, count = HEAD.unpack_from(self._data)
        if size > MESSAGE_BYTES or count > DESCRIPTORS:
            raise ChannelBroken("what came is no message of ours")
        # Nothing is taken out before all is there: who gives up waiting may come back, and must not begin half-way.
        await self._until_buffered(HEAD.size + size)
        message = bytes(self._data[HEAD.size : HEAD.size + size])
        del self._data[: HEAD.size + size]
        if count > len(self._descriptors):
            raise ChannelBroken("descriptors are missing; is the limit of open files reached?")
        return message, [self._descriptors.popleft() for _ in range(count)]

    async def _until_buffered(self, size: int) -> None:
        while len(self._data) < size:
            await self._more()

    async def _more(self) -> None:
        room = socket.CMSG_SPACE(DESCRIPTORS * array.array("i").itemsize)
        try:
            data, ancillary, flags, _ = await self._sock.recvmsg(READ, room, socket.MSG_CMSG_CLOEXEC)
        except (OSError, trio.ClosedResourceError) as error:
            raise ChannelBroken(str(error)) from None
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                found = array.array("i")
                found.frombytes(payload[: len(payload) - len(payload) % found.itemsize])
                self._descriptors.extend(found)
        if flags & socket.MSG_CTRUNC:
            raise ChannelBroken("descriptors were lost on the way; is the limit of open files reached?")
        if not data:
            raise ChannelBroken("the other process is gone")
        self._data += data

    def close(self) -> None:
        """Close it, with the descriptors that nobody has taken."""
        while self._descriptors:
            os.close(self._descriptors.popleft())
        self._sock.close()
