"""The start-up lines: all that matters, plain without a terminal, coloured only where wanted."""

from __future__ import annotations

from belfry.announce import Facts

FACTS = Facts(
    version="1.2",
    addresses=("http://127.0.0.1:8000", "http://[::1]:8000"),
    database="SQLite, belfry-data/belfry.db",
    bus="inside this process",
    migrated="made now, with schema 1",
    unsafe=("guests are on", "the secret was made up now"),
    pid=7,
    server=8,
    deadline=25.0,
)
TOLD = (*FACTS.addresses, FACTS.database, FACTS.bus, FACTS.migrated, *FACTS.unsafe, "Ctrl-C, or kill 7", "25 s")


def test_everything_is_told_on_a_terminal_and_off_it() -> None:
    for terminal, colours in ((True, True), (True, False), (False, False)):
        text = "\n".join(FACTS.lines(terminal=terminal, colours=colours))
        assert all(what in text for what in TOLD)
        assert ("\x1b[" in text) == colours


def test_off_a_terminal_each_line_says_who_speaks() -> None:
    assert all(line.startswith("belfry: ") for line in FACTS.lines(terminal=False, colours=False))


def test_the_event_holds_it_for_programs() -> None:
    event = FACTS.event()
    assert event["addresses"] == list(FACTS.addresses)
    assert event["unsafe"] == list(FACTS.unsafe)
