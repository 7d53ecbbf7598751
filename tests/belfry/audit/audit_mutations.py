"""Ways to break one promise in a legal history; each gives every history with just that one broken."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from belfry.audit.observation import Acked, Closed, Joined, Observation, Row, Saw, Stored

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

History = list[Observation]


def _without(history: History, *places: int) -> History:
    return [what for place, what in enumerate(history) if place not in places]


def _with(history: History, place: int, what: Observation) -> History:
    return [*history[:place], what, *history[place + 1 :]]


def _saws(history: History) -> Iterator[tuple[int, Saw]]:
    return ((place, what) for place, what in enumerate(history) if isinstance(what, Saw))


def _next_on_link(history: History, place: int) -> int | None:
    """Where the same connection gets its next message, if it gets one."""
    here = history[place]
    assert isinstance(here, Saw | Joined)
    for later in range(place + 1, len(history)):
        what = history[later]
        if isinstance(what, Joined | Closed) and (what.client, what.link) == (here.client, here.link):
            return None
        if isinstance(what, Saw) and (what.client, what.link) == (here.client, here.link):
            return later
    return None


def _head(history: History) -> tuple[str, int]:
    last = history[-1]
    assert isinstance(last, Stored)
    return last.epoch, last.head


def lost(history: History) -> Iterator[History]:
    """One message vanishes: nobody sees it, the store does not hold it."""
    epoch, head = _head(history)
    for seq in range(1, head + 1):
        changed: History = []
        for what in history:
            if isinstance(what, Stored):
                changed.append(replace(what, rows=tuple(row for row in what.rows if row.seq != seq)))
            elif not (isinstance(what, Saw) and (what.epoch, what.seq) == (epoch, seq)):
                changed.append(what)
        yield changed


def doubled(history: History) -> Iterator[History]:
    """One client gets one message twice."""
    for place, what in _saws(history):
        yield [*history[:place], what, *history[place:]]


def swapped(history: History) -> Iterator[History]:
    """One client gets two neighbours the wrong way round."""
    for place, what in _saws(history):
        if (later := _next_on_link(history, place)) is not None:
            yield [*history[:place], *history[place + 1 : later + 1], what, *history[later + 1 :]]


def gap(history: History) -> Iterator[History]:
    """One client never gets one message between two that it gets."""
    for place, what in _saws(history):
        before = history[:place]
        came = any(isinstance(b, Saw) and (b.client, b.link) == (what.client, what.link) for b in before)
        if came and _next_on_link(history, place) is not None:
            yield _without(history, place)


def wrong_epoch(history: History) -> Iterator[History]:
    """A client comes back and is told another epoch, but no gap."""
    for place, what in enumerate(history):
        if isinstance(what, Joined) and what.after is not None:
            if what.gap:
                yield _with(history, place, replace(what, gap=False))
            else:
                yield _with(history, place, replace(what, epoch="e9"))


def wrong_epoch_of_messages(history: History) -> Iterator[History]:
    """A message of another epoch arrives."""
    for place, what in _saws(history):
        yield _with(history, place, replace(what, epoch="e9"))


def ack_without_commit(history: History) -> Iterator[History]:
    """An ack names a number that the store never gave out."""
    epoch, head = _head(history)
    for place, what in enumerate(history):
        if isinstance(what, Acked) and _epoch_at(history, place) == epoch:
            yield _with(history, place, replace(what, seq=head + 1))


def _epoch_at(history: History, place: int) -> str:
    acked = history[place]
    assert isinstance(acked, Acked)
    joins = [what for what in history[:place] if isinstance(what, Joined)]
    return [what.epoch for what in joins if (what.client, what.link) == (acked.client, acked.link)][-1]


def two_at_one_seq(history: History) -> Iterator[History]:
    """One client gets another message under a number than everybody else."""
    for place, what in _saws(history):
        for _, other in _saws(history[:place]):
            if other.epoch == what.epoch and other.seq != what.seq and _held_elsewhere(history, place, what):
                yield _with(history, place, replace(what, user=other.user, text=other.text))
                break


def _held_elsewhere(history: History, place: int, what: Saw) -> bool:
    """Whether anybody else says what this number is."""
    if what.epoch == _head(history)[0]:
        return True  # the store says so at the end
    others = (other for at, other in _saws(history) if at != place)
    return any((other.epoch, other.seq) == (what.epoch, what.seq) for other in others)


def one_at_two_seqs(history: History) -> Iterator[History]:
    """One message is committed again under a new number, and everybody connected sees that."""
    epoch, head = _head(history)
    last = history[-1]
    assert isinstance(last, Stored)
    rows = [row for what in history if isinstance(what, Stored) for row in what.rows]
    live: dict[tuple[str, int], None] = {}
    for what in history:
        if isinstance(what, Joined):
            live[(what.client, what.link)] = None
        elif isinstance(what, Closed):
            live.pop((what.client, what.link), None)
    for row in rows:
        seen = [Saw(client, link, "lobby", epoch, head + 1, row.user, row.text) for client, link in live]
        again = Row(head + 1, row.user, row.text, row.nonce)
        pages = [replace(p, head=head + 1) for p in history[-2:] if isinstance(p, Stored)]
        pages[-1] = replace(pages[-1], rows=(*pages[-1].rows, again))
        yield [*history[:-2], *seen, *pages]


def changed_text(history: History) -> Iterator[History]:
    """One client gets a message with another text than its author sent."""
    for place, what in _saws(history):
        yield _with(history, place, replace(what, text=what.text + "!"))


def changed_in_store(history: History) -> Iterator[History]:
    """The store holds another text than the author sent."""
    for place, what in enumerate(history):
        if isinstance(what, Stored):
            for at, row in enumerate(what.rows):
                rows = [*what.rows[:at], replace(row, text="?"), *what.rows[at + 1 :]]
                yield _with(history, place, replace(what, rows=tuple(rows)))


def missed_resume(history: History) -> Iterator[History]:
    """A client comes back, and the first message that it had missed does not come."""
    for place, what in enumerate(history):
        if isinstance(what, Joined) and what.after is not None and not what.gap and what.head > what.after[1]:
            first = _next_on_link(history, place)
            if first is not None and _next_on_link(history, first) is not None:
                yield _without(history, first)


def claimed_too_much(history: History) -> Iterator[History]:
    """A client comes back naming a position that it had never reached."""
    for place, what in enumerate(history):
        if isinstance(what, Joined) and what.after is not None and not what.gap:
            yield _with(history, place, replace(what, after=(what.after[0], what.after[1] + 1)))


def unanswered(history: History) -> Iterator[History]:
    """An ack never comes, though the connection stays."""
    acks = [(place, what) for place, what in enumerate(history) if isinstance(what, Acked)]
    for place, what in acks:
        alike = [other for _, other in acks if (other.client, other.nonce) == (what.client, what.nonce)]
        closed = {(c.client, c.link) for c in history if isinstance(c, Closed)}
        links = {(j.client, j.link) for j in history if isinstance(j, Joined) and j.client == what.client}
        if len(alike) == 1 and links - closed:
            yield _without(history, place)


ALL: dict[str, Callable[[History], Iterator[History]]] = {
    mutation.__name__: mutation
    for mutation in (
        lost,
        doubled,
        swapped,
        gap,
        wrong_epoch,
        wrong_epoch_of_messages,
        ack_without_commit,
        two_at_one_seq,
        one_at_two_seqs,
        changed_text,
        changed_in_store,
        missed_resume,
        claimed_too_much,
        unanswered,
    )
}
