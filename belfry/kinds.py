"""The kinds of value a setting can have: how each is read from text or TOML, and what is said when it does not fit."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

SECONDS = {"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400}
ROOM_NAME = re.compile(r"[a-z0-9._-]{1,64}")
YES = ("yes", "true", "on", "1")
NO = ("no", "false", "off", "0")


class Kind(Protocol):
    """A set of values. `right` completes the sentence "give ..."."""

    @property
    def right(self) -> str: ...

    @property
    def metavar(self) -> str: ...

    def read(self, raw: Any) -> Any:
        """The value of a text, or of what TOML made of it. Raises ValueError; its text, if any, replaces `right`."""

    def show(self, value: Any) -> str:
        """The value as one would type it."""


@dataclass(frozen=True, slots=True)
class Number:
    """A number within bounds; `whole` takes no fraction."""

    least: int
    most: int
    whole: bool = True
    metavar: str = "N"

    @property
    def right(self) -> str:
        noun = "a whole number" if self.whole else "a number"
        return f"{noun} from {self.least:,} to {self.most:,}"

    def read(self, raw: Any) -> int | float:
        if isinstance(raw, bool) or not isinstance(raw, str | int | float):
            raise ValueError
        value = int(raw) if self.whole and not isinstance(raw, float) else float(raw)
        if self.whole and value % 1 != 0:  # infinity's rest is NaN
            raise ValueError
        if not self.least <= value <= self.most:  # NaN neither
            raise ValueError
        return int(value) if self.whole else value

    def show(self, value: Any) -> str:
        return str(int(value)) if value % 1 == 0 else repr(value)


@dataclass(frozen=True, slots=True)
class Duration:
    """Seconds, bare or as 90s, 15m, 24h, 7d."""

    least: float = 0.0
    most: float = 10 * 365 * 86_400.0  # ten years: over it a slip of the hand, and under what any clock can add
    metavar: str = "TIME"

    @property
    def right(self) -> str:
        return (
            f"{self.show(self.least)} to {self.show(self.most)}: seconds, bare or with a unit, as in 90, 15m, 24h, 7d"
        )

    def read(self, raw: Any) -> float:
        if isinstance(raw, bool) or not isinstance(raw, str | int | float):
            raise ValueError
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd]?)", str(raw).strip(), re.ASCII)
        if not found:
            raise ValueError
        value = round(float(found[1]) * SECONDS[found[2]], 6)  # microseconds: no clock here knows more
        if not self.least <= value <= self.most:
            raise ValueError
        return value

    def show(self, value: Any) -> str:
        for unit in ("d", "h", "m"):
            if value and value % SECONDS[unit] == 0 and value != SECONDS["d"]:
                return f"{value / SECONDS[unit]:g}{unit}"
        return "24h" if value == SECONDS["d"] else f"{value:.6f}".rstrip("0").rstrip(".") + "s"


@dataclass(frozen=True, slots=True)
class Switch:
    """On or off: --name and --no-name."""

    metavar: str = ""

    @property
    def right(self) -> str:
        return "yes or no"

    def read(self, raw: Any) -> bool:
        if isinstance(raw, bool):
            return raw
        if isinstance(raw, str) and raw.lower() in YES + NO:
            return raw.lower() in YES
        raise ValueError

    def show(self, value: Any) -> str:
        return "yes" if value else "no"


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few words."""

    words: tuple[str, ...]

    @property
    def right(self) -> str:
        return "one of " + ", ".join(self.words)

    @property
    def metavar(self) -> str:
        return "|".join(self.words)

    def read(self, raw: Any) -> str:
        if raw not in self.words:
            raise ValueError
        return str(raw)

    def show(self, value: Any) -> str:
        return str(value)


@dataclass(frozen=True, slots=True)
class Text:
    """A text that matches a pattern as a whole."""

    pattern: str
    right: str
    metavar: str = "TEXT"

    def read(self, raw: Any) -> str:
        if not isinstance(raw, str) or not re.fullmatch(self.pattern, raw):
            raise ValueError
        return raw

    def show(self, value: Any) -> str:
        return str(value) if value is not None else "none"


