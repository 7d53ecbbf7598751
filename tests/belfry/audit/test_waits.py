"""What clients waited for is timed from its sending, and a pause is one stall however much came after it."""

from __future__ import annotations

import pytest

from belfry.audit import waits
from belfry.audit.waits import STALL, Ear, Waits


def test_a_delivery_waits_from_its_sending() -> None:
    found, ear = Waits(), Ear()
    found.said("a", 10.0)
    found.heard(ear, "a", 10.02)
    assert found.longest == ear.stall == pytest.approx(0.02)
    assert (found.deliveries.total, found.stalls) == (1, 0)


def test_a_quiet_room_is_no_silence() -> None:
    found, ear = Waits(), Ear()
    for moment in (1.0, 100.0):
        found.said(f"at {moment}", moment)
        found.heard(ear, f"at {moment}", moment + 0.01)
    assert ear.silence == pytest.approx(0.01)


def test_silence_ends_with_anything_heard_and_a_wait_with_its_message() -> None:
    found, ear = Waits(), Ear()
    found.said("late", 1.0)
    found.said("soon", 1.5)
    found.heard(ear, "soon", 1.6)
    found.heard(ear, "late", 2.0)
    assert ear.silence == pytest.approx(0.4)
    assert ear.stall == found.longest == pytest.approx(1.0)


def test_a_pause_is_one_stall_for_a_client_and_two_pauses_are_two() -> None:
    found, one, two = Waits(), Ear(), Ear()
    for number in range(10):
        found.said(f"n{number}", number * STALL / 20)
    for number in range(10):
        found.heard(one, f"n{number}", 2 * STALL)
        found.heard(two, f"n{number}", 2 * STALL)
    assert found.stalls == 2
    found.said("again", 10.0)
    found.heard(one, "again", 10.0 + 2 * STALL)
    assert found.stalls == 3


def test_an_ack_is_waited_for_too() -> None:
    found, ear = Waits(), Ear()
    found.acked(ear, 2 * STALL, 5.0)
    assert (found.stalls, found.longest, ear.stall) == (1, 2 * STALL, 2 * STALL)
    assert found.deliveries.total == 0


def test_what_nobody_of_ours_said_is_not_timed() -> None:
    found, ear = Waits(), Ear()
    found.heard(ear, "a stranger's", 5.0)
    assert (found.deliveries.total, ear.heard) == (0, 5.0)


def test_only_the_newest_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waits, "KEPT", 3)
    found, ear = Waits(), Ear()
    for number in range(5):
        found.said(f"n{number}", 0.0)
    for number in range(5):
        found.heard(ear, f"n{number}", 0.01)
    assert found.deliveries.total == 3
