"""The supervisor's life: it starts or adopts a server for each place, restarts what crashes, redeploys on SIGHUP.

It holds the listening sockets for ever, so that nobody is refused a connection while processes come and go, and after
a redeploy it replaces itself by the code on the disk too (`again.py`). Killed, it leaves its servers serving; the next
one adopts them (`orphans.py`).
"""

from __future__ import annotations

import os
import secrets
import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from belfry.listen import url
from belfry.supervisor import again, messages
from belfry.supervisor.child import Child, ChildFailed, find_orphan
from belfry.supervisor.redeploy import RedeployFailed, now, replace, until_ended
from belfry.supervisor.story import Story

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    import structlog

    from belfry.notify import Notifier
    from belfry.supervisor.child import Place

SIGNALS = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)
STABLE = 60.0  # seconds a process must have lived for its next crash to be its first
BACKOFF = (0.2, 30.0)  # seconds before a crashed server is started again: the first time, and at most
GOODBYE = 3.0  # seconds for a server whose successor died to send its clients away; its own wait is 2.5
STEADY = 0.1  # seconds between looks whether all servers live, before the supervisor begins again
KILL_AFTER = 7.0  # seconds past the drain's deadline until a server that does not end is killed; it gives up at 2


@dataclass(slots=True)
class Post:
    """A place and the process that is there now. Whoever replaces the process holds `turn`."""

    place: Place
    child: Child | None = None
    since: float = 0.0  # when its process began, by trio's clock
    crashes: int = 0  # in a row
    turn: trio.Lock = field(default_factory=trio.Lock)


