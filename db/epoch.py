"""Epochs: which incarnation of a room's storage a position belongs to."""

from __future__ import annotations

import secrets

ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"  # base 32: five bits a character, nothing that needs escaping
LENGTH = 8  # characters, 40 bits: a room created anew keeps its old epoch once in 10^12 times


def new_epoch() -> str:
    """A random epoch."""
    return "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))
