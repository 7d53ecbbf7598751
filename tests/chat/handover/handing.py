"""Two chat servers in one loop, with a real channel between, and either side played by hand where a test breaks off."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
from typing import TYPE_CHECKING, Any

import trio
from chat_world import TOKENS, House

from bus.memory import Exchange
from chat.handover import record
from chat.handover.channel import Channel
from chat.handover.lock import NoLock
from chat.server import ChatServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from bus.bus import Bus
    from chat.handover.give import Given
    from chat.handover.lock import StoreLock

PATIENCE = 60.0  # seconds for a whole handover; milliseconds where nobody else works

Hooks = dict[type, "Callable[[], Awaitable[None]]"]


class Lock:
    """A store's lock that two sides share, and that tells in which order things happened."""

    def __init__(self, story: list[str], side: str, shared: trio.Semaphore) -> None:
        self._story, self._side, self._shared = story, side, shared

    async def take(self) -> None:
        await self._shared.acquire()
        self._story.append(f"{self._side} takes")

    def release(self) -> None:
        self._story.append(f"{self._side} releases")
        self._shared.release()


class Hooked(Channel):
    """A giver's channel that lets a test do something before a message of some kind goes out."""

    def __init__(self, sock: socket.socket, hooks: Hooks) -> None:
        super().__init__(sock)
        self._hooks = hooks

    async def send(self, message: bytes, descriptors: Sequence[int] = ()) -> None:
        hook = self._hooks.pop(type(record.decode_from_giver(message)), None)
        if hook is not None:
            await hook()
        await super().send(message, descriptors)


class Next(House):
    """The successor, and how it came to what it has."""

    given: Given


@contextlib.asynccontextmanager
async def handed_over(
    old: House,
    hooks: Hooks | None = None,
    *,
    bus: Bus | None = None,
    locks: tuple[StoreLock, StoreLock] | None = None,
    **config: Any,
) -> AsyncIterator[Next]:
    """The server that has taken everything over from another, which has ended or is about to."""
    ours, theirs = Channel.pair()
    giving, taking = locks or (NoLock(), NoLock())
    settings = dataclasses.replace(old.server.config, boot="next", **config)
    with socket.create_server(("127.0.0.1", 0), backlog=1_000) as listener:
        async with trio.open_nursery() as nursery, trio.open_nursery() as clients:
            server = ChatServer(settings, old.store, bus or Exchange().bus("next"), TOKENS)
            house = Next(server, old.store, clients)

            async def give() -> None:
                house.given = await old.server.hand_over(Hooked(ours, hooks or {}), giving)

            async def take(task_status: trio.TaskStatus[ChatServer] = trio.TASK_STATUS_IGNORED) -> None:
                await server.run([listener], predecessor=(Channel(theirs), taking), task_status=task_status)
                house.stopped.set()

            with trio.fail_after(PATIENCE):
                async with trio.open_nursery() as giver:
                    giver.start_soon(give)
                    await nursery.start(take)
            yield house
            clients.cancel_scope.cancel()
            nursery.cancel_scope.cancel()


class Peer:
    """The other side of a handover, played by the test."""

    def __init__(self, sock: socket.socket) -> None:
        self.channel = Channel(sock)
        self.descriptors: list[int] = []

    async def say(self, message: Any, descriptors: Sequence[int] = ()) -> None:
        await self.channel.send(record.encode(message), descriptors)

    async def hear(self, kind: type) -> Any:
        """The next message of this kind from a giver; those before it are passed over."""
        with trio.fail_after(PATIENCE):
            while True:
                message, descriptors = await self.channel.receive()
                self.descriptors += descriptors
                told = record.decode_from_giver(message)
                if isinstance(told, kind):
                    return told

    async def hear_taker(self, kind: type) -> Any:
        """The next message from a taker, which is of this kind."""
        with trio.fail_after(PATIENCE):
            message, _ = await self.channel.receive()
        told = record.decode_from_taker(message)
        assert isinstance(told, kind), told
        return told