@dataclass(frozen=True, slots=True)
class Url:
    """Where a server is reached: a host, and perhaps a port and a path that others put theirs behind."""

    schemes: tuple[str, ...]
    right: str
    fills: str = ""  # what may stand in it to be filled in with a number later: "{port}"
    metavar: str = "URL"

    def read(self, raw: Any) -> str:
        if not isinstance(raw, str) or any(character <= " " for character in raw):
            raise ValueError
        filled = raw.replace(self.fills, "1") if self.fills else raw
        try:
            parts = urlsplit(filled)
        except ValueError:  # brackets without an IPv6 address in them
            raise ValueError(self.right) from None
        if not filled.startswith(tuple(f"{scheme}://" for scheme in self.schemes)) or not parts.hostname:
            raise ValueError
        if "{" in filled or "}" in filled:
            raise ValueError(f"{self.right}, {f'with no braces but {self.fills}' if self.fills else 'without braces'}")
        if "?" in filled or "#" in filled:
            raise ValueError(f"{self.right}, with nothing behind ? or #")
        try:
            port = parts.port
        except ValueError:
            port = 0
        if port == 0:
            raise ValueError(f"{self.right}, with a port from 1 to 65,535 if any")
        return raw

    def show(self, value: Any) -> str:
        return str(value) if value is not None else "none"


@dataclass(frozen=True, slots=True)
class Names:
    """A list: commas between in text, an array of strings in TOML; each item matches a pattern."""

    pattern: str
    right: str
    metavar: str = "LIST"

    def read(self, raw: Any) -> tuple[str, ...]:
        items = [item.strip() for item in raw.split(",")] if isinstance(raw, str) else raw
        if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
            raise ValueError
        items = [item for item in items if item]
        if not all(re.fullmatch(self.pattern, item) for item in items):
            raise ValueError
        return tuple(dict.fromkeys(items))

    def show(self, value: Any) -> str:
        return ",".join(value) if value else "none"


@dataclass(frozen=True, slots=True)
class Ports:
    """Some ports: commas between in text, an array of numbers in TOML; each once."""

    right: str = "ports from 1 to 65,535 with commas between, each once, such as 8001,8002"
    metavar: str = "PORTS"

    def read(self, raw: Any) -> tuple[int, ...]:
        items = [item.strip() for item in raw.split(",")] if isinstance(raw, str) else raw
        if not isinstance(items, list) or not items:
            raise ValueError
        ports = tuple(Number(1, 65_535).read(item) for item in items)
        if len(set(ports)) != len(ports):
            raise ValueError
        return tuple(map(int, ports))

    def show(self, value: Any) -> str:
        return ",".join(map(str, value)) if value else "none"


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory's path; it need not exist."""

    right: str = "the path of a directory"
    metavar: str = "DIR"

    def read(self, raw: Any) -> Path:
        if not isinstance(raw, str) or not raw or "\0" in raw:
            raise ValueError
        return Path(raw).expanduser()

    def show(self, value: Any) -> str:
        return f"./{value}" if not value.is_absolute() else str(value)


@dataclass(frozen=True, slots=True)
class Address:
    """A URL of one of some schemes; `later` are those that other versions know."""

    schemes: tuple[str, ...]
    right: str
    later: tuple[str, ...] = ()
    metavar: str = "URL"

    def read(self, raw: Any) -> str:
        if not isinstance(raw, str):
            raise ValueError
        scheme = urlsplit(raw).scheme
        if scheme in self.later:
            raise ValueError(f"{self.right} ({scheme}: is not in this version)")
        if scheme not in self.schemes or any(character <= " " for character in raw):
            raise ValueError
        return raw

    def show(self, value: Any) -> str:
        return str(value) if value is not None else "none"
