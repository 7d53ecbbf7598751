"""What the handover's tests are given."""

from __future__ import annotations

import pytest

from chat.handover import give, take


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Busy machines fail no handover here, and no test waits for what only a real redeploy needs."""
    monkeypatch.setattr(give, "TOLD_TIMEOUT", 60.0)
    monkeypatch.setattr(give, "FROZEN_TIMEOUT", 60.0)
    monkeypatch.setattr(give, "SETTLE_TIMEOUT", 60.0)
    monkeypatch.setattr(take, "TAKE_TIMEOUT", 60.0)
    monkeypatch.setattr(take, "SETTLE", 0.02)
