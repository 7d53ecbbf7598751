"""How titles and searches are compared, the same in every twin."""

from __future__ import annotations

import unicodedata


def fold(text: str) -> str:
    """The form in which two spellings of one text are equal: case, width and composition do not count.

    Done here and stored in a column, since SQLite folds ASCII only and each MySQL collation folds in its own way
    (some drop accents too). NFKC before and after, because casefolding can undo it (Unicode 15, 3.13, D146).
    """
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
