"""What is known of one room's numbers in one epoch: which message each is, and who vouches for it.

A message is a 63-bit digest here, never its text: 17 bytes a message and a room's dictionary of pages, so an hour at
1,000 messages/s is 61 MB. Two of those 3.6 million share a digest with a chance of about 1 in 1,000,000.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ACKED = 1  # the server said so to the sender
SEEN = 2  # at least one client got it
STORED = 4  # the store holds the number

PAGE = 4096  # numbers; a wild number costs one page of 70 KB, not the whole range up to it


class _Page:
    __slots__ = ("digests", "marks", "nonces")

    def __init__(self) -> None:
        self.digests = array("q", bytes(8 * PAGE))
        self.nonces = array("q", bytes(8 * PAGE))
        self.marks = bytearray(PAGE)


class Ledger:
    """Number -> digest of the message, digest of its nonce where an ack told it, and marks. 0 is unknown."""

    def __init__(self) -> None:
        self._pages: dict[int, _Page] = {}

    def _page(self, seq: int) -> _Page:
        number = seq // PAGE
        page = self._pages.get(number)
        if page is None:
            page = self._pages[number] = _Page()
        return page

    def mark(self, seq: int, mark: int) -> int:
        """Note who vouches for a number; the digest known for it so far, or 0."""
        page = self._page(seq)
        at = seq % PAGE
        page.marks[at] |= mark
        return page.digests[at]

    def settle(self, seq: int, digest: int) -> None:
        """Note which message this number is."""
        self._page(seq).digests[seq % PAGE] = digest

    def settle_nonce(self, seq: int, nonce: int) -> None:
        """Note under which nonce this number was acknowledged."""
        self._page(seq).nonces[seq % PAGE] = nonce

    def nonce(self, seq: int) -> int:
        """The digest of the nonce acknowledged under this number, or 0."""
        return self._page(seq).nonces[seq % PAGE]

    def marks(self, seq: int) -> int:
        """Who vouches for this number."""
        return self._page(seq).marks[seq % PAGE]

    def where(self, digest: int) -> int:
        """The number of a message, 0 if it has none; reads everything, for use when something is wrong already."""
        for number, page in self._pages.items():
            try:
                return number * PAGE + page.digests.index(digest)
            except ValueError:
                continue
        return 0

    def unstored(self, head: int) -> Iterator[tuple[int, int]]:
        """(number, marks) of each number that the store should hold and does not, ascending."""
        numbers = set(self._pages) | set(range(head // PAGE + 1))
        for number in sorted(numbers):
            page = self._pages.get(number)
            first = number * PAGE
            for at in range(PAGE):
                marks = page.marks[at] if page is not None else 0
                if not marks & STORED and (marks or 1 <= first + at <= head):
                    yield first + at, marks
