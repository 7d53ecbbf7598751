"""The audit's texts are ones that a server takes, and no two sends have the same."""

from __future__ import annotations

import random

from belfry.audit.text import HARD, text_of
from chat.config import Limits
from chat.text import check_nonce, check_text


def test_each_is_allowed() -> None:
    for hard in HARD:
        assert check_text(f"n1 {hard}", Limits().text_chars) == f"n1 {hard}"
    check_nonce("n123456789")


def test_all_come_and_none_twice() -> None:
    rng = random.Random(1)
    texts = {text_of(f"n{number}", rng) for number in range(500)}
    assert len(texts) == 500
    assert {text.partition(" ")[2] for text in texts} == set(HARD)
