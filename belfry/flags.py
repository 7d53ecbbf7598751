"""Flags of one command: read from its arguments, and told by its --help.

Not argparse: its complaints do not say what would be right, and it knows nothing of a flag that belongs to another
command, or that must never be a flag.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

from belfry.errors import Wrong, suggestion
from belfry.kinds import Switch
from belfry.settings import BY_NAME, FILE_VARIABLE, GROUPS, Setting, settings_of
from belfry.sources import REFUSED, SECRET_PLACE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

WIDTH = 100  # columns of --help; narrower terminals wrap, wider ones do not make lines that are hard to read
COLUMN = 32  # where the explanations start
HELP = ("-h", "--help")
SECRETS = ("--secret", "--secret-file")


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag of one act, which is not a setting; without a metavar it is a switch and takes no value."""

    name: str
    metavar: str
    help: str

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")


CONFIG = Flag("config", "FILE", f"a TOML file with settings, its keys as the flags with _ for - [{FILE_VARIABLE}]")


def parse(command: str, own: Sequence[Flag], argv: Sequence[str], subject: str = "") -> dict[str, str] | None:
    """The texts of the flags given, by name; a switch is "yes" or "no". None asks for help. Raises Wrong.

    `subject` is the flag that a word without one stands for, wherever it stands: `belfry kick --ban u_ada`.
    """
    takes, switches = _spellings(command, own)
    found: dict[str, str] = {}
    rest, before = list(argv), ""
    while rest:
        word = rest.pop(0)
        if word in HELP:
            return None
        flag, equals, value = word.partition("=")
        if flag in switches:
            if equals:
                raise Wrong(f"{flag} (flag) takes no value; {_alone(flag, switches)}")
            name, value = switches[flag]
            found[name] = value
        elif flag in takes:
            if not equals and (not rest or rest[0].startswith("--")):
                raise Wrong(f"{flag} (flag) needs a value; give {_right(takes[flag])}")
            found[takes[flag]] = value if equals else rest.pop(0)
        elif subject and subject not in found and not word.startswith("-"):
            found[subject] = word
        elif before in switches and not subject and not word.startswith("-"):
            raise Wrong(f'"{word}" (argument): {before} (flag) takes no value; {_alone(before, switches)}')
        else:
            raise Wrong(_unknown(command, word, flag, [*takes, *switches], subject))
        before = word
    return found


def usage(command: str, own: Sequence[Flag], subject: str = "") -> str:
    """How a command is called: its name, what it is about, and that flags follow."""
    about = next((f" {flag.metavar}" for flag in own if flag.name == subject), "")
    return f"belfry {command}{about} [flags]"


def help_text(command: str, says: str, own: Sequence[Flag], subject: str = "") -> str:
    """What `belfry COMMAND --help` prints."""
    lines = [f"usage: {usage(command, own, subject)}", "", *textwrap.wrap(says, WIDTH)]
    if own:
        lines += ["", "Flags:"]
        for flag in own:
            lines += _entry(f"{flag.flag} {flag.metavar}".rstrip(), flag.help)
    settings = settings_of(command.split()[0])
    for group in GROUPS:
        members = [setting for setting in settings if setting.group == group]
        if members:
            lines += ["", f"{group}:"]
            for setting in members:
                lines += _entry(_head(setting), _tail(setting, command))
    lines += ["", "Where settings come from:", *_entry(f"{CONFIG.flag} {CONFIG.metavar}", CONFIG.help)]
    lines += ["  A flag wins over its variable [in brackets], that over the file, that over the default."]
    return "\n".join(lines) + "\n"


def _spellings(command: str, own: Sequence[Flag]) -> tuple[dict[str, str], dict[str, tuple[str, str]]]:
    """Flags that take a value, with their names; and switches, with name and value."""
    takes: dict[str, str] = {CONFIG.flag: CONFIG.name}
    switches: dict[str, tuple[str, str]] = {}
    for flag in own:
        if flag.metavar:
            takes[flag.flag] = flag.name
        else:
            switches[flag.flag] = (flag.name, "yes")
    for setting in settings_of(command.split()[0]):
        if isinstance(setting.kind, Switch):
            switches[setting.flag] = (setting.name, "yes")
            switches["--no-" + setting.flag[2:]] = (setting.name, "no")
        else:
            takes[setting.flag] = setting.name
    return takes, switches


def _right(name: str) -> str:
    return BY_NAME[name].kind.right if name in BY_NAME else "one after it"


def _alone(flag: str, switches: Mapping[str, tuple[str, str]]) -> str:
    """How a switch is written."""
    off = f"--no-{flag[2:]}"
    return f"it is {flag}, or {off} to turn it off" if off in switches else f"it is {flag} alone"


def _unknown(command: str, word: str, flag: str, known: Sequence[str], subject: str) -> str:
    verb = command.split()[0]
    if flag in SECRETS:
        return f"{flag} (flag): everybody on this machine can read a command line; {SECRET_PLACE}"
    name = flag.removeprefix("--").removeprefix("no-").replace("-", "_")
    if flag.startswith("--") and (setting := BY_NAME.get(name)):
        if why := REFUSED.get((verb, name)):
            return f"{flag} (flag): {why}"
        others = " and ".join(f"`belfry {other}`" for other in setting.commands)
        return f"{flag} (flag) is not for `belfry {command}`; it is for {others}"
    if not flag.startswith("-") and subject:
        return f'"{word}" (argument) is one too many; `belfry {command}` takes one {subject}'
    if not flag.startswith("-"):
        return f'"{word}" (argument) is one too many; `belfry {command}` takes flags only: belfry {command} --help'
    near = suggestion(flag, known, "--") or f"; `belfry {command} --help` lists them"
    return f"{flag} (flag) is not known{near}"


def _head(setting: Setting) -> str:
    if isinstance(setting.kind, Switch):
        return f"--[no-]{setting.flag[2:]}"
    return f"{setting.flag} {setting.kind.metavar}"


def _tail(setting: Setting, command: str) -> str:
    unit = f" {setting.unit}" if setting.unit else ""
    return f"{setting.help} (default {setting.show_default(command.split()[0])}{unit}) [{setting.variable}]"


def _entry(head: str, tail: str) -> list[str]:
    lines = textwrap.wrap(tail, WIDTH - COLUMN)
    if len(head) + 4 > COLUMN:
        return [f"  {head}", *(" " * COLUMN + line for line in lines)]
    return [f"  {head}".ljust(COLUMN) + lines[0], *(" " * COLUMN + line for line in lines[1:])]
