"""The fleet in words and columns, as the operator's verbs print it. Pure."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from belfry.terminal import BOLD, DIM, GREEN, RED, YELLOW, painted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tower.views import FleetView, RolloutView, ServerView

COLOURS = {"ready": GREEN, "down": RED, "draining": YELLOW, "cordoned": YELLOW, "starting": YELLOW, "stopped": DIM}
RIGHT = (3, 4, 5, 6)  # the columns of numbers
BAR = 24  # characters of a drain's bar
HEAD = ("ID", "STATE", "VERSION", "SESSIONS", "MSGS/S", "COMMIT P99", "AGE", "URL")


def servers_table(view: FleetView, *, colours: bool) -> list[str]:
    """A line a server under a head; then the rollout that runs."""
    if not view.servers:
        return ["no server has beaten yet"]
    rows = [HEAD, *(_row(server) for server in view.servers)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    lines = []
    for number, row in enumerate(rows):
        cells = [
            text.rjust(width) if column in RIGHT else text.ljust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        if number == 0:
            cells = [painted(cell, DIM, colours) for cell in cells]
        else:
            cells[1] = painted(cells[1], COLOURS.get(view.servers[number - 1].state, ""), colours)
        lines.append("  ".join(cells).rstrip())
    if view.rollout is not None:
        lines += ["", *story(view.rollout, colours=colours)]
    return lines


def drain_line(server: ServerView, *, bar: bool) -> str:
    """How far a drain is, in one line."""
    drain = server.drain
    if drain is None or not drain.to_move:
        return f"{server.id} is {server.state}, {server.sessions:,} sessions"
    share = min(drain.moved / drain.to_move, 1.0)
    done = f"{drain.moved:,} of {drain.to_move:,} moved"
    rest = f"{drain.per_second:,.0f} a second, {drain.eta_s:.0f} s left" if drain.eta_s else "nearly done"
    if not bar:
        return f"{server.id}: {done} ({share:.0%}), {rest}"
    full = round(share * BAR)
    return f"{server.id}  {'█' * full}{'░' * (BAR - full)} {share:4.0%}  {done}, {rest}"


def story(rollout: RolloutView, *, colours: bool) -> list[str]:
    """A rollout, step by step, and its verdict."""
    versions = rollout.version_from
    if rollout.version_to != rollout.version_from:
        versions = f"{rollout.version_from or '?'} to {rollout.version_to}"
    head = f"{_time(rollout.began_at)}  redeploy {rollout.id} of {rollout.fleet}, {versions}"
    lines = [painted(head, BOLD, colours)]
    for step in rollout.steps:
        if not step.server:
            continue
        of = f" ({step.index} of {rollout.servers})" if rollout.servers else ""
        lines.append(f"  +{step.at - rollout.began_at:6.1f} s  {step.server}{of} {_step(step.step)}{_told(step)}")
    return [*lines, f"  {verdict(rollout, colours=colours)}"]


def verdict(rollout: RolloutView, *, colours: bool) -> str:
    """How a rollout ended, or that it runs."""
    moved = f"{rollout.moved:,} moved alive"
    told = f"{rollout.drained:,} told to reconnect"
    if rollout.state == "running":
        return f"{painted('running', YELLOW, colours)}: {moved} and {told} so far"
    if rollout.state == "failed":
        return f"{painted('failed', RED, colours)}: {rollout.why or 'no reason was told'}; {moved}, {told}"
    took = f" in {rollout.ended_at - rollout.began_at:.1f} s" if rollout.ended_at else ""
    return f"{painted('done', GREEN, colours)}{took}: {moved}, {told}, longest stall {rollout.longest_stall_ms:.0f} ms"


def rollouts_list(rollouts: Sequence[RolloutView], *, colours: bool) -> list[str]:
    """One line a rollout, the newest first."""
    return [f"{_time(one.began_at)}  {one.id}  {one.fleet}  {verdict(one, colours=colours)}" for one in rollouts]


def _row(server: ServerView) -> tuple[str, ...]:
    state: str = server.state
    if server.drain is not None and server.drain.to_move:
        state += f" {server.drain.moved / server.drain.to_move:.0%}"
    p99 = f"{server.commit_p99_ms:,.1f} ms" if server.commit_p99_ms else "-"
    return (
        server.id, state, server.version, f"{server.sessions:,}", f"{server.sends_per_second:,.0f}", p99,
        _age(server.age_s), server.url,
    )  # fmt: skip


def _step(step: str) -> str:
    return {
        "starting": "starts its successor",
        "handing": "hands its clients over",
        "handed": "runs the new code",
        "drained": "runs the new code",
        "failed": "failed",
    }.get(step, step)


def _told(step: object) -> str:
    moved, drained, stall, why = (getattr(step, name) for name in ("moved", "drained", "stall_ms", "why"))
    parts = []
    if moved or drained:
        parts.append(f"{moved:,} moved alive")
    if drained:
        parts.append(f"{drained:,} told to reconnect")
    if stall:
        parts.append(f"longest stall {stall:.0f} ms")
    if why:
        parts.append(why)
    return f": {', '.join(parts)}" if parts else ""


def _time(at: float) -> str:
    return f"{dt.datetime.fromtimestamp(at, dt.UTC):%Y-%m-%d %H:%M:%S}Z"


def _age(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
