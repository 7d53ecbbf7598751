"""Where settings come from: flags, the environment, a TOML file, defaults, in that order; and what is said of mistakes.

Every complaint is one line: what was wrong, where it came from, what would be right.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from belfry.errors import Wrong, suggestion
from belfry.settings import (
    BY_NAME,
    FILE_VARIABLE,
    PREFIX,
    SECRET_VARIABLES,
    Setting,
    settings_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

PASSWORD = re.compile(r"(?<=://)[^/]*(?=@)")  # what stands before the host of a URL is not repeated on a screen
MAX_FILE_BYTES = 1_048_576  # a settings file of 30 keys has 2 KB; more than 1 MB is another file

FLAG, VARIABLE, FILE, DEFAULT = "flag", "variable", "file", "default"

# (command, setting): why it cannot be said there, whatever the source; the database in use must never be a guess.
REFUSED = {
    ("up", "db"): "`belfry up` keeps its database in the directory --data names; `belfry serve` takes --db",
    ("up", "bus"): "`belfry up` has its bus inside the process; `belfry serve` takes --bus",
    ("fleet", "data"): "`belfry fleet` takes --db URL and --bus URL; `belfry up` takes --data",
    (
        "tower",
        "data",
    ): "`belfry tower` takes --bus URL and --db URL; `belfry up` takes --data, and has its own tower",
    ("serve", "data"): "`belfry serve` takes --db URL and --bus URL; `belfry up` takes --data",
}
SECRET_PLACE = (
    "put the secret into the variable BELFRY_SECRET, or the path of a file that holds it into BELFRY_SECRET_FILE"
)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value was said: the kind of source, and the words that lead a person there."""

    source: str
    words: str


@dataclass(frozen=True, slots=True)
class Settings:
    """What one command was told, checked and complete."""

    command: str
    values: Mapping[str, Any]
    origins: Mapping[str, Origin]

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def lead(self, name: str) -> str:
        """How a complaint about a value begins: where it was said, nothing for a default."""
        return f"{self.origins[name].words}: " if self.given(name) else ""

    def given(self, name: str) -> bool:
        """Whether anybody said it, or it is the default."""
        return name in self.origins and self.origins[name].source != DEFAULT


def read_settings(command: str, flags: Mapping[str, str], environ: Mapping[str, str]) -> Settings:
    """All settings of a command, each from the strongest source that has it. Raises Wrong.

    `flags` holds the texts of the flags that were given, by setting name, and the file's path as `config`.
    """
    raw: dict[str, tuple[Any, Origin]] = {}
    raw.update(_from_file(_file_path(flags, environ)))
    raw.update(_from_environment(environ))
    raw.update({name: (text, Origin(FLAG, _flag(name))) for name, text in flags.items() if name in BY_NAME})
    for name, (_, origin) in raw.items():
        if why := REFUSED.get((command, name)):
            raise Wrong(f"{origin.words}: {why}")
    _choose_database(command, raw)
    values: dict[str, Any] = {}
    origins: dict[str, Origin] = {}
    for setting in settings_of(command):
        if setting.name in raw:
            value, origin = raw[setting.name]
            values[setting.name] = _value(setting, value, origin)
            origins[setting.name] = origin
        else:
            values[setting.name] = setting.default_for(command)
            origins[setting.name] = Origin(DEFAULT, "default")
    return Settings(command, values, origins)


def warnings(environ: Mapping[str, str]) -> list[str]:
    """One line for each BELFRY_ variable that nothing reads; no error, since other programs may share the prefix."""
    known = {setting.variable for setting in BY_NAME.values()} | {FILE_VARIABLE, *SECRET_VARIABLES}
    return [
        f"{name} (variable) is not a setting and is ignored{suggestion(name, known, PREFIX)}"
        for name in sorted(environ)
        if name.startswith(PREFIX) and name not in known
    ]


def _flag(name: str) -> str:
    return f"{BY_NAME[name].flag} (flag)"


