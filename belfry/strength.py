"""How guessable a secret is. Pure; it can only find what is bad, never prove what is good."""

from __future__ import annotations

import math
import re
from collections import Counter
from itertools import pairwise

LEAST_BITS = 100  # of Shannon entropy over the whole; 32 random characters of base 64 have 150, of hex 115
# Words of examples, tutorials and first guesses; an attacker tries these before anything else.
FIRST_GUESSES = re.compile(
    r"(?i)secret|passwor[dt]|passphrase|change[-_ ]?(me|this|it)|belfry|example|letmein|qwert|default|test|admin"
    r"|your[-_ ]|super[-_ ]?|development|placeholder|12345|abcdef|deadbeef|lorem|ipsum|foobar|correct.?horse"
)


def weakness(key: bytes) -> str | None:
    """Why a secret is weak, in words that do not repeat it; None when nothing was found."""
    text = key.decode("latin-1")
    if (length := _period(text)) <= len(text) // 2:
        return f"it repeats {length} characters" if length > 1 else "it is one character again and again"
    bits = _entropy(key) * len(key)
    if bits < LEAST_BITS:
        return f"its characters hold {bits:.0f} bits at most, {LEAST_BITS} are needed"
    if _runs(key) > len(key) // 2:
        return "it is a run of neighbouring characters"
    if _guesses(text) * 2 > len(text):
        return "it is made of the words that are tried first"
    if re.fullmatch(r"[A-Za-z]+(?:[ _.,-]+[A-Za-z]+)+[ .!?]*", text):
        return "it reads like words"
    return None


def _period(text: str) -> int:
    """The length of the shortest beginning whose repetition gives the whole."""
    return next(length for length in range(1, len(text) + 1) if text.startswith(text[length:]))


def _runs(key: bytes) -> int:
    """How many characters follow their neighbour in the alphabet, up or down, or repeat it."""
    return sum(abs(second - first) <= 1 for first, second in pairwise(key))


def _entropy(key: bytes) -> float:
    """Shannon entropy in bits a character, from how often each occurs."""
    return -sum(n / len(key) * math.log2(n / len(key)) for n in Counter(key).values())


def _guesses(text: str) -> int:
    """How many characters belong to words that are tried first."""
    return sum(len(found[0]) for found in FIRST_GUESSES.finditer(text))
