"""The checker finds nothing in a history that keeps every promise, and finds whatever breaks one."""

from __future__ import annotations

from collections import Counter

import audit_mutations as mutations
import pytest
from audit_world import ROOM, World
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from belfry.audit.checker import EXAMPLES, Checker
from belfry.audit.observation import Acked, Closed, Garbled, Joined, Observation, Refused, Row, Saw, Sent, Stored
from belfry.audit.verdict import FAULTS, Verdict

STEPS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 2)), min_size=5, max_size=120)


def judged(history: list[Observation]) -> Verdict:
    return Checker().observe_all(history).verdict()


def calm(again: bool = True) -> list[Observation]:
    """A history with everything in it, to its end."""
    return calm_world(again).finish()


def calm_world(again: bool = True) -> World:
    """Two talk, a third leaves and comes back to what it missed."""
    world = World()
    one, two, three = world.clients
    for client in world.clients:
        world.connect(client)
    for client in (one, two, one, two):
        world.send(client)
        world.commit(client)
        for _ in range(2):
            for other in world.clients:
                world.deliver(other)
    if again:
        world.close(three)
        for _ in range(3):
            world.send(one)
            world.commit(one)
            world.deliver(one)
            world.deliver(one)
        world.connect(three)
    return world


def test_a_calm_history_is_clean() -> None:
    verdict = judged(calm())
    assert verdict.ok
    assert verdict.counts.sent == verdict.counts.acked == verdict.counts.messages == 7
    assert verdict.counts.resumes == 1
    assert verdict.counts.closes == {1006: 1}


# What is planted -> what the checker calls it.
PLANTED = {
    "lost": {"lost", "ack_without_commit"},
    "doubled": {"doubled"},
    "swapped": {"reordered"},
    "gap": {"skipped", "missed_resume"},
    "wrong_epoch": {"wrong_epoch"},
    "ack_without_commit": {"ack_without_commit"},
    "two_at_one_seq": {"two_at_one_seq", "one_at_two_seqs"},
    "one_at_two_seqs": {"one_at_two_seqs"},
    "changed_text": {"changed_text"},
    "missed_resume": {"missed_resume"},
    "changed_in_store": {"changed_text"},
    "wrong_epoch_of_messages": {"wrong_epoch"},
    "claimed_too_much": {"skipped"},
    "unanswered": {"unacknowledged"},
}


@pytest.mark.parametrize("fault", mutations.ALL)
def test_a_planted_fault_is_found_and_named(fault: str) -> None:
    planted = list(mutations.ALL[fault](calm()))
    assert planted
    for history in planted:
        verdict = judged(history)
        assert not verdict.ok
        assert PLANTED[fault] & set(verdict.faults)
        for kind in verdict.faults:
            assert 1 <= len(verdict.examples[kind]) <= EXAMPLES
            assert ROOM in verdict.examples[kind][0] or "never sent" in verdict.examples[kind][0]


# Where nothing follows from the fault, the checker says just the one thing, once.
@pytest.mark.parametrize("fault", ["doubled", "swapped", "gap", "missed_resume", "unanswered"])
def test_a_fault_is_told_once(fault: str) -> None:
    for history in mutations.ALL[fault](calm()):
        ((kind, count),) = judged(history).faults.items()
        assert kind in PLANTED[fault]
        assert count == 1


def test_an_unacknowledged_message_that_is_nowhere_is_lost_to_nobody() -> None:
    history = calm()
    history.insert(3, Sent("c0", ROOM, "u-c0", "late", "the server died with this in its hand"))
    history.append(Closed("c0", 1, 1006))
    verdict = judged(history)
    assert verdict.ok
    assert verdict.counts.unacknowledged == 1


def test_a_number_nobody_was_acknowledged_for_is_lost_when_the_store_has_not_got_it() -> None:
    history = [what for what in calm() if not isinstance(what, Acked)]
    for changed in mutations.lost(history):
        assert "lost" in judged(changed).faults


def test_a_message_seen_and_then_gone_with_the_head_is_lost() -> None:
    history = calm(again=False)
    last = history[-1]
    assert isinstance(last, Stored)
    history = [*history[:-1], Stored(ROOM, last.epoch, last.head - 1, last.rows[:-1])]
    faults = judged(history).faults
    assert faults == {"ack_without_commit": 1}
    without = [what for what in history if not (isinstance(what, Acked) and what.seq == last.head)]
    assert "lost" in judged(without).faults


def test_a_room_whose_history_was_not_read_is_not_proven() -> None:
    verdict = judged(calm()[:-1])
    assert verdict.unread == [ROOM]
    assert not verdict.ok
    assert not verdict.faults


def test_an_ack_for_nothing_is_found() -> None:
    history = calm()
    history.insert(-2, Acked("c0", 1, ROOM, "never", 3))
    assert judged(history).faults == {"ack_without_commit": 1}


def test_the_same_ack_again_is_no_fault_and_another_number_is() -> None:
    history = calm()
    acked = next(what for what in history if isinstance(what, Acked))
    assert judged([*history[:-2], acked, *history[-2:]]).ok
    other = Acked(acked.client, acked.link, acked.room, acked.nonce, acked.seq + 1)
    assert judged([*history[:-2], other, *history[-2:]]).faults == {"one_at_two_seqs": 1}


def test_a_store_that_swaps_nonces_is_found() -> None:
    history = calm()
    last = history[-1]
    assert isinstance(last, Stored)
    row = last.rows[0]
    history[-1] = Stored(ROOM, last.epoch, last.head, (Row(row.seq, row.user, row.text, "another"), *last.rows[1:]))
    assert judged(history).faults == {"ack_without_commit": 1}


