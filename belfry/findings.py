"""One finding of `belfry doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Check:
    """One finding; `do` is what to do about it, empty when all is well."""

    name: str
    level: Level
    says: str
    do: str = ""
