"""Texts as literals of SQL, one by one and many at once."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from db.mysql_connection import quoted, quoted_all

SPECIAL = "\\'\"\n\r\x1a"  # what has to be escaped
# Letters that stand behind a backslash in an escape are there too: what is escaped already must be escaped again.
texts = st.text(st.sampled_from(SPECIAL + "nrZ0`%_;,ä😀\u2028\x01 "), max_size=12) | st.text(
    st.characters(exclude_characters="\0"), max_size=30
)


@given(st.lists(texts, max_size=12))
@example([])
@example([""])
@example(["", "", ""])
@example(["'", "','", "\\", "\\'", "\\\\", '"', "\n\r\x1a", "\\n\\r\\Z\\0", "😀", "👩‍👩‍👧‍👦"])
def test_many_at_once_are_what_each_is_alone(many: list[str]) -> None:
    assert quoted_all(many) == [quoted(text) for text in many]


@given(texts)
def test_a_literal_ends_where_the_text_ends(text: str) -> None:
    (literal,) = quoted_all([text])
    plain = {"n": "\n", "r": "\r", "Z": "\x1a"}
    read, at = "", 1
    while literal[at] != "'":  # as the server reads it
        if literal[at] == "\\":
            at += 1
            read += plain.get(literal[at], literal[at])
        else:
            read += literal[at]
        at += 1
    assert (read, at) == (text, len(literal) - 1)


@given(st.lists(texts, max_size=4), texts, texts, st.lists(texts, max_size=4))
@example([], "", "", [])
@example([], "", "", [""])
def test_a_nul_in_any_of_many_is_refused(before: list[str], left: str, right: str, behind: list[str]) -> None:
    with pytest.raises(ValueError, match="NUL"):
        quoted_all([*before, f"{left}\0{right}", *behind])
