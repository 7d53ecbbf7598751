"""What a terminal can show: whether colours may be used, and the few that are."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Mapping

BOLD, RED, YELLOW, GREEN, DIM = "1", "31", "33", "32", "2"


def has_colours(stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether colours may be used: on a terminal that has them, unless NO_COLOR is set (to anything but nothing)."""
    return stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


def painted(text: str, colour: str, on: bool) -> str:
    """The text in a colour, or as it is when colours are off."""
    return f"\x1b[{colour}m{text}\x1b[0m" if on else text
