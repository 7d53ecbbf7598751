"""When nobody is left whom a transaction could wait for."""

from __future__ import annotations

from chat.lockstep import Lockstep


def test_before_the_first_transaction_somebody_may_be_left() -> None:
    step = Lockstep()
    step.sent("ada")
    assert not step.is_complete


def test_it_is_complete_when_each_has_sent_as_much_again() -> None:
    step = Lockstep()
    step.began(["ada", "bob", "ada"])
    step.answered(silent=True)
    found = []
    for user in ("ada", "eve", "bob", "ada"):
        step.sent(user)
        found.append(step.is_complete)
    assert found == [False, False, False, True]
    step.sent("ada")  # and more: nothing is owed for it
    assert step.is_complete


def test_who_sends_without_waiting_for_acks_is_not_in_step() -> None:
    step = Lockstep()
    step.began(["ada"])
    step.sent("ada")
    assert not step.is_complete  # it is under way still
    step.answered(silent=False)
    step.sent("ada")
    assert not step.is_complete


def test_who_has_left_is_owed_for_one_transaction_only() -> None:
    step = Lockstep()
    step.began(["ada", "gone"])
    step.answered(silent=True)
    step.sent("ada")
    assert not step.is_complete
    step.began(["ada"])
    assert not step.is_complete
    step.answered(silent=True)
    step.sent("ada")
    assert step.is_complete