def test_a_store_read_without_nonces_is_enough() -> None:
    history: list[Observation] = []
    for what in calm():
        if isinstance(what, Stored):
            rows = tuple(Row(row.seq, row.user, row.text) for row in what.rows)
            what = Stored(what.room, what.epoch, what.head, rows, what.last)
        history.append(what)
    assert judged(history).ok


def test_a_refused_send_needs_no_ack() -> None:
    history = calm()
    history[-2:-2] = [Sent("c0", ROOM, "u-c0", "bad", "too long"), Refused("c0", ROOM, "bad", "text_too_long")]
    verdict = judged(history)
    assert verdict.ok
    assert verdict.counts.refused == 1


def test_strangers_may_talk_in_the_room_and_say_the_same_twice() -> None:
    rows = tuple(Row(seq, "u-stranger", "hi") for seq in (1, 2, 3))
    history: list[Observation] = [Joined("c0", 1, ROOM, "e1", 0, None, 50, False)]
    history += [Saw("c0", 1, ROOM, "e1", row.seq, row.user, row.text) for row in rows]
    assert judged([*history, Stored(ROOM, "e1", 3, rows)]).ok


def test_a_first_join_gets_the_last_messages_it_asked_for_and_may_get_more() -> None:
    rows = tuple(Row(seq, "u-stranger", str(seq)) for seq in range(1, 11))
    for limit, first, ok in [(3, 8, True), (3, 7, True), (3, 9, False), (0, 11, True), (50, 1, True), (50, 2, False)]:
        history: list[Observation] = [Joined("c0", 1, ROOM, "e1", 10, None, limit, False)]
        history += [Saw("c0", 1, ROOM, "e1", row.seq, row.user, row.text) for row in rows[first - 1 :]]
        assert judged([*history, Stored(ROOM, "e1", 10, rows)]).ok is ok


def test_a_position_beyond_the_head_without_a_gap_is_found() -> None:
    rows = tuple(Row(seq, "u-stranger", str(seq)) for seq in range(1, 4))
    history: list[Observation] = [Joined("c0", 1, ROOM, "e1", 3, None, 0, False), Closed("c0", 1, 1006)]
    back = Joined("c0", 2, ROOM, "e1", 2, ("e1", 3), 50, False)
    assert "missed_resume" in judged([*history, back, Stored(ROOM, "e1", 3, rows)]).faults


def test_an_epoch_that_comes_back_is_found() -> None:
    history: list[Observation] = [
        Joined("c0", 1, ROOM, "e1", 0, None, 50, False),
        Joined("c0", 1, ROOM, "e2", 0, ("e1", 0), 50, True),
    ]
    assert judged([*history, Stored(ROOM, "e2", 0, ())]).ok
    back = Joined("c0", 1, ROOM, "e1", 0, ("e2", 0), 50, True)
    assert judged([*history, back, Stored(ROOM, "e1", 0, ())]).faults == {"wrong_epoch": 1}


def test_a_client_left_in_another_epoch_than_the_store_is_found() -> None:
    history: list[Observation] = [Joined("c0", 1, ROOM, "e1", 0, None, 50, False), Stored(ROOM, "e2", 0, ())]
    assert judged(history).faults == {"wrong_epoch": 1}


def test_a_frame_that_is_none_is_found() -> None:
    history = [*calm(), Garbled("c1", 1, "{")]
    assert judged(history).faults == {"garbled": 1}


def test_what_is_seen_before_joining_is_found() -> None:
    history = calm()
    history.insert(0, Saw("c2", 7, ROOM, "e1", 1, "u-c0", "0 of c0"))
    assert "reordered" in judged(history).faults


def test_the_same_text_again_under_a_new_nonce_cannot_be_checked_and_is_refused() -> None:
    checker = Checker()
    checker.observe(Sent("c0", ROOM, "u", "n1", "hi"))
    with pytest.raises(ValueError, match="as something new"):
        checker.observe(Sent("c0", ROOM, "u", "n2", "hi"))


def test_a_wild_number_costs_little_and_is_found() -> None:
    history = calm()
    history.insert(-2, Saw("c1", 1, ROOM, "e1", 2**62, "u-c0", "0 of c0"))
    faults = judged(history).faults
    assert {"skipped", "one_at_two_seqs", "lost"} <= set(faults)


def test_a_verdict_is_told_to_people_and_programs() -> None:
    good, bad = judged(calm()), judged(next(mutations.doubled(calm())))
    assert "Every promise held" in good.lines()[-1]
    assert any(line.startswith("BROKEN: doubled (1): ") for line in bad.lines())
    assert b'"ok":true' in good.to_json()
    assert b'"closes":{"1006":1}' in good.to_json()
    assert b'"ok":false' in bad.to_json()


@given(STEPS, st.integers(0, 2))
def test_any_legal_history_is_clean(steps: list[tuple[int, int]], gone: int) -> None:
    world = World()
    for step in steps:
        world.step(*step)
    verdict = judged(world.finish(gone))
    assert verdict.ok, verdict.lines()


@pytest.mark.parametrize("fault", mutations.ALL)
def test_any_single_fault_in_any_legal_history_is_found(fault: str) -> None:
    found: Counter[str] = Counter()

    @settings(max_examples=40)  # of each of 14 mutations
    @given(STEPS, st.integers(0, 2), st.data())
    def breaks(steps: list[tuple[int, int]], gone: int, data: st.DataObject) -> None:
        world = calm_world()  # so that there is something to break
        for step in steps:
            world.step(*step)
        broken = list(mutations.ALL[fault](world.finish(gone)))
        assume(broken)
        verdict = judged(data.draw(st.sampled_from(broken)))
        assert verdict.faults
        assert set(verdict.faults) <= set(FAULTS)
        found.update(verdict.faults)

    breaks()
    assert set(found) & PLANTED[fault]
