"""What a tower tells of the fleet: the answers' structs, the same over HTTP, over SSE and on the command line. Pure."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

State = Literal["starting", "ready", "cordoned", "draining", "stopped", "down"]
StoryState = Literal["running", "done", "failed"]
Level = Literal["info", "warning", "error"]


class DrainView(Struct, frozen=True):
    """How far a drain is."""

    to_move: int  # sessions there were when it began
    moved: int
    per_second: float
    eta_s: float


class ServerView(Struct, frozen=True):
    """One server as this tower knows it now."""

    id: str
    boot: str
    url: str
    version: str
    state: State
    sessions: int
    sends_per_second: float
    deliveries_per_second: float
    commit_p99_ms: float
    handshakes_per_second: float  # what it says it can take; 0 is without limit
    handshakes_peak: int
    started_at: float  # Unix seconds
    seen_at: float
    age_s: float  # since its last beat
    history: list[tuple[int, int, float]]  # (Unix seconds, sessions, sends a second), ascending
    drain: DrainView | None


class StepView(Struct, frozen=True):
    """One step of a rollout."""

    server: str
    index: int
    step: str
    moved: int
    drained: int
    stall_ms: float
    why: str
    at: float


class RolloutView(Struct, frozen=True):
    """A rollout's story so far."""

    id: str
    fleet: str
    began_at: float
    ended_at: float | None
    state: StoryState
    version_from: str
    version_to: str
    servers: int
    moved: int
    drained: int
    longest_stall_ms: float
    why: str
    steps: list[StepView]


class FleetView(Struct, frozen=True):
    """The fleet in one glance: GET /v1/servers, and every `fleet` event."""

    now: float
    servers: list[ServerView]
    rollout: RolloutView | None  # the one that runs
    wrong: list[str]  # what is wrong now, in plain words


class Note(Struct, frozen=True):
    """Something that happened, in plain words."""

    at: float
    level: Level
    text: str


class Assigned(Struct, frozen=True):
    """Where a client goes."""

    url: str
    server: str


class Said(Struct, frozen=True):
    """What a verb does, or would do; `order` is empty when it was only asked."""

    order: str
    says: str


class RolloutList(Struct, frozen=True):
    """The last rollouts, newest first."""

    rollouts: list[RolloutView]