def _value(setting: Setting, raw: Any, origin: Origin) -> Any:
    try:
        return setting.kind.read(raw)
    except ValueError as error:
        # int("x") raises with words of its own; only a kind's own sentence starts with what is right.
        own = str(error)
        right = own if own.startswith(setting.kind.right) else setting.kind.right
        shown = raw if isinstance(raw, str) else str(raw).lower() if isinstance(raw, bool) else repr(raw)
        raise Wrong(f'{origin.words}: "{_cut(shown)}" does not fit; give {right}') from None


def _cut(text: str) -> str:
    """At most 60 visible characters: an error is one line, whatever was pasted."""
    text = PASSWORD.sub("...", "".join(character if character.isprintable() else "?" for character in text))
    return text if len(text) <= 60 else text[:57] + "..."


def _choose_database(command: str, raw: dict[str, tuple[Any, Origin]]) -> None:
    """Of --data and --db the stronger source counts; said twice by the same source is a contradiction."""
    if command in ("up", "serve", "fleet") or not {"data", "db"} <= raw.keys():
        return
    (_, data), (_, db) = raw["data"], raw["db"]
    if data.source == db.source:
        raise Wrong(f"{data.words} and {db.words} name two databases; give one of them")
    strength = (FLAG, VARIABLE, FILE)
    del raw["data" if strength.index(db.source) < strength.index(data.source) else "db"]


def _from_environment(environ: Mapping[str, str]) -> dict[str, tuple[Any, Origin]]:
    """Settings said by variables; an empty one counts as not set, since Compose files pass those on."""
    return {
        setting.name: (environ[setting.variable], Origin(VARIABLE, f"{setting.variable} (variable)"))
        for setting in BY_NAME.values()
        if environ.get(setting.variable)
    }


def _file_path(flags: Mapping[str, str], environ: Mapping[str, str]) -> tuple[Path, str] | None:
    if "config" in flags:
        return Path(flags["config"]).expanduser(), "--config (flag)"
    if path := environ.get(FILE_VARIABLE):
        return Path(path).expanduser(), f"{FILE_VARIABLE} (variable)"
    return None


def _from_file(place: tuple[Path, str] | None) -> dict[str, tuple[Any, Origin]]:
    if place is None:
        return {}
    path, said_by = place
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise Wrong(f"{said_by}: {path} is larger than 1 MB; give a TOML file of settings")
        text = content.decode()
        tables = tomllib.loads(text)
    except (OSError, ValueError) as error:
        raise Wrong(_unreadable(path, said_by, error)) from None
    found: dict[str, tuple[Any, Origin]] = {}
    for key, value in tables.items():
        origin = Origin(FILE, f"{key} ({path}, line {_line(text, key)})")
        if key not in BY_NAME:
            raise Wrong(_unknown_key(key, value, origin))
        found[key] = (value, origin)
    return found


def _unreadable(path: Path, said_by: str, error: OSError | ValueError) -> str:
    if isinstance(error, OSError):
        return f"{said_by}: {path}: {error.strerror}; give a TOML file that can be read"
    if isinstance(error, UnicodeDecodeError):
        return f"{said_by}: {path} is not UTF-8; give a TOML file of settings"
    what, _, where = str(error).partition(" (at ")
    where = where.rstrip(")")
    return f"{path}, {where or 'as a whole'}: not TOML: {what}; a setting is a line such as  port = 8000"


def _unknown_key(key: str, value: Any, origin: Origin) -> str:
    if "secret" in key:
        return f"{origin.words}: a secret does not stand in this file; {SECRET_PLACE}"
    if isinstance(value, dict):
        return f"{origin.words}: no table has this name; settings stand at the top, without a [table]"
    near = suggestion(key.replace("-", "_"), BY_NAME)
    return f"{origin.words} is not a setting{near or '; `belfry serve --help` lists them'}"


def _line(text: str, key: str) -> int:
    """The number of the line that sets a top-level key; tomllib does not tell.

    It is the first line that looks like it: only a text over several lines could hold one earlier.
    """
    name = rf"""(?:"{re.escape(key)}"|'{re.escape(key)}'|{re.escape(key)})"""
    pattern = re.compile(rf"\s*(?:{name}\s*[=.]|\[+\s*{name}\s*[\].])")
    for number, line in enumerate(text.splitlines(), start=1):
        if pattern.match(line):
            return number
    return 1
