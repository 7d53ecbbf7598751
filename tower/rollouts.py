"""Rollouts as stories: a fold over the steps that supervisors tell, each with its verdict. Pure.

A step that is told twice, late or in another order changes nothing that it should not: a story is the set of its steps.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from db.records import RolloutRecord
from tower.views import RolloutView, StepView

if TYPE_CHECKING:
    from bus.events import Rollout
    from tower.fleet import Server
    from tower.views import StoryState

KEPT = 100  # stories in memory, 2 KB each; the database has them all
STEPS = 1_000  # of one story: 250 servers; a supervisor that repeats itself with new words must not fill memory
SILENT = 300.0  # seconds without a step after which a rollout has failed: a drain's deadline and a start take less

BEGAN, DONE, FAILED = "began", "done", "failed"
GOING = ("starting", "handing")
OVER = ("handed", "drained")  # a server whose turn is over: it runs the new code


@dataclass(slots=True)
class _Story:
    """One rollout; `steps` by (server, step), as each was told first."""

    id: str
    fleet: str
    began_at: float
    heard_at: float
    servers: int = 0
    version_from: str = ""
    version_to: str = ""
    silent: bool = False
    steps: dict[tuple[str, str], StepView] = field(default_factory=dict)


class Rollouts:
    """The stories of the fleet, the newest of them."""

    def __init__(self) -> None:
        self._stories: dict[str, _Story] = {}
        self._changed: set[str] = set()

    def heard(self, event: Rollout, now: float) -> StepView | None:
        """Take a step; it comes back when it is news."""
        at = event.made_at or now
        story = self._stories.get(event.id)
        if story is None:
            story = self._stories[event.id] = _Story(event.id, event.fleet, at, now)
            self._bound()
        key = (event.server, event.step)
        if key in story.steps or len(story.steps) >= STEPS:
            return None
        story.began_at = min(story.began_at, at)
        story.heard_at = now
        story.silent = False
        story.servers = max(story.servers, event.servers, event.index)
        story.version_from = story.version_from or event.version_from
        story.version_to = story.version_to or event.version_to
        step = story.steps[key] = StepView(
            event.server, event.index, event.step, event.moved, event.drained, event.stall_ms, event.why, at
        )
        self._changed.add(event.id)
        return step

    def remember(self, records: list[RolloutRecord]) -> None:
        """Take stories that the database has; steps that were heard meanwhile are added to theirs."""
        for record in records:
            told = msgspec.json.decode(record.story, type=list[StepView])
            began = record.began_at.timestamp()
            story = self._stories.setdefault(record.id, _Story(record.id, record.fleet, began, began))
            story.began_at = min(story.began_at, began)
            story.servers = max(story.servers, record.servers)
            story.version_from = story.version_from or record.version_from
            story.version_to = story.version_to or record.version_to
            for step in told:
                story.steps.setdefault((step.server, step.step), step)
                story.heard_at = max(story.heard_at, step.at)
        self._bound()

    def silence(self, now: float) -> list[RolloutView]:
        """Stories whose supervisor fell silent in their middle; each is told once."""
        found = []
        for story in self._stories.values():
            if not story.silent and _state(story) == "running" and now - story.heard_at > SILENT:
                story.silent = True
                self._changed.add(story.id)
                found.append(_view(story))
        return found

    def changed(self) -> set[str]:
        """The stories that are to be written to the database since this was asked before."""
        ids, self._changed = self._changed & self._stories.keys(), set()
        return ids

    def unwritten(self, ids: set[str]) -> None:
        """These could not be written; they are told again."""
        self._changed |= ids

    def record(self, id: str) -> RolloutRecord | None:
        """A story as the database has it; None if there were KEPT newer ones meanwhile."""
        story = self._stories.get(id)
        return _record(_view(story)) if story is not None else None

    def running(self) -> RolloutView | None:
        """The rollout that runs; the newest if several do."""
        running = [story for story in self._stories.values() if _state(story) == "running"]
        return _view(max(running, key=lambda story: (story.began_at, story.id))) if running else None

    def newest(self, limit: int) -> list[RolloutView]:
        """The last stories, the newest first."""
        stories = sorted(self._stories.values(), key=lambda story: (story.began_at, story.id), reverse=True)
        return [_view(story) for story in stories[:limit]]

    def _bound(self) -> None:
        while len(self._stories) > KEPT:
            del self._stories[min(self._stories.values(), key=lambda story: story.began_at).id]


def going(servers: dict[str, Server], rollout: RolloutView | None) -> set[str]:
    """The servers that a running rollout has still before it: who is sent there has to move once more."""
    if rollout is None:
        return set()
    over = {step.server for step in rollout.steps if step.step in OVER}
    return {
        id
        for id, server in servers.items()
        if id not in over
        and server.beat.started_at < rollout.began_at
        and (rollout.version_from in ("", rollout.version_to) or server.version == rollout.version_from)
    }


def view_of(record: RolloutRecord) -> RolloutView:
    """A story as the database has it."""
    ended = record.ended_at.timestamp() if record.ended_at else None
    return RolloutView(
        record.id, record.fleet, record.began_at.timestamp(), ended, record.state, record.version_from,
        record.version_to, record.servers, record.moved, record.drained, record.stall_ms, record.why,
        msgspec.json.decode(record.story, type=list[StepView]),
    )  # fmt: skip


def _state(story: _Story) -> StoryState:
    if ("", DONE) in story.steps:
        return "done"
    return "failed" if story.silent or ("", FAILED) in story.steps else "running"


def _view(story: _Story) -> RolloutView:
    steps = sorted(story.steps.values(), key=lambda step: (step.at, step.index, step.step))
    state = _state(story)
    ended = None
    if state != "running":
        end = story.steps.get(("", DONE)) or story.steps.get(("", FAILED))
        ended = end.at if end else max((step.at for step in steps), default=story.began_at)
    why = next((step.why for step in reversed(steps) if step.step == FAILED and step.why), "")
    if story.silent and state == "failed":
        why = "its supervisor fell silent in the middle"
    turns = [step for step in steps if step.server]
    return RolloutView(
        story.id, story.fleet, story.began_at, ended, state, story.version_from, story.version_to, story.servers,
        sum(step.moved for step in turns if step.step in (*OVER, FAILED)),
        sum(step.drained for step in turns if step.step in (*OVER, FAILED)),
        max((step.stall_ms for step in steps), default=0.0), why if state == "failed" else "", steps,
    )  # fmt: skip


def _record(view: RolloutView) -> RolloutRecord:
    return RolloutRecord(
        view.id, view.fleet, _moment(view.began_at), None if view.ended_at is None else _moment(view.ended_at),
        view.state, view.version_from, view.version_to, view.servers, view.moved, view.drained,
        view.longest_stall_ms, view.why, len(view.steps), msgspec.json.encode(view.steps).decode(),
    )  # fmt: skip


def _moment(at: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(at, dt.UTC)