class Supervisor:
    """One fleet on one host."""

    def __init__(
        self,
        places: Sequence[Place],
        fleet: str,
        deadline: float,
        patience: float,
        logger: structlog.stdlib.BoundLogger,
        notifier: Notifier,
    ) -> None:
        self._posts = [Post(place) for place in places]
        self._fleet = fleet
        self._deadline = deadline  # seconds a server's stop takes at most
        self._patience = patience  # seconds for a process to become ready
        self._logger = logger
        self._notifier = notifier
        self._stopping = False
        self._served = False  # whether all was ready once
        self._redeploy = trio.Event()
        self._redeploying = False
        self._work = trio.CancelScope()  # starts, restarts and redeploys
        self._code = 0
        self.again: again.State | None = None  # what the next supervisor in this process needs
        self._nursery: trio.Nursery

    async def run(self, before: again.State | None) -> int:
        """Supervise until stopped; the exit code. With `before` our servers run already, from before an exec."""
        _heed_signals()
        with trio.open_signal_receiver(*SIGNALS) as signals:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            async with trio.open_nursery() as self._nursery:
                self._nursery.start_soon(self._obey, signals)
                self._notifier.status("starting")
                with self._work:
                    await self._supervise(before)
                if self.again is None:
                    await self._end_all()
                self._nursery.cancel_scope.cancel()
        return self._code

    async def _supervise(self, before: again.State | None) -> None:
        """Start all and keep all, until cancelled by a stop; returns when a start fails or we begin again."""
        if before is not None:
            self._go_on(before)
        elif not await self._start_all():
            return
        self._served = True
        self._notifier.ready(self._status())
        async with trio.open_nursery() as keeping:
            for post in self._posts:
                keeping.start_soon(self._keep, post)
            await self._redeploys()
            keeping.cancel_scope.cancel()

    def _status(self) -> str:
        return "serving on " + ", ".join(url(post.place.chat[0]) for post in self._posts)

    # --- the start ---------------------------------------------------------------------------------------------

    async def _start_all(self) -> bool:
        async with trio.open_nursery() as starting:
            for post in self._posts:
                starting.start_soon(self._start_first, post)
        return not self._code

    async def _start_first(self, post: Post) -> None:
        try:
            await self._start(post, adopt=True)
        except (ChildFailed, OSError) as failed:
            self._logger.debug(f"{post.place.name} did not start: {failed}")  # it has said why itself
            code = post.child.code if post.child is not None else None
            self._code = code if code is not None and code > 0 else 1

    async def _start(self, post: Post, *, adopt: bool = False) -> None:
        """Start the place's process, or take the one that runs. Raises ChildFailed, OSError."""
        orphan = find_orphan(post.place) if adopt else None
        if orphan is not None:
            child = await Child.adopt(post.place, orphan)
            self._take(post, child)
            await self._adopted(post, child)
            return
        if not post.place.chat:  # the orphan that had them has ended meanwhile
            post.place.bind()
        child = Child.start(post.place, successor=False)
        self._take(post, child)
        try:
            with trio.fail_after(self._patience):
                await child.expect(messages.Serving)
        except trio.TooSlowError:
            await child.end()
            self._logger.error(f"{post.place.name} was not ready within {self._patience:g} s (--ready-deadline)")
            raise ChildFailed(f"it was not ready within {self._patience:g} s") from None

    async def _adopted(self, post: Post, child: Child) -> None:
        """Keep what runs already, if it listens where it should; else move its clients and start it there."""
        place = post.place
        here = place.chat[0].getsockname()[1]
        if place.port in (0, here):
            self._logger.warning(
                f"{place.name} runs already: adopted, with its connections; open {url(place.chat[0])}", pid=child.pid
            )
            return
        self._logger.warning(f"{place.name} runs already, but on port {here}: it is stopped first", pid=child.pid)
        child.signal(signal.SIGTERM)
        await child.ended.wait()
        place.bind()
        await self._start(post)

    def _take(self, post: Post, child: Child) -> None:
        post.child, post.since = child, trio.current_time()
        self._nursery.start_soon(child.watch)

    def _go_on(self, before: again.State) -> None:
        for post, child in zip(self._posts, before.children(), strict=True):
            self._take(post, child)

    # --- crashes -----------------------------------------------------------------------------------------------

    async def _keep(self, post: Post) -> None:
        """Start the place's process again whenever it ends, until we stop."""
        while post.child is not None:
            child = post.child
            await child.ended.wait()
            async with post.turn:
                if post.child is child:
                    await self._restart(post, child)

    async def _restart(self, post: Post, child: Child) -> None:
        if trio.current_time() - post.since > STABLE:
            post.crashes = 0
        delay = min(BACKOFF[0] * 2**post.crashes, BACKOFF[1])
        post.crashes += 1
        self._logger.error(
            f"{post.place.name} {child.fate()}; started again in {delay:.1f} s", pid=child.pid, crashes=post.crashes
        )
        await trio.sleep(delay)
        try:
            await self._start(post)
            assert post.child is not None
            self._logger.info(f"{post.place.name} serves again", pid=post.child.pid)
        except (ChildFailed, OSError) as failed:
            self._logger.error(f"{post.place.name} could not be started: {failed}")

    # --- redeploys ---------------------------------------------------------------------------------------------

    async def _redeploys(self) -> None:
        while True:
            await self._redeploy.wait()
            self._redeploy = trio.Event()
            self._notifier.reloading()
            self._redeploying = True
            done = await self._roll()
            self._redeploying = False
            self._notifier.ready(self._status())
            if done and await again.can_begin(self._logger):
                await self._begin_again()
                if self.again is not None:
                    return

    async def _begin_again(self) -> None:
        """Make `again`, unless another redeploy comes first; signals are blocked then, until the next one listens."""
        while not self._redeploy.is_set():
            if not self._steady():
                await trio.sleep(STEADY)
                continue
            # The default action of these is to end the process.
            signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
            try:
                for _ in range(3):  # signals that came before are heard now
                    await trio.lowlevel.checkpoint()
                if self._steady() and not self._redeploy.is_set():
                    self.again = again.State.of(self._posts)
                    return
            finally:
                if self.again is None:
                    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def _steady(self) -> bool:
        """Whether each server lives and nobody is about to replace it."""
        return all(post.child is not None and post.child.alive and not post.turn.locked() for post in self._posts)

    async def _roll(self) -> bool:
        """Replace one server after the other; False at the first that stays as it was."""
        story = Story(secrets.token_hex(4), self._fleet, len(self._posts))
        first = self._posts[0].child
        await self._tell(story, story.began(first.version if first is not None else "", now()))
        self._logger.info(f"redeploying {self._fleet}")
        for index, post in enumerate(self._posts, start=1):
            async with post.turn:
                why = await self._replace(post, story, index)
            if why:
                await self._tell(story, story.failed(post.place.name, index, why, now()))
                self._logger.error(f"redeploy failed, {post.place.name} stays as it was: {why}")
                return False
        assert post.child is not None
        await self._tell(story, story.done(post.child.version, now()))
        self._logger.info(
            story.verdict(), moved=story.moved, drained=story.drained, stall_ms=round(story.longest_stall_ms, 1),
            version=post.child.version,
        )  # fmt: skip
        return True

    async def _replace(self, post: Post, story: Story, index: int) -> str:
        """Replace one server; why it failed, "" when it did not."""
        name, old = post.place.name, post.child
        assert old is not None
        await self._tell(story, story.starting(name, index, old.version, now()))

        def prepared(version: str) -> None:
            step = story.handing(name, index, old.version, version, now())
            self._nursery.start_soon(self._tell, story, step)

        try:
            replaced = await replace(post.place, old, self._nursery, self._patience, prepared)
        except RedeployFailed as failed:
            return str(failed)
        except ChildFailed as failed:
            return await self._begin_anew(post, story, index, str(failed))
        post.child, post.since = replaced.child, trio.current_time()
        with trio.CancelScope(shield=True):  # a stop waits for this: afterwards there is one process here
            await until_ended(old)
        told = replaced.serving
        step = story.handed(name, index, told.version, told.moved, told.left_behind, told.stall_ms, now())
        await self._tell(story, step)
        return ""

    async def _begin_anew(self, post: Post, story: Story, index: int, why: str) -> str:
        """Both processes are gone: the clients come back by themselves, to one that is started now."""
        self._logger.error(f"{post.place.name}: {why}; it is started anew")
        assert post.child is not None
        await until_ended(post.child, GOODBYE)
        try:
            await self._start(post)
        except (ChildFailed, OSError) as failed:
            return f"{why}; and it cannot be started: {failed}"
        await self._tell(story, story.handed(post.place.name, index, post.child.version, 0, 0, 0.0, now()))
        return ""

    async def _tell(self, story: Story, _: object) -> None:
        """Tell the towers the story so far, through every server: one that has just begun knows nothing of it."""
        for post in self._posts:
            if post.child is not None and post.child.alive:
                try:
                    with trio.move_on_after(1.0):
                        await post.child.send(messages.Say(list(story.steps)))
                except ChildFailed:
                    continue  # its end is seen by who watches it

    # --- signals -----------------------------------------------------------------------------------------------

    async def _obey(self, signals: AsyncIterator[int]) -> None:
        async for number in signals:
            name = signal.Signals(number).name
            if number == signal.SIGHUP and not _hung_up():
                if self._stopping:
                    self._logger.warning("SIGHUP: this fleet is stopping; nothing is redeployed")
                elif self._redeploy.is_set():
                    self._logger.info("SIGHUP: a redeploy waits already")
                else:
                    later = ", after the one under way" if self._redeploying else ""
                    self._logger.info(f"SIGHUP: redeploying with the code on the disk{later}")
                    self._redeploy.set()
                continue
            if self._stopping:
                self._logger.warning(f"{name}: stopped at once")
                # What was acknowledged is durable, so this is as good as asking them to end at once, and surer.
                self._code = 128 + number
                self._signal_all(signal.SIGKILL)
                continue
            self._logger.info(f"{name}: stopping, in {self._deadline:g} s at most; a second one stops at once")
            self._begin_stop()

    def _begin_stop(self) -> None:
        if self._stopping:
            return
        self._stopping = True
        if self._served:
            self._notifier.stopping(f"moving its clients, in {self._deadline:g} s at most")
        self._work.cancel()

    async def _end_all(self) -> None:
        self._stopping = True
        async with trio.open_nursery() as ending:
            for post in self._posts:
                ending.start_soon(self._end, post)

    async def _end(self, post: Post) -> None:
        async with post.turn:
            child = post.child
            if child is None or not child.alive:  # how that one ended was told
                return
            child.signal(signal.SIGTERM)
            with trio.move_on_after(self._deadline + KILL_AFTER):
                await child.ended.wait()
            if child.alive:
                self._logger.error(f"{post.place.name} does not end and is killed", pid=child.pid)
                await child.end()
            self._code = self._code or child.status

    def _signal_all(self, number: int) -> None:
        for post in self._posts:
            if post.child is not None:
                post.child.signal(number)


def _heed_signals() -> None:
    """Block our signals, and let none of them be ignored from now on.

    Under nohup, and in the background of a shell, some begin that way. While we begin again they are blocked and wait,
    and whichever handler was there before ours is put back: a signal that waits when it becomes an ignored one is lost.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    for number in SIGNALS:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


def _hung_up() -> bool:
    """Whether the terminal that we were started from is gone: then SIGHUP tells of its end, and of no redeploy."""
    if not _had_terminal:
        return False
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return True
    return False


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


_had_terminal = _has_terminal()
