"""How fast the clients of a drain may go, and where to: asked of the towers, or found by oneself."""

from __future__ import annotations

import logging
import math
import secrets
import time
from typing import TYPE_CHECKING

import trio

from bus.events import Leaving
from chat.drain import evenly, fastest, plan_drain, sound
from chat.others import OWN_PACE, own_url

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bus.events import Event, Pace, Target
    from chat.config import Config
    from chat.drain import DrainPlan
    from chat.others import Others

log = logging.getLogger("belfry.chat.drain")

ANSWER_PATIENCE = 1.0  # seconds; a tower answers in milliseconds, and one that is down must not hold a stop up


class Pacing:
    """Makes the plan of a drain."""

    def __init__(
        self, config: Config, others: Others, publish: Callable[[Event], None], bus_works: Callable[[], bool]
    ) -> None:
        self._config = config
        self._others = others
        self._publish = publish
        self._bus_works = bus_works
        self._asked = ""
        self._answered = trio.Event()
        self._answer: Pace | None = None

    def heard(self, pace: Pace) -> None:
        """A tower answers somebody; the first answer to us counts."""
        if pace.ask == self._asked and pace.id == self._config.server_id and self._answer is None:
            self._answer = pace
            self._answered.set()

    async def plan(self, sessions: int, deadline: float, per_second: float, *, direct: bool) -> DrainPlan:
        """The plan for so many clients, `deadline` seconds from now; `per_second` is an operator's wish, 0 is none.

        `direct`: clients come to where this server listens, so that others' addresses mean something to them too.
        """
        began = now = trio.current_time()
        others = self._others.ready(now)
        answer = await self._ask(sessions, deadline, per_second) if others and self._bus_works() else None
        deadline -= trio.current_time() - began
        pace = per_second or self._others.pace(now) or self._config.limits.handshakes_per_second or OWN_PACE
        targets = evenly(self._others.urls(now))
        if answer is not None:
            if math.isfinite(answer.per_second) and answer.per_second > 0.0:
                pace = answer.per_second
            else:
                log.warning("a tower answered with a pace of %s clients/s: our own instead", answer.per_second)
            targets = self._of_answer(answer.targets, targets)
        if not (self._config.public_url or direct):
            targets = ()  # a proxy stands before us, and nobody told where: others' addresses are no use to clients
        plan = plan_drain(sessions, deadline, pace, taken_over=bool(others), targets=targets)
        if fastest(deadline, sessions) > pace:
            log.warning(
                "%d clients in %.1f s are %.0f a second, more than the %.0f the others are meant to get",
                sessions, plan.window, fastest(deadline, sessions), pace,
            )  # fmt: skip
        whose = "the tower's pace" if answer is not None else "our own pace"
        to = ", ".join(target.url for target in plan.targets) or "the address they have"
        log.info("moving %d clients over %.1f s, %s, to %s", sessions, plan.window, whose, to)
        return plan

    def _of_answer(self, told: Sequence[Target], known: tuple[Target, ...]) -> tuple[Target, ...]:
        if not told:
            return ()
        own = own_url(self._config)
        good = sound(told, own)
        if not good and any(target.url != own for target in told):  # else all have one address, a balancer's
            log.warning("a tower sent our clients to %s: spread over the others instead", told[0].url)
        return good or known

    async def _ask(self, sessions: int, deadline: float, per_second: float) -> Pace | None:
        config = self._config
        self._asked, self._answer, self._answered = secrets.token_hex(8), None, trio.Event()
        self._publish(
            Leaving(config.server_id, config.boot, self._asked, sessions, deadline, per_second, made_at=time.time())
        )
        with trio.move_on_after(min(ANSWER_PATIENCE, deadline / 4)):
            await self._answered.wait()
        self._asked = ""
        return self._answer
