"""The server's side of the control channel: what it is given at the start, and what its supervisor asks of it later."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import msgspec
import trio

from belfry.supervisor import messages, orphans
from chat.handover.channel import Channel, ChannelBroken
from chat.handover.give import HandoverFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, MutableMapping, Sequence, Sized

    import structlog

    from bus.events import Rollout
    from chat.handover.give import Given
    from chat.handover.lock import StoreLock

# Not BELFRY_...: those are settings, and a person is told of one that is not known.
CONTROL = "INSIDE_BELFRY_CONTROL"  # the control channel's descriptor
CHAT = "INSIDE_BELFRY_CHAT"  # descriptors of the listening sockets for the chat, with commas between
TOWER = "INSIDE_BELFRY_TOWER"  # and for the tower
SUCCESSOR = "INSIDE_BELFRY_SUCCESSOR"  # there if it follows another process
SUPERVISOR = "INSIDE_BELFRY_SUPERVISOR"  # the supervisor's pid
KEY = "INSIDE_BELFRY_KEY"  # what it serves, for the name at which it waits as an orphan
NAME_RETRY = 0.2  # seconds; the process that has the name ends within two
ADOPT_TIMEOUT = 2.0  # seconds for a new supervisor to say what it wants
IDLE = 30.0  # seconds without a supervisor and without anybody connected, in `belfry up`

VARIABLES = (CONTROL, CHAT, TOWER, SUCCESSOR, SUPERVISOR, KEY)


class Server(Protocol):
    """What of chat's server is needed here."""

    @property
    def sessions(self) -> Sized:
        """Who is connected."""

    def drain(self) -> None:
        """Begin the planned stop."""

    async def hand_over(self, channel: Channel, lock: StoreLock) -> Given:
        """Give everything away. Raises HandoverFailed."""


@dataclass(slots=True)
class Inside:
    """What a server that has a supervisor knows of it."""

    control: socket.socket
    chat: list[socket.socket]
    tower: list[socket.socket]
    successor: bool
    supervisor: int  # pid
    key: str
    _channel: Channel | None = field(default=None)

    @property
    def channel(self) -> Channel:
        """The control channel; to be used inside the event loop."""
        if self._channel is None:
            self._channel = Channel(self.control)
        return self._channel

    async def predecessor(self, version: str) -> Channel:
        """Say that all is prepared, and wait for the process whose sockets we take. Raises ChannelBroken."""
        await self.tell(messages.Prepared(version))
        while True:
            message, descriptors = await self.channel.receive()
            if isinstance(messages.decode_from_supervisor(message), messages.TakeOver):
                return Channel(socket.socket(fileno=descriptors[0]))

    async def tell(self, message: messages.FromServer, descriptors: Sequence[int] = ()) -> None:
        """Tell the supervisor. Raises ChannelBroken."""
        await self.channel.send(messages.encode(message), descriptors)

    async def obey(
        self,
        server: Server,
        lock: StoreLock,
        say: Callable[[Rollout], None],
        who: messages.Adopted,
        logger: structlog.stdlib.BoundLogger,
    ) -> None:
        """Do what the supervisor asks; when it is gone serve on, and wait for the next one. Until cancelled.

        A server of `belfry up` that nobody supervises and nobody is connected to ends after a while (IDLE): the person
        who killed its supervisor has forgotten it.
        """
        while True:
            try:
                async with trio.open_nursery() as nursery:
                    while True:
                        message, descriptors = await self.channel.receive()
                        asked = messages.decode_from_supervisor(message)
                        if isinstance(asked, messages.GiveAway):
                            # In a task of its own: the supervisor's death must be seen meanwhile.
                            nursery.start_soon(self._give, server, lock, descriptors[0])
                        elif isinstance(asked, messages.Say):
                            for step in asked.steps:
                                say(step)
            except* (ChannelBroken, msgspec.MsgspecError):
                pass
            self.channel.close()
            logger.warning("the supervisor is gone; serving on, and waiting for the next one", pid=os.getpid())
            async with trio.open_nursery() as nursery:
                if self.tower:
                    nursery.start_soon(self._end_when_forgotten, server, logger)
                await self._adopted(who)
                nursery.cancel_scope.cancel()
            logger.info("a new supervisor has taken this server", supervisor=self.supervisor)

    async def _end_when_forgotten(self, server: Server, logger: structlog.stdlib.BoundLogger) -> None:
        idle = 0.0
        while idle < IDLE:
            await trio.sleep(IDLE / 10)
            idle = idle + IDLE / 10 if len(server.sessions) == 0 else 0.0
        logger.warning("nobody supervises this server and nobody is connected to it: it ends")
        server.drain()

    async def _give(self, server: Server, lock: StoreLock, descriptor: int) -> None:
        told: messages.FromServer
        try:
            given = await server.hand_over(Channel(socket.socket(fileno=descriptor)), lock)
            told = messages.Gave(given.moved, given.left_behind, given.settled)
        except HandoverFailed as failed:
            told = messages.Kept(str(failed))
        with suppress(ChannelBroken):  # the reading side hears of it too
            await self.tell(told)

    async def _adopted(self, who: messages.Adopted) -> None:
        """Wait until a supervisor comes, and give it our listening sockets."""
        while (waiting := orphans.wait_at(self.key)) is None:  # noqa: ASYNC110  # the kernel's name: no event tells
            # There are no such names here, or the process whose sockets we took has not ended yet.
            await trio.sleep(NAME_RETRY)
        try:
            while True:
                await trio.lowlevel.wait_readable(waiting)
                try:
                    sock, _ = waiting.accept()
                except OSError:
                    continue
                if not orphans.is_ours(sock):
                    sock.close()
                    continue
                if await self._heard_adopt(Channel(sock), who):
                    return
        finally:
            waiting.close()

    async def _heard_adopt(self, channel: Channel, who: messages.Adopted) -> bool:
        """Whether it is a supervisor at the other end, who has our listening sockets now."""
        with suppress(ChannelBroken, msgspec.MsgspecError), trio.move_on_after(ADOPT_TIMEOUT):
            message, _ = await channel.receive()
            asked = messages.decode_from_supervisor(message)
            if isinstance(asked, messages.Adopt):
                await channel.send(messages.encode(who), [one.fileno() for one in (*self.chat, *self.tower)])
                self._channel, self.supervisor = channel, asked.pid
                return True
        channel.close()
        return False


def inside(environ: MutableMapping[str, str]) -> Inside | None:
    """What the environment says of a supervisor, taken out of it; None when nobody supervises."""
    given: Mapping[str, str] = {name: environ.pop(name) for name in VARIABLES if name in environ}
    if CONTROL not in given:
        return None
    return Inside(
        _sockets(given[CONTROL])[0], _sockets(given.get(CHAT, "")), _sockets(given.get(TOWER, "")),
        SUCCESSOR in given, int(given[SUPERVISOR]), given[KEY],
    )  # fmt: skip


def _sockets(descriptors: str) -> list[socket.socket]:
    found = []
    for one in filter(None, descriptors.split(",")):
        sock = socket.socket(fileno=int(one))
        os.set_inheritable(sock.fileno(), False)
        found.append(sock)
    return found
