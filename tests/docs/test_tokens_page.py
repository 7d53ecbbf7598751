"""docs/how-to/issue-tokens.md: the page's programs make tokens that the server takes."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from chat.tokens import Tokens
from tests.docs.page import block

if TYPE_CHECKING:
    from pathlib import Path

PAGE = "how-to/issue-tokens.md"
SECRET = "a secret of at least thirty-two bytes, made for this test"


@pytest.mark.parametrize(
    ("language", "name", "runner"),
    [("python", "belfry_token.py", sys.executable), ("javascript", "belfry_token.mjs", "node")],
)
def test_the_pages_program_makes_a_good_token(language: str, name: str, runner: str, tmp_path: Path) -> None:
    program = tmp_path / name
    program.write_text(block(PAGE, language))
    done = subprocess.run(
        [runner, str(program)], env={"BELFRY_SECRET": SECRET, "PATH": "/usr/local/bin:/usr/bin:/bin"},
        capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    tokens = Tokens(SECRET.encode())
    identity = tokens.verify(done.stdout.strip())
    assert (identity.user_id, identity.name, identity.admin) == ("u_1815", "Ada", False)
    twelve_hours = tokens.verify(tokens.issue("u_1815", "Ada", 12 * 3_600)).expires_at
    assert identity.expires_at == pytest.approx(twelve_hours, abs=60)
