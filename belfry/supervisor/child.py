"""One server process, as its supervisor sees it: started or adopted, spoken to, waited for."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import msgspec
import trio

from belfry.supervisor import inside, messages, orphans
from chat.handover.channel import Channel, ChannelBroken

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

T = TypeVar("T")

POLL = 0.05  # seconds between looks whether a process ended, where the kernel cannot tell it
ENDING = 10.0  # seconds from the end of the channel to that of the process: its interpreter closes down
ADOPT_TIMEOUT = 5.0  # seconds for an orphan's answer


class ChildFailed(Exception):
    """The process ended, fell silent, or said what makes no sense; str() is one line."""


@dataclass(slots=True)
class Place:
    """One server of the fleet: what is run for it, on which sockets; processes come and go."""

    name: str  # the server's id, for people
    command: Sequence[str]
    environ: Mapping[str, str]
    key: str  # what it serves, for finding its orphan
    port: int  # to listen on; 0 is any
    open_chat: Callable[[], list[socket.socket]]  # binds the sockets that are missing; raises Wrong
    open_tower: Callable[[], list[socket.socket]] = list
    chat: list[socket.socket] = field(default_factory=list)
    tower: list[socket.socket] = field(default_factory=list)

    def bind(self) -> None:
        """Open the listening sockets. Raises Wrong."""
        self.chat = self.open_chat()
        try:
            self.tower = self.open_tower()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the listening sockets here; the processes have their own."""
        for listener in (*self.chat, *self.tower):
            listener.close()


class Child:
    """One process. `watch` must run beside everything else that waits for it."""

    def __init__(
        self, pid: int, channel: Channel, process: subprocess.Popen[bytes] | None, *, ours: bool = False
    ) -> None:
        self.pid = pid
        self.channel = channel
        self.version = ""
        self.boot = ""
        self.code: int | None = None  # its exit code; None while it lives, or when it was never our child
        self.ended = trio.Event()
        self._process = process
        self._ours = ours  # our child, though started before an exec of ours

    @property
    def status(self) -> int:
        """Its exit code as shells have it: 128 + the signal that ended it; 0 while there is none."""
        code = self.code or 0
        return code if code >= 0 else 128 - code

    @classmethod
    def start(cls, place: Place, *, successor: bool) -> Child:
        """Start a process for this place. Raises OSError when it cannot be started."""
        ours, theirs = Channel.pair()
        try:
            descriptors = [theirs.fileno(), *(one.fileno() for one in (*place.chat, *place.tower))]
            environ = {
                **place.environ,
                inside.CONTROL: str(theirs.fileno()),
                inside.CHAT: _listed(place.chat),
                inside.TOWER: _listed(place.tower),
                inside.SUPERVISOR: str(os.getpid()),
                inside.KEY: place.key,
            }
            if successor:
                environ[inside.SUCCESSOR] = "1"
            # A session of its own: Ctrl-C and the end of the terminal are the supervisor's to judge.
            process = subprocess.Popen(
                place.command, env=environ, pass_fds=descriptors, stdin=subprocess.DEVNULL, start_new_session=True
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        return cls(process.pid, Channel(ours), process)

    @classmethod
    async def adopt(cls, place: Place, sock: socket.socket) -> Child:
        """Take an orphan, with its listening sockets, which become the place's. Raises ChildFailed."""
        channel = Channel(sock)
        try:
            with trio.fail_after(ADOPT_TIMEOUT):
                await channel.send(messages.encode(messages.Adopt(os.getpid())))
                message, descriptors = await channel.receive()
                told = messages.decode_from_server(message)
        except (ChannelBroken, msgspec.MsgspecError, trio.TooSlowError) as error:
            channel.close()
            raise ChildFailed(f"the server that runs already does not answer: {error}") from None
        if not isinstance(told, messages.Adopted):
            channel.close()
            raise ChildFailed("the server that runs already said something else than who it is")
        sockets = [socket.socket(fileno=one) for one in descriptors]
        place.chat, place.tower = sockets[: told.chat], sockets[told.chat :]
        child = cls(told.pid, channel, None)
        child.version, child.boot = told.version, told.boot
        return child

    # --- talking -----------------------------------------------------------------------------------------------

    async def send(self, message: messages.FromSupervisor, descriptors: Sequence[int] = ()) -> None:
        """Tell it something. Raises ChildFailed."""
        try:
            await self.channel.send(messages.encode(message), descriptors)
        except ChannelBroken as broken:
            raise ChildFailed(f"process {self.pid} cannot be told anything: {broken}") from None

    async def expect(self, kind: type[T]) -> T:
        """Its next message, which must be of this kind. Set the timeout around it. Raises ChildFailed."""
        told = await self.hear()
        if not isinstance(told, kind):
            why = f": {told.why}" if isinstance(told, messages.Kept) else ""
            raise ChildFailed(f"process {self.pid} said {type(told).__name__}{why}")
        return told

    async def hear(self) -> messages.FromServer:
        """Its next message. Raises ChildFailed when it ended, with its exit code if there is one."""
        try:
            message, _ = await self.channel.receive()
            told: messages.FromServer = messages.decode_from_server(message)
        except msgspec.MsgspecError as error:
            raise ChildFailed(f"process {self.pid} said what is not understood: {error}") from None
        except ChannelBroken:
            with trio.move_on_after(ENDING):
                await self.ended.wait()
            raise ChildFailed(f"process {self.pid} {self.fate()}") from None
        if isinstance(told, messages.Serving):
            self.version, self.boot = told.version, told.boot
        return told

    # --- its end -----------------------------------------------------------------------------------------------

    async def watch(self) -> None:
        """Set `ended` when the process is over, and reap it."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except (OSError, AttributeError):
            while self._lives():  # noqa: ASYNC110  # no kernel support: nothing wakes us
                await trio.sleep(POLL)
        else:
            try:
                await trio.lowlevel.wait_readable(descriptor)
            finally:
                os.close(descriptor)
        if self._process is not None:
            self.code = self._process.wait()
        elif self._ours:
            with suppress(ChildProcessError):
                self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])  # noqa: ASYNC222  # it is over
        self.ended.set()
        self.channel.close()

    def _lives(self) -> bool:
        if self._process is not None:
            return self._process.poll() is None
        if self._ours:
            with suppress(ChildProcessError):  # reaped already
                return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        return True

    @property
    def alive(self) -> bool:
        """Whether it had not ended when we last looked."""
        return not self.ended.is_set()

    def fate(self) -> str:
        """How it ended, in words."""
        if self.code is None:
            return "is gone" if self.ended.is_set() else "broke off"
        if self.code < 0:
            with suppress(ValueError):
                return f"was ended by {signal.Signals(-self.code).name}"
        return f"ended with exit code {self.code}"

    def signal(self, number: int) -> None:
        """Send it a signal; a process that is gone takes none."""
        if self.alive:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def end(self) -> None:
        """Kill it, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        await self.ended.wait()


def find_orphan(place: Place) -> socket.socket | None:
    """A connection to a server that serves this place without a supervisor, if there is one."""
    return orphans.find(place.key)


def _listed(sockets: Sequence[socket.socket]) -> str:
    return ",".join(str(one.fileno()) for one in sockets)
