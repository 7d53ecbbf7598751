"""What happened and what is wrong, in plain words. Pure.

`changes` compares two looks at the fleet; `wrong` says what a person on call should know first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tower.fleet import GONE
from tower.views import Note

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tower.fleet import Server
    from tower.views import Level, RolloutView, StepView

LONG_DRAIN = 60.0  # seconds of ETA over which a drain is worth a look
SLOW_COMMIT = 1_000.0  # ms; a sender waits for it
NAMED = 10  # servers that are down and told one by one: more of them are one thing, not many
STARTING = 15.0  # seconds a start may take before it is no excuse any more
BUS_AWAY = 3.0  # seconds of a quiet bus that are told

WORDS: dict[str, tuple[Level, str]] = {
    "starting": ("info", "{id} is starting at {url}"),
    "ready": ("info", "{id} takes clients at {url}"),
    "cordoned": ("info", "{id} is cordoned: it keeps its {people} and takes nobody new"),
    "draining": ("info", "{id} is draining: {people} to move"),
    "stopped": ("info", "{id} has stopped"),
    "down": ("error", "{id} at {url} fell silent with {people}"),
}
STEPS: dict[str, tuple[Level, str]] = {
    "began": ("info", "a redeploy of {servers} began{versions}"),
    "starting": ("info", "redeploy: the successor of {server} is starting"),
    "handing": ("info", "redeploy: {server} hands its clients over"),
    "handed": ("info", "redeploy: {server} runs the new code; {moved} moved alive, longest stall {stall} ms"),
    "drained": ("info", "redeploy: {server} runs the new code; {drained} were told to reconnect"),
    "failed": ("error", "redeploy: {server} failed, the old one goes on{why}"),
}


def people(count: int) -> str:
    """A number of clients, in words."""
    return "1 person" if count == 1 else f"{count:,} people"


def sockets(count: int) -> str:
    """A number of what a handover moves, in words: not people, for a page's or a balancer's idle socket moves too."""
    return "1 socket" if count == 1 else f"{count:,} sockets"


def changes(before: Mapping[str, Server], after: Mapping[str, Server], now: float) -> list[Note]:
    """What changed between two looks, in the order of the servers' names."""
    notes = []
    for id, server in after.items():
        was = before.get(id)
        if was is not None and was.state == server.state and was.boot == server.boot:
            continue
        if was is None and server.state in GONE:
            continue  # from before we looked
        if was is not None and was.boot != server.boot and (was.state, server.state) == ("ready", "ready"):
            followed = server.beat.follows == was.boot
            how = "has taken over from the one before it" if followed else "was restarted"
            notes.append(Note(now, "info" if followed else "warning", f"{id} {how} at {server.url}"))
            continue
        if was is not None and was.state == "draining" and server.state == "ready" and was.boot == server.boot:
            notes.append(Note(now, "info", f"{id}'s drain was aborted; it takes clients again"))
            continue
        if was is not None and (was.state, server.state) == ("draining", "cordoned") and was.boot == server.boot:
            notes.append(Note(now, "info", f"{id} is drained, {people(server.sessions)} left; stop it, or uncordon it"))
            continue
        level, words = WORDS[server.state]
        sessions = server.sessions
        notes.append(Note(now, level, words.format(id=id, url=server.url, people=people(sessions))))
    return notes


def of_step(step: StepView, rollout: RolloutView, now: float) -> Note:
    """A step of a rollout, in words."""
    if not step.server and step.step in ("done", "failed"):
        return verdict(rollout, now)
    level, words = STEPS.get(step.step, ("info", "redeploy: {server} {step}"))
    versions = ""
    if rollout.version_to and rollout.version_from != rollout.version_to:
        versions = f", from {rollout.version_from or '?'} to {rollout.version_to}"
    text = words.format(
        server=step.server or "the fleet", step=step.step, moved=sockets(step.moved), drained=people(step.drained),
        stall=round(step.stall_ms), why=f": {step.why}" if step.why else "", versions=versions,
        servers="one server" if rollout.servers == 1 else f"{rollout.servers or 'some'} servers",
    )  # fmt: skip
    return Note(now, level, text)


def verdict(rollout: RolloutView, now: float) -> Note:
    """How a rollout ended, in words."""
    if rollout.state == "failed":
        return Note(now, "error", f"the redeploy failed: {rollout.why or 'no reason was told'}")
    took = f" in {rollout.ended_at - rollout.began_at:.1f} s" if rollout.ended_at else ""
    told = f"{people(rollout.drained)} told to reconnect" if rollout.drained else "nobody had to reconnect"
    text = f"the redeploy is done{took}: {sockets(rollout.moved)} moved alive, {told}"
    return Note(now, "info", f"{text}, longest stall {rollout.longest_stall_ms:.0f} ms")


def wrong(
    servers: Mapping[str, Server],
    rollout: RolloutView | None,
    now: float,
    bus_quiet: float | None,
    store_works: bool | None,
) -> list[str]:
    """What is wrong now, the worst first; `bus_quiet` is seconds; None is for a tower that has none of it."""
    said = []
    bus_away = bus_quiet is not None and bus_quiet > BUS_AWAY
    if bus_away and store_works is None:
        said.append(f"the bus has been away for {bus_quiet:.0f} s: what is shown here is old")
    elif not store_works and (bus_away or (bus_quiet is None and store_works is False)):
        said.append("neither the bus nor the database can be reached: what is shown here is old")
    elif bus_away:
        said.append(
            f"the bus has been away for {bus_quiet:.0f} s: the fleet is read from the database, and verbs are not heard"
        )
    elif store_works is False:
        said.append("the database cannot be reached: redeploys are not written down")
    down = [server for server in servers.values() if server.state == "down"]
    said += [
        f"{server.id} at {server.url} has been silent for {_ago(now - server.seen_at)}; "
        f"it had {people(server.sessions)}"
        for server in down[:NAMED]
    ]
    if len(down) > NAMED:
        said.append(f"{len(down) - NAMED:,} other servers are silent, too")
    said += [
        f'two servers call themselves "{server.id}": {server.url}, which counts, and {server.refused}, which does not; '
        "give one of them another --server-id"
        for server in servers.values()
        if server.refused
    ]
    living = [server for server in servers.values() if server.state not in GONE]
    soon = any(server.state == "starting" and now - server.beat.started_at < STARTING for server in living)
    if living and not soon and not any(server.state == "ready" for server in living):
        said.append("no server takes newcomers")
    said += [
        f"{server.id} needs another {server.beat.eta:.0f} s to drain"
        for server in living
        if server.state == "draining" and server.beat.eta > LONG_DRAIN
    ]
    said += [
        f"{server.id}'s commits take {server.beat.commit_p99_ms:,.0f} ms"
        for server in living
        if server.beat.commit_p99_ms > SLOW_COMMIT
    ]
    versions = sorted({server.version for server in living if server.state == "ready"})
    if len(versions) > 1 and rollout is None:
        said.append(f"the fleet runs {len(versions)} versions: {', '.join(versions)}")
    return said


def _ago(seconds: float) -> str:
    for size, name in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {name}"
    return f"{seconds:.0f} s"
