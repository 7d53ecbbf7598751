"""What the audit's clients say: texts that say which send they are, and that are easy to damage on the way. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

HARD = (
    "hello",
    'quotes " and \\ backslashes \\n that are no line breaks',
    "two\nlines\tand a tab",
    "<script>alert(1)</script> &amp; %00 {{7*7}} '; DROP TABLE message; --",
    "ünïcödé, 漢字, עברית, العربية, ไทย",
    "👩\u200d👩\u200d👧\u200d👦 🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",
    "e\u0301 \u2028\u2029\ufeff",
    "trailing spaces   ",
    "\ufb01 \u212b \u212a \u017f",  # what a store that normalises would change
    "x" * 1_500,
)


def text_of(nonce: str, rng: random.Random) -> str:
    """A text that no other send has: it begins with the nonce."""
    return f"{nonce} {rng.choice(HARD)}"
