"""What the command line can fail with, and its exit codes.

Failed  the world's fault, for now: the disk is full, the database locked. One line, exit code 1, worth trying again
Wrong   the person's to mend: a flag, a variable, a file, a port, a directory. One line, exit code 2, no traceback
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

OK = 0
FAILED = 1  # the answer is bad, or the world was: a failing check, a full disk
WRONG = 2  # nothing was done: the call has to be changed first


class Wrong(Exception):
    """Only the person at the keyboard can mend it; str() is one line: what is wrong, where, what is right."""


class Failed(Exception):
    """It could not be done now and may work later; str() is one line."""


def suggestion(word: str, names: Iterable[str], prefix: str = "") -> str:
    """`; did you mean port?` for the nearest of names, or nothing when none is near; it ends a line.

    A prefix that all have, the word too, makes nothing near.
    """
    rest = {name.removeprefix(prefix): name for name in names}
    near = difflib.get_close_matches(word.removeprefix(prefix), list(rest), n=1, cutoff=0.6)
    return f"; did you mean {rest[near[0]]}?" if near else ""


def first_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first error of a group and the groups within: the one that a person is told."""
    one: BaseException = group
    while isinstance(one, BaseExceptionGroup):
        one = one.exceptions[0]
    return one
