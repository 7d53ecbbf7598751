"""`belfry up` on a copy of the code that a test may change and break, and clients that talk while it is redeployed."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio
from chat_world import until

import belfry
from belfry.audit.address import read_address
from belfry.audit.run import Load, Run
from belfry.supervisor.again import VARIABLE
from tests.faults.process import ServerProcess, lives
from tests.faults.story import Story, new_seed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from belfry.audit.verdict import Verdict

ROOT = Path(belfry.__file__).resolve().parent.parent
PACKAGES = ("belfry", "bus", "chat", "db", "tower")
TALK_TIMEOUT = 400.0  # seconds from the first client to the verdict; fifty times less on an idle machine
FAULT = "FAULT"  # the file that names the fault to come, and how
FAULTY = f"""\
import os, time

def at(place):
    try:
        with open({FAULT!r}) as file:
            wanted, how = file.read().split()
    except FileNotFoundError:
        return
    if wanted != place:
        return
    os.unlink({FAULT!r})
    if how == "kill":
        os.kill(os.getpid(), 9)
    elif how == "raise":
        raise RuntimeError("a fault on purpose")
    elif how == "pause":
        time.sleep(1)
    elif how == "stop":
        os.kill(os.getpid(), 19)
    else:
        time.sleep(1_000)
"""

# Places in the code at which a fault may happen: the line before which it does.
GIVER = {
    "giver-offered": ("chat/handover/give.py", "        answer = await self._hear()"),
    "giver-told": ("chat/handover/give.py", "        await self._say(record.AllTold())"),
    "giver-frozen": ("chat/handover/give.py", "        self._released = True"),
    "giver-over": ("chat/handover/give.py", "        if not isinstance(await self._hear(), record.Taken):"),
    "giver-gone": ("chat/handover/give.py", "        settled = None"),
}
TAKER = {
    "taker-start": ("belfry/up.py", "            successor = within is not None and within.successor"),
    "taker-prepared": ("belfry/up.py", "                    run = partial(run, predecessor="),
    "taker-offered": ("chat/handover/take.py", "        await self._say(record.Accept())"),
    "taker-told": ("chat/handover/take.py", "        await self._say(record.Ready())"),
    "taker-over": ("chat/handover/take.py", "                await self._lock.take()"),
    "taker-taken": ("chat/handover/take.py", "            await self._say(record.Taken())"),
    "taker-gone": ("chat/handover/take.py", "        return self._begin(over)"),
    "taker-serving": ("chat/handover/take.py", "            await trio.sleep(SETTLE)"),
}


class Supervised(ServerProcess):
    """A process that supervises servers."""

    def records(self) -> list[dict[str, Any]]:
        """What it logged."""
        said = []
        for line in self.log.read_text(errors="replace").splitlines():
            with contextlib.suppress(ValueError):
                record = json.loads(line)
                if isinstance(record, dict) and "event" in record:
                    said.append(record)
        return said

    def lines(self) -> list[str]:
        """What it logged, the words only."""
        return [str(record["event"]) for record in self.records()]

    async def until_told_by_anybody(self, what: str) -> None:
        """Wait until a process of it has logged this, the supervisor or one that lost it."""
        await until(lambda: what in "\n".join(self.lines()))

    async def redeploy(self) -> str:
        """SIGHUP, and wait until it is over; the line that tells how it went."""
        before = len(self.ends())
        self.signal(signal.SIGHUP)
        await until(lambda: len(self.ends()) > before)
        return self.ends()[-1]

    def ends(self) -> list[str]:
        """How each redeploy went, in a line."""
        return [line for line in self.lines() if line.startswith(("redeployed ", "redeploy failed"))]


class Redeployed(Supervised):
    """`belfry up` that runs from its own copy of the packages."""

    def __init__(self, data: Path, *flags: str) -> None:
        always = ("--reconnect-window", "0.5", "--drain-deadline", "10", "--send-rate", "0", "--tower-port", "0")
        super().__init__(data, *always, *flags)
        self.cwd = self.code = data.with_suffix(".code")
        for package in PACKAGES:  # with what was compiled: it goes by the sources' times, which are kept
            shutil.copytree(ROOT / package, self.code / package)
        (self.code / "faulty.py").write_text(FAULTY)

    def edit(self, path: str, old: str, new: str) -> None:
        """Change the code on the disk."""
        text = (self.code / path).read_text()
        assert text.count(old) == 1, (path, text.count(old), old)
        (self.code / path).write_text(text.replace(old, new))

    def make_faulty(self) -> None:
        """Let the code fail at the places of GIVER and TAKER, when it is told to."""
        for name, (path, line) in (GIVER | TAKER).items():
            self.edit(path, line, " " * (len(line) - len(line.lstrip())) + f'__import__("faulty").at("{name}")\n{line}')

    def plan(self, place: str, how: str) -> None:
        """The next process that comes to this place fails there, once."""
        (self.code / FAULT).write_text(f"{place} {how}")

    @property
    def planned(self) -> bool:
        """Whether the planned fault is still to come."""
        return (self.code / FAULT).exists()

    async def until_begun_again(self) -> None:
        """Wait until the supervisor has replaced itself: the environment it began with has what it told itself."""
        assert self.process is not None
        environ = Path(f"/proc/{self.process.pid}/environ")
        await until(lambda: VARIABLE.encode() in environ.read_bytes())

    @property
    def server(self) -> int:
        """The pid of the one server process."""
        (pid,) = self.servers()
        return pid

    async def until_alone(self) -> None:
        """Wait until the supervisor has one server process."""
        await until(lambda: len(self.servers()) == 1)

    async def end(self) -> None:
        """Be gone, with all that was left behind."""
        await super().end()
        for pid in self.left():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def left(self) -> list[int]:
        """The processes that run from this copy of the code."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                with contextlib.suppress(OSError):
                    if (entry / "cwd").resolve() == self.code.resolve() and lives(int(entry.name)):
                        found.append(int(entry.name))
        return found


