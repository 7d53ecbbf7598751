"""Used tickets: each is taken once while it is good, and the memory of them has a bound."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chat.tickets import UsedTickets


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(0, 20)), max_size=60))
def test_no_ticket_is_taken_twice_before_it_expires(shown: list[tuple[int, float]]) -> None:
    """Tickets 0 to 5, each shown at some moment; each expires ten seconds after it was shown first."""
    used, taken, now = UsedTickets(), dict[str, float](), 0.0
    for number, gap in shown:
        now += gap
        ticket = str(number)
        fresh = ticket not in taken or taken[ticket] <= now
        assert used.use(ticket, now + 10.0, now) is fresh
        if fresh:
            taken[ticket] = now + 10.0


def test_full_of_good_tickets_it_takes_no_other() -> None:
    used = UsedTickets(kept=3)
    assert all(used.use(str(number), 10.0 + number, 0.0) for number in range(3))
    assert not used.use("one more", 20.0, 0.0)
    assert used.use("one more", 20.0, 10.5)  # the first has expired
    assert len(used) == 3
