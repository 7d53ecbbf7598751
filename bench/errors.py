"""What can keep a scenario from being measured."""

from __future__ import annotations


class Unmeasured(Exception):
    """A scenario cannot be measured here; the message is one line that says why."""
