"""The ledger remembers like a dictionary would, in less."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from belfry.audit.ledger import ACKED, PAGE, SEEN, STORED, Ledger

CLAIM_MARKS = st.sampled_from([ACKED, SEEN, STORED])
SEQS = st.integers(1, 3 * PAGE) | st.integers(2**62, 2**62 + 5)


@given(
    st.lists(st.tuples(SEQS, st.integers(1, 2**62), st.sampled_from([ACKED, SEEN, STORED]))), st.integers(0, 2 * PAGE)
)
def test_it_is_a_dictionary(claims: list[tuple[int, int, int]], head: int) -> None:
    ledger, digests, marks = Ledger(), dict[int, int](), dict[int, int]()
    for seq, digest, mark in claims:
        assert ledger.mark(seq, mark) == digests.get(seq, 0)
        ledger.settle(seq, digest)
        digests[seq] = digest
        marks[seq] = marks.get(seq, 0) | mark
    for seq, digest in digests.items():
        assert ledger.marks(seq) == marks[seq]
        assert digests[ledger.where(digest)] == digest
    expected = [seq for seq in {*marks, *range(1, head + 1)} if not marks.get(seq, 0) & STORED]
    assert [seq for seq, _ in ledger.unstored(head)] == sorted(expected)


def test_what_is_nowhere_is_nowhere() -> None:
    ledger = Ledger()
    ledger.settle(5, 77)
    assert ledger.where(78) == 0
    assert ledger.where(77) == 5


def test_nonces_are_kept_beside() -> None:
    ledger = Ledger()
    assert ledger.nonce(5) == 0
    ledger.settle_nonce(5, 99)
    assert ledger.nonce(5) == 99