class Talk:
    """Clients that talk, and what became of them."""

    def __init__(self, server: Redeployed, run: Run) -> None:
        self.server = server
        self.run = run
        self.story = Story()
        self.verdict: Verdict | None = None

    def reconnects(self) -> list[int]:
        """How often each client has lost its connection so far."""
        return [client.reconnects for client in self.run.clients]

    async def until_all_are_back(self) -> None:
        """Wait until everybody is in all their rooms."""
        await until(lambda: self.run.connected == len(self.run.clients))

    async def until_acked(self, count: int = 20) -> None:
        """Wait until so many more sends were acknowledged."""
        enough = self.run.meter.acked + count
        await until(lambda: self.run.meter.acked >= enough)

    def about(self) -> str:
        """All of it."""
        return self.story.about(self.run, self.server)


@contextlib.asynccontextmanager
async def talking(
    server: Redeployed, clients: int = 30, rate: float = 60.0, *, through: str = ""
) -> AsyncIterator[Talk]:
    """Clients talk while the block runs, to the server or through a proxy; at its end every promise must have held."""
    load = Load(clients, 4, rate, math.inf, new_seed(), settle=60.0, backoff_cap=0.7)
    talk = Talk(server, Run(load, read_address(through or server.url), store=server.history))
    talk.run.also = talk.story.observe

    async def run() -> None:
        talk.verdict = await talk.run.run()

    with _telling(talk), trio.fail_after(TALK_TIMEOUT):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            await talk.run.talking.wait()
            await talk.until_all_are_back()
            yield talk
            await talk.until_acked()
            talk.run.stop.set()
    verdict = talk.verdict
    assert verdict is not None
    assert verdict.ok, talk.about()
    assert talk.run.settled, talk.about()
    assert not talk.run.meter.stopped, talk.about()
    assert verdict.counts.gaps == verdict.counts.unacknowledged == verdict.counts.refused == 0, talk.about()
    assert verdict.counts.acked > 20, talk.about()


@contextlib.contextmanager
def _telling(talk: Talk) -> Iterator[None]:
    try:
        yield
    except BaseException:
        print(talk.about())
        raise
    finally:
        print("\n".join(talk.story.events))
