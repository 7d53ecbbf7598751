"""A thread that belongs to one connection: a call costs one wake-up there and one back.

Trio's `to_thread.run_sync` is made for calls that come seldom. Each passes a limiter and names its thread anew, and its
answer goes through Trio's entry queue: two more rounds of the event loop and six more system calls, a third of a
small commit's time. Here jobs go through a queue, and their end through a pipe on which the caller itself waits.
"""

from __future__ import annotations

import os
import queue
import threading
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")

DRAIN = 4_096  # bytes, one a job: more than can wait, since one caller at a time waits for one


class OwnThread:
    """Runs one job after another; ended by `stop`, or with the process."""

    def __init__(self, name: str) -> None:
        self._jobs: queue.SimpleQueue[_Job[Any] | None] = queue.SimpleQueue()
        self._heard, self._tell = os.pipe()
        os.set_blocking(self._heard, False)
        self._stopped = False
        self.busy = False  # a job is waited for
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """work(*args, **kwargs) in the thread; what it returns or raises. One caller at a time.

        Cancelled before, nothing is done; once handed over, the job is waited for, however long it takes.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._stopped:
            raise RuntimeError("this thread was stopped")
        job = _Job(lambda: work(*args, **kwargs))
        self.busy = True
        self._jobs.put(job)
        try:
            with trio.CancelScope(shield=True):  # without a timeout: nothing can be known of a job under way
                while not job.done:
                    await trio.lowlevel.wait_readable(self._heard)
                    os.read(self._heard, DRAIN)
        finally:
            self.busy = False
        return job.outcome()

    def stop(self) -> None:
        """End the thread behind the jobs that it was given; it has none that anybody waits for."""
        if not self._stopped:
            self._stopped = True
            self._jobs.put(None)
            self._thread.join()
            os.close(self._heard)
            os.close(self._tell)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job.run()
            os.write(self._tell, b"\0")
            del job  # idle, it must not keep the last one's values alive


class _Job(Generic[T]):
    """One call and what became of it."""

    __slots__ = ("_call", "_error", "_value", "done")

    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call
        self._value: T
        self._error: BaseException | None = None
        self.done = False

    def run(self) -> None:
        try:
            self._value = self._call()
        except BaseException as error:  # whatever it is, it is the caller's
            self._error = error
        self.done = True

    def outcome(self) -> T:
        if self._error is None:
            return self._value
        try:
            raise self._error
        finally:
            self._error = None  # else its traceback, with this frame, would be a cycle
