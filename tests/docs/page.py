"""What a page says for machines: its blocks of code."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def text(page: str) -> str:
    """A page of docs/."""
    return (ROOT / "docs" / page).read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[str]:
    """The page's blocks in a language, without the indentation that a list gives them."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```$", text(page), re.DOTALL | re.MULTILINE)
    return [re.sub(rf"^{indent}", "", block, flags=re.MULTILINE) for indent, block in found]


def block(page: str, language: str) -> str:
    """The page's only block in a language."""
    (one,) = blocks(page, language)
    return one


def put(block: str, changes: dict[str, str]) -> str:
    """The block with what only the reader's machine has replaced by what this one has."""
    for old, new in changes.items():
        assert block.count(old) == 1, f"{old!r} is not there once"
        block = block.replace(old, new)
    return block
