"""What the tests of the command line share: an environment without anybody's own BELFRY_ variables."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("BELFRY_"):
            monkeypatch.delenv(name)
