"""One server's redeploy: a successor on the same listening sockets takes the living connections, then the old one ends.

Four rules. A successor has a bounded time to become ready. If it fails before it has the sockets, the old one serves on
and nobody notices. When it has them, no old code keeps running. One redeploy at a time.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from belfry.supervisor import messages
from belfry.supervisor.child import Child, ChildFailed
from chat.handover.channel import Channel

if TYPE_CHECKING:
    from collections.abc import Callable

    from belfry.supervisor.child import Place

PREPARE_TIMEOUT = 60.0  # seconds from a successor's start until it waits for the sockets; 1.5 on an idle machine
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


async def replace(place: Place, old: Child, nursery: trio.Nursery, prepared: Callable[[str], None]) -> Replaced:
    """Replace the process of a place. `prepared` is called with the new version when the handover begins.

    Raises RedeployFailed when the old one serves on; and ChildFailed when neither lives.
    """
    try:
        new = Child.start(place, successor=True)
    except OSError as error:
        raise RedeployFailed(f"no process can be started: {error.strerror}") from None
    nursery.start_soon(new.watch)
    given = False
    try:
        version = await _until_prepared(new)
        prepared(version)
        ours, theirs = Channel.pair()
        with ours, theirs:
            await old.send(messages.GiveAway(), [ours.fileno()])
            given = True
            await new.send(messages.TakeOver(), [theirs.fileno()])
        serving = await _until_serving(new)
    except ChildFailed as failed:
        await new.end()
        await _old_goes_on(old, str(failed), asked=given)
        raise RedeployFailed(f"the successor failed: {failed}") from None
    except BaseException:
        with trio.CancelScope(shield=True):
            await new.end()
        raise
    await _until_ended(old)
    return Replaced(new, serving)


async def _until_prepared(new: Child) -> str:
    try:
        with trio.fail_after(PREPARE_TIMEOUT):
            return (await new.expect(messages.Prepared)).version
    except trio.TooSlowError:
        raise ChildFailed(f"it was not ready within {PREPARE_TIMEOUT:g} s") from None


async def _until_serving(new: Child) -> messages.Serving:
    try:
        with trio.fail_after(TAKE_TIMEOUT):
            return await new.expect(messages.Serving)
    except trio.TooSlowError:
        raise ChildFailed(f"it did not take over within {TAKE_TIMEOUT:g} s") from None


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


async def _until_ended(old: Child) -> None:
    with trio.move_on_after(END_TIMEOUT):
        await old.ended.wait()
    if old.alive:
        await old.end()


def now() -> float:
    """Unix seconds."""
    return time.time()
