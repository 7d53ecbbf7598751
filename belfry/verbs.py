"""The operator's verbs, through a running tower: servers, cordon, uncordon, drain, abort and rollout status."""

from __future__ import annotations

import json
import re
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from belfry.errors import FAILED, OK, Wrong
from belfry.fleet_text import drain_line, rollouts_list, servers_table, story
from belfry.kinds import Duration, Number
from belfry.terminal import YELLOW, has_colours, painted
from belfry.tower_client import TowerClient

if TYPE_CHECKING:
    from collections.abc import Mapping

    from belfry.kinds import Kind
    from belfry.sources import Settings
    from tower.views import FleetView, ServerView

LIVE = 0.5  # seconds between two looks at a drain on a terminal
PLAIN = 2.0  # seconds between two lines of a log
WATCH = 2.0  # seconds between two tables of `servers --watch`
HEARD = 10.0  # seconds in which a server must have begun what it was ordered: a beat takes 2
ROLLOUTS = 10  # verdicts that `rollout status` shows
ERASE = "\r\x1b[K"
CLEAR = "\x1b[H\x1b[J"

ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
RATE = Number(0, 1_000_000, whole=False)
DEADLINE = Duration(0, 3_600)


def run_servers(settings: Settings, flags: Mapping[str, str], environ: Mapping[str, str]) -> int:
    """`belfry servers`: a table, once or again and again. Returns the exit code; raises Wrong, Failed."""
    from tower.views import FleetView

    with TowerClient(settings, environ) as tower:
        while True:
            view = tower.ask("/v1/servers", FleetView)
            if "json" in flags:
                _print_json(view)
            else:
                if "watch" in flags and sys.stdout.isatty():
                    sys.stdout.write(CLEAR)
                print("\n".join(servers_table(view, colours=has_colours(sys.stdout))), flush=True)
                _say_wrong(view)
            if "watch" not in flags:
                return OK
            time.sleep(WATCH)


def run_order(verb: str, settings: Settings, flags: Mapping[str, str], environ: Mapping[str, str]) -> int:
    """`belfry cordon|uncordon|abort ID`: pass it on, and say what it does. Returns the exit code."""
    from tower.views import Said

    server = _server(verb, flags)
    with TowerClient(settings, environ) as tower:
        said = tower.order(f"/v1/servers/{quote(server, safe='')}/{verb}", {"force": "force" in flags}, Said)
    if "json" in flags:
        _print_json(said)
    else:
        print(said.says, file=sys.stderr)
    return OK


def run_drain(settings: Settings, flags: Mapping[str, str], environ: Mapping[str, str]) -> int:
    """`belfry drain ID`: pass it on, and watch until nobody is left. Returns the exit code."""
    from tower.views import FleetView, Said

    server = _server("drain", flags)
    body: dict[str, Any] = {"force": "force" in flags}
    for flag, name, kind in (("rate", "per_second", RATE), ("deadline", "deadline", DEADLINE)):
        if flag in flags:
            body[name] = _number(flag, flags[flag], kind)
    with TowerClient(settings, environ) as tower:
        dry = "?dry=1" if "dry" in flags else ""
        before = _find(tower.ask("/v1/servers", FleetView), server)
        said = tower.order(f"/v1/servers/{quote(server, safe='')}/drain{dry}", body, Said)
        print(said.says, file=sys.stderr, flush=True)
        if dry:
            return OK
        watching = Watching(server, before.boot if before else "", quiet="json" in flags)
        try:
            watching.run(tower)
        except KeyboardInterrupt:
            watching.erase()
            print(f"no longer watching; the drain goes on, `belfry abort {server}` ends it", file=sys.stderr)
            raise
    if "json" in flags:
        print(json.dumps(msgspec.to_builtins(said) | watching.outcome()))
    return OK if watching.end in ("drained", "stopped") else FAILED


def run_rollout_status(settings: Settings, flags: Mapping[str, str], environ: Mapping[str, str]) -> int:
    """`belfry rollout status`: the story that runs, or the last, and the last verdicts. Returns the exit code."""
    from tower.views import RolloutList

    with TowerClient(settings, environ) as tower:
        found = tower.ask(f"/v1/rollouts?limit={ROLLOUTS}", RolloutList)
    if "json" in flags:
        _print_json(found)
        return OK
    if not found.rollouts:
        print("no redeploy was told to this tower yet; SIGHUP to `belfry up` or `belfry fleet` is one")
        return OK
    colours = has_colours(sys.stdout)
    first = next((one for one in found.rollouts if one.state == "running"), found.rollouts[0])
    print("\n".join(story(first, colours=colours)))
    rest = [one for one in found.rollouts if one is not first]
    if rest:
        print("\n".join(["", "before it:" if first.state != "running" else "the others:"]))
        print("\n".join(rollouts_list(rest, colours=colours)))
    return OK


