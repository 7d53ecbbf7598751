"""Moving clients away: `moving` to each shortly before its moment, 1012 to those who are still here after it."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from chat import wire
from chat.closing import MOVED
from chat.drain import CLOSING_MAX
from chat.frames import text_frame
from chat.pace import ANSWER_PATIENCE

if TYPE_CHECKING:
    from chat.drain import DrainPlan
    from chat.pace import Pacing
    from chat.session import Session
    from chat.sessions import Sessions

# Not earlier: who was not told yet is untouched when the drain is aborted. Not later: the frame needs to arrive.
LEAD = 0.25  # seconds
TICK = 0.02  # seconds between looks: at 500 clients a second ten in each, and as many tickets of 30 us
BEHIND = 0.1  # seconds late at which the rest of the plan is put off, as far as the deadline allows
SLICE = 100  # tickets signed between two checkpoints: 3 ms
TICKET_TTL = 60.0  # seconds after its moment that a ticket is good


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a drain has come; all zero when there is none."""

    to_move: int = 0
    moved: int = 0
    eta: float = 0.0  # seconds


class Mover:
    """Moves all sessions of one server. Cancel `move` to abort it: who was told goes, all others stay as they are."""

    def __init__(self, sessions: Sessions, pacing: Pacing) -> None:
        self._sessions = sessions
        self._pacing = pacing
        self._to_move = 0
        self._ends = 0.0  # when the plan is done, by the event loop's clock

    @property
    def progress(self) -> Progress:
        if not self._to_move:
            return Progress()
        left = len(self._sessions)
        eta = max(0.0, self._ends - trio.current_time()) if left else 0.0
        return Progress(self._to_move, max(0, self._to_move - left), eta)

    def seconds_at(self, per_second: float) -> float:
        """The deadline that a drain at this pace needs; 0 without one."""
        return len(self._sessions) / per_second + CLOSING_MAX + ANSWER_PATIENCE if per_second else 0.0

    def reset(self) -> None:
        """There is no drain any more: let clients in again."""
        self._sessions.draining = False
        self._to_move = 0

    async def move(self, deadline: float, per_second: float = 0.0) -> None:
        """Move everybody within `deadline` seconds; `per_second` is an operator's wish, 0 is none."""
        sessions = self._sessions
        sessions.draining = True
        self._to_move = max(self._to_move, len(sessions))  # a drain that goes on with another pace goes on counting
        if len(sessions):
            plan = await self._pacing.plan(len(sessions), deadline, per_second, direct=sessions.direct)
            everybody = list(sessions)
            random.shuffle(everybody)  # not those of one office, who came together, in one moment
            await self._spread(plan, everybody[: plan.sessions])
        await sessions.close_all(MOVED)

    async def _spread(self, plan: DrainPlan, everybody: list[Session]) -> None:
        sessions, urls = self._sessions, plan.urls()
        began, slack = trio.current_time(), plan.slack
        self._ends = began + plan.window
        told: deque[tuple[float, Session]] = deque()  # when its time is up
        index = 0
        while len(sessions) and (index < len(everybody) or told):
            late = trio.current_time() - began
            if index < len(everybody) and (behind := late - plan.moment(index)) > BEHIND and slack:
                # This process was held up. Those who are due now would all go at once: everybody is later instead.
                shift = min(behind, slack)
                began, late, slack = began + shift, late - shift, slack - shift
                self._ends += shift
            end = min(len(everybody), index + SLICE)
            while index < end and (moment := plan.moment(index)) <= late + LEAD:
                session, url = everybody[index], next(urls)
                if session in sessions:
                    session.outbox.post(self._moving(session, plan, moment - late, url))
                    told.append((moment + plan.grace, session))
                index += 1
            while told and told[0][0] <= late:
                session = told.popleft()[1]
                if session in sessions:
                    session.close(MOVED)
            # A slice that was used up may have more behind it that is due; all others are looked at by the next tick.
            await trio.sleep(0.0 if index == end < len(everybody) else TICK)

    def _moving(self, session: Session, plan: DrainPlan, wait: float, url: str | None) -> bytes:
        wait = max(0.0, wait)
        positions = {name: (live.order.epoch, live.order.head) for name, live in session.rooms.items()}
        ticket = self._sessions.tokens.ticket(session.identity, positions, wait + TICKET_TTL)
        return text_frame(
            wire.encode(
                wire.Moving(
                    not_before_ms=int(wait * 1_000),
                    window_ms=int(plan.window * 1_000),
                    ticket=ticket,
                    url=url or self._sessions.config.public_url,
                )
            )
        )
