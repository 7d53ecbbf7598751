"""One server's redeploy: a successor on the same listening sockets takes the living connections, then the old one ends.

Four rules. A successor has a bounded time to become ready. If it fails before it has the sockets, the old one serves on
and nobody notices. When it has them, no old code keeps running. One redeploy at a time.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from belfry.supervisor import messages
from belfry.supervisor.child import Child, ChildFailed
from chat.handover.channel import Channel

if TYPE_CHECKING:
    from collections.abc import Callable

    from belfry.supervisor.child import Place

TAKE_TIMEOUT = 45.0  # seconds for the handover; its own timeouts are shorter
END_TIMEOUT = 15.0  # seconds for the old process to finish its requests and end, after it gave everything
ANSWER_TIMEOUT = 10.0  # seconds for the old process to say that it serves on


class RedeployFailed(Exception):
    """Nothing has changed: the old process serves on. str() is one line."""


@dataclass(frozen=True, slots=True)
class Replaced:
    """How one server was replaced."""

    child: Child
    serving: messages.Serving


async def replace(
    place: Place, old: Child, nursery: trio.Nursery, patience: float, prepared: Callable[[str], None]
) -> Replaced:
    """Replace the process of a place; the old one is still to end (`until_ended`) when this returns.

    A successor has `patience` seconds to become ready. `prepared` is called with the new version when the handover
    begins. Cancelled, it leaves the old process alone there. Raises RedeployFailed when the old one serves on; and
    ChildFailed when neither lives.
    """
    try:
        new = Child.start(place, successor=True)
    except OSError as error:
        raise RedeployFailed(f"no process can be started: {error.strerror}") from None
    nursery.start_soon(new.watch)
    given = False
    try:
        version = await _until_prepared(new, patience)
        prepared(version)
        ours, theirs = Channel.pair()
        with theirs:
            with ours, suppress(ChildFailed):  # it has died: the successor hears that nobody is there, and begins
                await old.send(messages.GiveAway(), [ours.fileno()])
                given = True
            await new.send(messages.TakeOver(), [theirs.fileno()])
        serving, answer = await _until_serving(new, old)
        # Not to be cut short: from here on the sockets are the successor's, and this place is.
        with trio.CancelScope(shield=True):
            await _until_settled(old, answer)
    except _Kept as kept:
        await new.end()
        raise RedeployFailed(f"the handover failed: {kept}") from None
    except _BothGone:
        await new.end()
        raise
    except ChildFailed as failed:
        await new.end()
        await _old_goes_on(old, str(failed), asked=given)
        raise RedeployFailed(f"the successor failed: {failed}") from None
    except BaseException:
        with trio.CancelScope(shield=True):
            await new.end()
        raise
    return Replaced(new, serving)


class _Kept(Exception):
    """The old process says that it serves on, and why."""


class _BothGone(ChildFailed):
    """The old process gave everything to a successor that died."""


async def _until_prepared(new: Child, patience: float) -> str:
    try:
        with trio.fail_after(patience):
            return (await new.expect(messages.Prepared)).version
    except trio.TooSlowError:
        raise ChildFailed(f"it was not ready within {patience:g} s (--ready-deadline)") from None


async def _until_serving(new: Child, old: Child) -> tuple[messages.Serving, messages.FromServer | None]:
    """The successor's word that it serves, and the old one's if it came first.

    Raises ChildFailed, and _Kept or _BothGone as soon as the old one says so.
    """
    serving: messages.Serving | None = None
    failed: ChildFailed | None = None
    answer: messages.FromServer | None = None

    async def hear_new() -> None:
        nonlocal serving, failed
        try:
            serving = await new.expect(messages.Serving)
        except ChildFailed as error:
            failed = error
        nursery.cancel_scope.cancel()

    async def hear_old() -> None:
        # A successor that hangs is not waited for; one that the old process speaks to no more must not serve.
        nonlocal answer
        try:
            answer = await old.hear()
        except ChildFailed:
            return  # it is dead: the successor, which perhaps has everything, tells how that went
        if not _is_settled(answer):
            nursery.cancel_scope.cancel()

    with trio.move_on_after(TAKE_TIMEOUT):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hear_new)
            nursery.start_soon(hear_old)
    if serving is not None:
        return serving, answer
    if isinstance(answer, messages.Kept):
        raise _Kept(answer.why)
    if answer is not None:
        raise _BothGone(f"the successor failed right after it had the sockets: {failed or 'it fell silent'}")
    raise failed or ChildFailed(f"it did not take over within {TAKE_TIMEOUT:g} s")


def _is_settled(answer: messages.FromServer) -> bool:
    return isinstance(answer, messages.Gave) and answer.settled


async def _until_settled(old: Child, answer: messages.FromServer | None) -> None:
    """The old process's word that its successor lives. Raises _BothGone if it saw it die, _Kept if it gave nothing."""
    with trio.move_on_after(END_TIMEOUT), suppress(ChildFailed):  # dead itself: nobody can tell
        answer = answer or await old.hear()
    if isinstance(answer, messages.Kept):
        raise _Kept(answer.why)  # whatever the successor thinks: who has the connections serves on
    if answer is not None and not _is_settled(answer):
        raise _BothGone("the successor failed right after it had the sockets")


async def _old_goes_on(old: Child, why: str, *, asked: bool) -> None:
    """Hear from the old process that it serves on. Raises ChildFailed if it does not."""
    if not old.alive:
        raise ChildFailed(f"the old process {old.fate()}, and its successor failed: {why}")
    if not asked:
        return
    try:
        with trio.fail_after(ANSWER_TIMEOUT):
            told = await old.hear()
    except trio.TooSlowError:
        raise ChildFailed(f"the old process does not say that it serves on; the successor failed: {why}") from None
    if not isinstance(told, messages.Kept):
        raise ChildFailed(f"the successor died right after it had the sockets: {why}")


async def until_ended(old: Child, seconds: float = END_TIMEOUT) -> None:
    """Let a process that gave everything end, and end it if it does not."""
    with trio.move_on_after(seconds):
        await old.ended.wait()
    if old.alive:
        await old.end()


def now() -> float:
    """Unix seconds."""
    return time.time()