@dataclass(slots=True)
class Watching:
    """A drain that somebody watches: one line that lives on a terminal, plain lines otherwise."""

    server: str
    boot: str
    quiet: bool = False
    end: str = ""  # "drained", "stopped", "aborted", "down" or "unheard"
    moved: int = 0
    to_move: int = 0
    began: float = 0.0
    seconds: float = 0.0

    def run(self, tower: TowerClient) -> None:
        """Watch until it is over. Raises Failed when the tower is lost."""
        from tower.views import FleetView

        live = sys.stderr.isatty() and not self.quiet
        self.began = time.monotonic()
        begun, told = False, ""
        while True:
            found = _find(tower.ask("/v1/servers", FleetView), self.server)
            self.seconds = time.monotonic() - self.began
            begun = begun or (found is not None and (found.boot != self.boot or found.state == "draining"))
            if found is not None and found.drain is not None:
                self.moved = max(self.moved, found.drain.moved)
                self.to_move = max(self.to_move, found.drain.to_move)
            self.end = _end(found, self.boot, begun, self.seconds)
            if self.end:
                if self.end == "drained" and found is not None and not found.sessions:
                    self.moved = max(self.moved, self.to_move)  # the last of them between two looks
                break
            line = drain_line(found, bar=live) if found is not None else ""
            if live:
                sys.stderr.write(f"{ERASE}{line[:200]}")
                sys.stderr.flush()
            elif line != told and not self.quiet:
                print(line, file=sys.stderr, flush=True)
            told = line
            time.sleep(LIVE if live or self.quiet else PLAIN)
        self.erase()
        if not self.quiet:
            print(self.words(), file=sys.stderr)

    def words(self) -> str:
        """How it ended."""
        moved = f"{self.moved:,} were moved, " if self.moved else ""
        return {
            "drained": f"{self.server} is drained: {moved}{self.seconds:.1f} s; it may be stopped now",
            "stopped": f"{self.server} has stopped: {moved}{self.seconds:.1f} s",
            "aborted": f"{self.server}'s drain was aborted: {moved}it serves on",
            "down": f"{self.server} fell silent while it drained: {moved}its clients come back by themselves",
            "unheard": f"{self.server} has not begun to drain within {HEARD:.0f} s; is its bus the tower's?",
        }[self.end]

    def outcome(self) -> dict[str, Any]:
        """The same for programs."""
        return {"server": self.server, "outcome": self.end, "moved": self.moved, "seconds": round(self.seconds, 1)}

    def erase(self) -> None:
        """Leave the terminal's line empty."""
        if sys.stderr.isatty():
            sys.stderr.write(ERASE)
            sys.stderr.flush()


def _end(found: ServerView | None, boot: str, begun: bool, seconds: float) -> str:
    if found is None or found.state == "stopped" or found.boot != boot:
        return "stopped"  # another boot: whoever supervises it has started it again
    if found.state == "down":
        return "down"
    if found.state == "draining":
        return ""
    if found.state == "cordoned" and (begun or not found.sessions):
        return "drained"
    if begun:
        return "aborted"
    return "unheard" if seconds > HEARD else ""


def _find(view: FleetView, id: str) -> ServerView | None:
    return next((server for server in view.servers if server.id == id), None)


def _server(verb: str, flags: Mapping[str, str]) -> str:
    server = flags.get("server", "")
    if not server:
        raise Wrong(f"`belfry {verb}` needs a server's id; e.g. belfry {verb} s1 (`belfry servers` lists them)")
    if not ID.fullmatch(server):
        raise Wrong(f'"{server[:60]}" (argument) is no server\'s id; give 1-64 of A-Z a-z 0-9 . _ -')
    return server


def _number(flag: str, text: str, kind: Kind) -> float:
    try:
        return float(kind.read(text))
    except ValueError:
        raise Wrong(f'--{flag} (flag): "{text[:60]}" does not fit; give {kind.right}') from None


def _print_json(value: Any) -> None:
    print(msgspec.json.encode(value).decode(), flush=True)


def _say_wrong(view: FleetView) -> None:
    for wrong in view.wrong:
        print(painted("wrong:", YELLOW, has_colours(sys.stderr)), wrong, file=sys.stderr)
