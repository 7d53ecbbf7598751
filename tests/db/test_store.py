"""What every twin of the Store promises (db/store.py); runs once for each of them."""

# ruff: noqa: RUF001 - letters of other scripts are what some of these tests are about

from __future__ import annotations

import datetime as dt
import functools
import itertools
from typing import TYPE_CHECKING

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from db.records import Appended, Draft, Mark, RoomMissing
from db.store import BadCursor, RoomTaken

if TYPE_CHECKING:
    from db.records import MessageRecord, Order, RoomRecord, RoomSort
    from db.store import Store
    from tests.db.conftest import Twin

NOW = dt.datetime(2026, 11, 23, 10, 0, 0, 123456, tzinfo=dt.UTC)
SECOND = dt.timedelta(seconds=1)
WAIT = 120.0  # seconds no step of a test comes near to
fresh = itertools.count()  # for rooms of their own where Hypothesis runs many examples on one database
UNICODE = [
    "plain",
    "naïve \N{COMBINING ACUTE ACCENT}e\N{COMBINING ACUTE ACCENT}",  # composed and not: neither may turn into the other
    "👩‍👩‍👧‍👦 🏳️‍🌈 🇩🇪 👍🏿",
    "שלום عليكم \N{RIGHT-TO-LEFT OVERRIDE}abc\N{POP DIRECTIONAL FORMATTING}",
    "\U00010000 \U0001f600 \U0010ffff",
    "\ufffe \uffff \ufdd0 \ufeff",
    "\u2028 \u2029 \x85 \x7f \x01 \x1f",
    "tab\tline\nreturn\rend",
    "\"quoted\" 'single' `back` \\ \\\\ \\u0000 \\n \\' % _ ; -- /* ${x} {0} %s",
    "  spaces at both ends  ",
    "ﬁ ß İ ı Ǆ ǆ ς Σ",
    "",
]


def draft(room: RoomRecord, nonce: str, text: str = "hi", user: str = "u_1") -> Draft:
    return Draft(room.id, user, "Ada", nonce, text)


def drafts(room: RoomRecord, count: int, first: int = 0) -> list[Draft]:
    return [draft(room, f"n{i}", f"text {i}") for i in range(first, first + count)]


async def lobby(store: Store, name: str = "lobby") -> RoomRecord:
    return await store.create_room(name, name.title(), "u_1", NOW)


async def history(store: Store, room: RoomRecord) -> list[MessageRecord]:
    return await store.messages_after(room.id, 0, 10_000)


def seqs(outcomes: list[Appended | RoomMissing]) -> list[int | None]:
    return [outcome.seq if isinstance(outcome, Appended) else None for outcome in outcomes]


# --- append ----------------------------------------------------------------------------------------------------


async def test_numbers_are_consecutive_from_one(store: Store) -> None:
    room = await lobby(store)
    first = await store.append(drafts(room, 3), NOW)
    second = await store.append(drafts(room, 2, 3), NOW + SECOND)
    assert first == [Appended(seq, NOW, True) for seq in (1, 2, 3)]
    assert second == [Appended(seq, NOW + SECOND, True) for seq in (4, 5)]
    assert [(m.seq, m.user_id, m.user_name, m.text, m.at) for m in await history(store, room)] == [
        (i + 1, "u_1", "Ada", f"text {i}", NOW if i < 3 else NOW + SECOND) for i in range(5)
    ]


async def test_nothing_to_append(store: Store) -> None:
    assert await store.append([], NOW) == []


async def test_a_nonce_twice_in_one_batch(store: Store) -> None:
    room = await lobby(store)
    outcomes = await store.append([draft(room, "a", "first"), draft(room, "b"), draft(room, "a", "second")], NOW)
    assert outcomes == [Appended(1, NOW, True), Appended(2, NOW, True), Appended(1, NOW, False)]
    assert [m.text for m in await history(store, room)] == ["first", "hi"]


async def test_a_nonce_again_later_gets_the_first_number_and_moment(store: Store) -> None:
    room = await lobby(store)
    await store.append([draft(room, "a", "first"), draft(room, "b")], NOW)
    later = NOW + SECOND
    outcomes = await store.append([draft(room, "c"), draft(room, "a", "again"), draft(room, "d")], later)
    assert outcomes == [Appended(3, later, True), Appended(1, NOW, False), Appended(4, later, True)]
    assert [m.text for m in await history(store, room)] == ["first", "hi", "hi", "hi"]


async def test_only_known_nonces_write_nothing(store: Store) -> None:
    room = await lobby(store)
    await store.append(drafts(room, 3), NOW)
    before = await store.room("lobby")
    assert await store.append(drafts(room, 3), NOW + SECOND) == [Appended(seq, NOW, False) for seq in (1, 2, 3)]
    assert await store.room("lobby") == before


async def test_a_nonce_belongs_to_its_user_and_room_and_to_the_letter(store: Store) -> None:
    room, other = await lobby(store), await lobby(store, "other")
    batch = [
        draft(room, "a"),
        draft(room, "a", user="u_2"),
        draft(room, "a", user="U_1"),
        draft(room, "A"),
        draft(room, "a "),
        draft(other, "a"),
    ]
    assert seqs(await store.append(batch[:1], NOW)) == [1]
    assert await store.append(batch, NOW + SECOND) == [
        Appended(1, NOW, False),
        *[Appended(seq, NOW + SECOND, True) for seq in (2, 3, 4, 5)],
        Appended(1, NOW + SECOND, True),
    ]


async def test_many_rooms_and_missing_ones_in_one_batch(store: Store) -> None:
    rooms = [await lobby(store, f"r{i}") for i in range(20)]
    gone = await lobby(store, "gone")
    await store.append([draft(gone, "x")], NOW)
    await store.delete_room("gone")
    batch = []
    for i in range(5):
        for room in rooms:
            batch.append(draft(room, f"n{i}"))
        batch += [draft(gone, f"n{i}"), Draft(10**9, "u_1", "Ada", f"n{i}", "")]
    assert seqs(await store.append(batch, NOW)) == [n for i in range(1, 6) for n in [i] * 20 + [None, None]]
    assert await store.heads([room.id for room in [*rooms, gone]]) == {room.id: 5 for room in rooms}


async def test_only_missing_rooms(store: Store) -> None:
    assert await store.append([Draft(7, "u_1", "Ada", "n", "")], NOW) == [RoomMissing()]


async def test_nonces_are_remembered_after_a_restart(twin: Twin) -> None:
    store = await twin.open()
    room = await lobby(store)
    await store.append(drafts(room, 3), NOW)
    await store.aclose()
    store = await twin.open()
    assert seqs(await store.append(drafts(room, 5), NOW + SECOND)) == [1, 2, 3, 4, 5]
    assert [m.seq for m in await history(store, room)] == [1, 2, 3, 4, 5]
    assert await store.room("lobby") is not None
    await store.aclose()


async def test_two_stores_on_one_database_share_the_sequence(twin: Twin) -> None:
    one, two = await twin.open(), await twin.open()
    room = await lobby(one)
    for i in range(10):
        assert seqs(await (one, two)[i % 2].append([draft(room, f"n{i}")], NOW)) == [i + 1]
    await two.delete_room("lobby")
    assert await one.append([draft(room, "late")], NOW) == [RoomMissing()]
    await one.aclose()
    await two.aclose()


async def test_concurrent_appends_leave_no_hole_and_repeat_nothing(store: Store) -> None:
    rooms = [await lobby(store, f"r{i}") for i in range(3)]
    got: list[tuple[int, Appended]] = []

    async def sender(who: int) -> None:
        for i in range(15):
            # Each nonce is sent by two tasks, as a client does that reconnects before its ack.
            batch = [Draft(room.id, f"u_{who % 4}", "Ada", f"n{i}", f"{who % 4} {i}") for room in rooms]
            for room, outcome in zip(rooms, await store.append(batch, NOW), strict=True):
                assert isinstance(outcome, Appended)
                got.append((room.id, outcome))

    with trio.fail_after(WAIT):
        async with trio.open_nursery() as nursery:
            for who in range(8):
                nursery.start_soon(sender, who)
    for room in rooms:
        first = [outcome.seq for room_id, outcome in got if room_id == room.id and outcome.fresh]
        again = [outcome.seq for room_id, outcome in got if room_id == room.id and not outcome.fresh]
        assert sorted(first) == sorted(again) == list(range(1, 61))
        assert [m.seq for m in await history(store, room)] == list(range(1, 61))
        assert len({m.text for m in await history(store, room)}) == 60


async def test_a_cancelled_append_is_whole_or_not_at_all(store: Store) -> None:
    room = await lobby(store)
    for i in range(20):
        with trio.move_on_after(i * 0.0002):
            await store.append(drafts(room, 50, i * 50), NOW)
    numbers = [m.seq for m in await history(store, room)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) % 50 == 0
    # And it goes on.
    assert seqs(await store.append([draft(room, "last")], NOW)) == [len(numbers) + 1]


async def test_texts_come_back_exactly(store: Store) -> None:
    room = await lobby(store)
    batch = [
        Draft(room.id, f"u{i}{text}"[:60], f"name {text}", f"{i}{text}"[:60], text) for i, text in enumerate(UNICODE)
    ]
    await store.append(batch, NOW)
    for read in (await history(store, room), (await store.messages_before(room.id, 10**6, 500))):
        assert [m.text for m in read] == UNICODE
        assert [m.user_name for m in read] == [f"name {text}" for text in UNICODE]
    # The careful way reads nonces and users back out of JSON: they must be found again.
    assert seqs(await store.append([draft(room, "new"), *batch], NOW)) == [
        len(UNICODE) + 1,
        *range(1, len(UNICODE) + 1),
    ]


# Under Hypothesis a test opens its own store: pytest-trio sets an async fixture up for the first example only.
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=50))
async def test_any_text_comes_back_exactly(twin: Twin, text: str) -> None:
    store = await twin.open()
    room = await store.room("lobby") or await lobby(store)
    (outcome,) = await store.append([draft(room, str(room.last_seq), text)], NOW)
    assert isinstance(outcome, Appended)
    (read,) = await store.messages_after(room.id, outcome.seq - 1, 1)
    await store.aclose()
    assert read.text == text


@pytest.mark.parametrize("field", ["user_id", "user_name", "nonce", "text"])
@pytest.mark.parametrize("bad", ["cut\0here", "\0", "lone \ud800"])
async def test_a_text_that_cannot_be_kept_exactly_is_refused(store: Store, field: str, bad: str) -> None:
    room = await lobby(store)
    values = {"room_id": room.id, "user_id": "u", "user_name": "A", "nonce": "n", "text": "t"} | {field: bad}
    kept: list[int] = []
    for _ in range(2):  # before and after the store knows the room
        with pytest.raises(ValueError, match=r"NUL|surrogate"):
            await store.append([draft(room, "ok"), Draft(**values)], NOW)  # type: ignore[arg-type]  # names are fields
        assert [m.seq for m in await history(store, room)] == kept
        await store.append([draft(room, "x")], NOW)
        kept = [1]


async def test_a_moment_without_a_zone_is_refused(store: Store) -> None:
    room = await lobby(store)
    with pytest.raises(ValueError, match="time zone"):
        await store.append([draft(room, "n")], NOW.replace(tzinfo=None))


@pytest.mark.parametrize("at", [NOW, NOW.replace(microsecond=0), dt.datetime(2099, 12, 31, 23, 59, 59, 1, dt.UTC)])
async def test_moments_come_back_to_the_microsecond_in_utc(store: Store, at: dt.datetime) -> None:
    room = await store.create_room("lobby", "", "u", at.astimezone(dt.timezone(dt.timedelta(hours=-5))))
    await store.append([draft(room, "n")], at.astimezone(dt.timezone(dt.timedelta(hours=9))))
    live = await store.live_room("lobby", 1, 0)
    assert live is not None
    for moment in (room.created_at, room.updated_at, live.room.active_at, live.recent[0].at):
        assert (moment, moment.tzinfo) == (at, dt.UTC)


# --- reading ---------------------------------------------------------------------------------------------------


async def test_paging_forth_and_back(store: Store) -> None:
    room, other = await lobby(store), await lobby(store, "other")
    await store.append([*drafts(room, 25), *drafts(other, 7)], NOW)

    def numbers(messages: list[MessageRecord]) -> list[int]:
        return [m.seq for m in messages]

    assert numbers(await store.messages_after(room.id, 0, 10)) == list(range(1, 11))
    assert numbers(await store.messages_after(room.id, 20, 10)) == list(range(21, 26))
    assert numbers(await store.messages_after(room.id, 25, 10)) == []
    assert numbers(await store.messages_before(room.id, 26, 10)) == list(range(16, 26))
    assert numbers(await store.messages_before(room.id, 6, 10)) == list(range(1, 6))
    assert numbers(await store.messages_before(room.id, 1, 10)) == []
    for limit in (0, -1):
        assert await store.messages_after(room.id, 0, limit) == []
        assert await store.messages_before(room.id, 26, limit) == []
    assert await store.messages_after(10**9, 0, 10) == await store.messages_before(10**9, 9, 10) == []


async def test_walking_back_meets_every_message_once(store: Store) -> None:
    room = await lobby(store)
    await store.append(drafts(room, 103), NOW)
    seen: list[int] = []
    before = 2**63 - 1
    while page := await store.messages_before(room.id, before, 10):
        seen = [m.seq for m in page] + seen
        before = page[0].seq
    assert seen == list(range(1, 104))


async def test_heads_leaves_out_missing_rooms(store: Store) -> None:
    room, other = await lobby(store), await lobby(store, "other")
    await store.append(drafts(room, 4), NOW)
    assert await store.heads([room.id, other.id, 10**9, room.id]) == {room.id: 4, other.id: 0}
    assert await store.heads([]) == {}


async def test_live_room(store: Store) -> None:
    room = await lobby(store)
    assert await store.live_room("nowhere", 10, 10) is None
    empty = await store.live_room("lobby", 10, 10)
    assert empty is not None
    assert (empty.room, empty.recent, empty.marks) == (room, [], {})
    await store.append(drafts(room, 12), NOW + SECOND)
    await store.save_marks([Mark(room.id, "u_1", 3)])
    await store.save_marks([Mark(room.id, "u_2", 12)])
    await store.save_marks([Mark(room.id, "u_1", 5)])
    await store.save_marks([Mark(room.id, "u_2", 2)])  # backwards: not a move
    live = await store.live_room("lobby", 5, 1)
    assert live is not None
    assert (live.room.last_seq, live.room.active_at) == (12, NOW + SECOND)
    assert [m.seq for m in live.recent] == [8, 9, 10, 11, 12]
    assert live.marks == {"u_1": 5}
    whole = await store.live_room("lobby", 100, 100)
    assert whole is not None
    assert [m.seq for m in whole.recent] == list(range(1, 13))
    assert whole.marks == {"u_1": 5, "u_2": 12}


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    batches=st.lists(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 30)), max_size=8), min_size=1, max_size=6),
    recent=st.integers(0, 20),
)
async def test_a_reader_never_sees_a_hole(twin: Twin, batches: list[list[tuple[int, int]]], recent: int) -> None:
    """Writers and readers interleave as the threads please; every view must be whole."""
    store = await twin.open()
    rooms = [await lobby(store, f"r{next(fresh)}") for _ in range(2)]
    writing = trio.Event()

    async def write() -> None:
        for batch in batches:
            await store.append([draft(rooms[which], f"n{nonce}") for which, nonce in batch], NOW)
        writing.set()

    async def read(room: RoomRecord) -> None:
        last = 0
        while True:
            done = writing.is_set()
            live = await store.live_room(room.name, recent, 0)
            assert live is not None
            head = live.room.last_seq
            assert [m.seq for m in live.recent] == list(range(max(head - recent, 0) + 1, head + 1))
            assert head >= last
            last = head
            after = [m.seq for m in await store.messages_after(room.id, last, 100)]
            assert after == list(range(last + 1, last + 1 + len(after)))
            if done:
                break

    with trio.fail_after(WAIT):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            for room in rooms:
                nursery.start_soon(read, room)
    for which, room in enumerate(rooms):
        sent = {nonce for batch in batches for room_index, nonce in batch if room_index == which}
        assert await store.heads([room.id]) == {room.id: len(sent)}
    await store.aclose()


# --- rooms -----------------------------------------------------------------------------------------------------


async def test_create_and_find(store: Store) -> None:
    room = await store.create_room("lobby", 'The "Lobby" 👋', "u_9", NOW)
    assert (room.name, room.title, room.last_seq, room.created_by) == ("lobby", 'The "Lobby" 👋', 0, "u_9")
    assert room.created_at == room.updated_at == room.active_at == NOW
    assert 1 <= len(room.epoch) <= 16
    assert room.epoch.isascii()
    assert room.epoch.isalnum()
    assert await store.room("lobby") == room
    assert await store.room("Lobby") is None
    assert await store.room("") is None


async def test_a_name_is_taken_once(store: Store) -> None:
    room = await lobby(store)
    with pytest.raises(RoomTaken):
        await store.create_room("lobby", "another", "u_2", NOW + SECOND)
    assert await store.room("lobby") == room


async def test_many_create_the_same_room_and_one_does(store: Store) -> None:
    made: list[RoomRecord] = []

    async def create() -> None:
        try:
            made.append(await lobby(store))
        except RoomTaken:
            return

    with trio.fail_after(WAIT):
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(create)
    assert made == [await store.room("lobby")]


async def test_rename(store: Store) -> None:
    room = await lobby(store)
    renamed = await store.rename_room("lobby", "Größe", NOW + SECOND)
    assert renamed is not None
    assert (renamed.title, renamed.updated_at) == ("Größe", NOW + SECOND)
    assert (renamed.id, renamed.epoch, renamed.created_at, renamed.active_at) == (room.id, room.epoch, NOW, NOW)
    assert await store.room("lobby") == renamed
    assert [r.name for r in (await store.rooms("GRÖSSE", "name", "asc", 9, None)).rooms] == ["lobby"]
    assert (await store.rooms("lobby", "name", "asc", 9, None)).rooms == [renamed]
    assert await store.rename_room("nowhere", "x", NOW) is None


async def test_delete_takes_messages_and_marks_and_only_its_own(store: Store) -> None:
    room, other = await lobby(store), await lobby(store, "other")
    await store.append([*drafts(room, 5), *drafts(other, 5)], NOW)
    await store.save_marks([Mark(room.id, "u_1", 3), Mark(other.id, "u_1", 4)])
    gone = await store.delete_room("lobby")
    assert gone is not None
    assert (gone.id, gone.last_seq) == (room.id, 5)
    assert await store.delete_room("lobby") is None
    assert await store.room("lobby") is None
    assert await store.live_room("lobby", 10, 10) is None
    assert await history(store, room) == []
    assert len(await history(store, other)) == 5
    kept = await store.live_room("other", 10, 10)
    assert kept is not None
    assert kept.marks == {"u_1": 4}


async def test_a_room_made_again_is_another_room(twin: Twin) -> None:
    store = await twin.open()
    room = await lobby(store)
    await store.append(drafts(room, 5), NOW)
    await store.save_marks([Mark(room.id, "u_1", 3)])
    await store.delete_room("lobby")
    await store.aclose()
    store = await twin.open()  # the highest id is free now, and must not be used again all the same
    again = await lobby(store)
    assert again.id != room.id
    assert again.epoch != room.epoch
    assert again.last_seq == 0
    live = await store.live_room("lobby", 10, 10)
    assert live is not None
    assert (live.recent, live.marks) == ([], {})
    # Old nonces are new here, and what is meant for the old room does not get in.
    assert await store.append([draft(again, "n0"), draft(room, "n1")], NOW) == [Appended(1, NOW, True), RoomMissing()]
    await store.aclose()


# --- the listing -----------------------------------------------------------------------------------------------

SORTS: list[RoomSort] = ["name", "created_at", "active_at"]
ORDERS: list[Order] = ["asc", "desc"]


async def many_rooms(store: Store) -> list[RoomRecord]:
    """25 rooms whose moments tie in groups, and run against each other and the names."""
    rooms = []
    for i in range(25):
        name = f"r{i * 7 % 25:02}"
        rooms.append(await store.create_room(name, f"Room {i}", "u", NOW - (i // 4) * SECOND))
    for i, room in enumerate(rooms):
        if i % 3:
            await store.append([draft(room, "n")], NOW + (i % 5) * SECOND)
    records = [await store.room(room.name) for room in rooms]
    return [room for room in records if room is not None]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("sort", SORTS)
async def test_walking_the_listing_meets_every_room_once_in_order(store: Store, sort: RoomSort, order: Order) -> None:
    rooms = await many_rooms(store)
    expected = sorted(rooms, key=lambda room: (getattr(room, sort), room.id), reverse=order == "desc")
    for limit in (1, 4, 24, 25, 26):
        seen: list[RoomRecord] = []
        cursor = None
        for _ in range(30):
            page = await store.rooms("", sort, order, limit, cursor)
            seen += page.rooms
            cursor = page.next_cursor
            if cursor is None:
                break
            assert len(page.rooms) == limit
        assert cursor is None
        assert seen == expected


async def test_no_rooms_and_no_limit(store: Store) -> None:
    assert (await store.rooms("", "name", "asc", 10, None)).rooms == []
    await lobby(store)
    for limit in (0, -1):
        page = await store.rooms("", "name", "asc", limit, None)
        assert (page.rooms, page.next_cursor) == ([], None)


async def test_the_listing_goes_on_after_its_last_room_is_deleted(store: Store) -> None:
    for name in "abcd":
        await lobby(store, name)
    page = await store.rooms("", "name", "asc", 2, None)
    await store.delete_room("b")
    rest = await store.rooms("", "name", "asc", 2, page.next_cursor)
    assert [room.name for room in rest.rooms] == ["c", "d"]


@pytest.mark.parametrize(
    ("q", "found"),
    [
        ("", ["cafe", "dev-1", "haus", "lobby", "moscow"]),
        ("LOB", ["lobby"]),
        ("by", ["lobby"]),
        ("lobbyist", []),
        ("100%", ["dev-1"]),
        ("%", ["dev-1"]),
        ("_", ["dev-1"]),
        ("a_b", ["dev-1"]),
        ("axb", []),
        ("\\", ["dev-1"]),
        ("'", ["lobby"]),
        ('"', []),
        ("dev-", ["dev-1"]),
        ("CAFÉ", ["cafe"]),
        ("cafe\N{COMBINING ACUTE ACCENT}", ["cafe"]),  # the same word, typed on another system
        ("STRASSE", ["haus"]),
        ("straße", ["haus"]),
        ("МОСКВА", ["moscow"]),
        ("москв", ["moscow"]),
        ("👋", ["lobby"]),
        ("\0", []),
        ("lobby\0", []),
    ],
)
async def test_search(store: Store, q: str, found: list[str]) -> None:
    for name, title in [
        ("lobby", "The town's 👋"),
        ("dev-1", r"100% a_b \o/"),
        ("cafe", "Café"),
        ("haus", "Große Straße"),
        ("moscow", "Москва"),
    ]:
        await store.create_room(name, title, "u", NOW)
    assert [room.name for room in (await store.rooms(q, "name", "asc", 10, None)).rooms] == found


async def test_search_pages_too(store: Store) -> None:
    await many_rooms(store)
    names: list[str] = []
    cursor = None
    while True:
        page = await store.rooms("R1", "name", "desc", 3, cursor)
        names += [room.name for room in page.rooms]
        if (cursor := page.next_cursor) is None:
            break
    assert names == [f"r1{i}" for i in range(9, -1, -1)]


async def test_a_cursor_of_another_listing_is_refused(store: Store) -> None:
    await many_rooms(store)
    for sort, order in itertools.product(SORTS, ORDERS):
        cursor = (await store.rooms("", sort, order, 3, None)).next_cursor
        assert cursor is not None
        for other in itertools.product(SORTS, ORDERS):
            if other != (sort, order):
                with pytest.raises(BadCursor):
                    await store.rooms("", *other, 3, cursor)


@pytest.mark.parametrize("cursor", ["", "x", "null", "é", "\0", "WyJuYW1lIl0", "=" * 8, "A" * 100_000, "..", "e30"])
async def test_garbage_is_no_cursor(store: Store, cursor: str) -> None:
    with pytest.raises(BadCursor):
        await store.rooms("", "name", "asc", 3, cursor)


# --- read marks ------------------------------------------------------------------------------------------------


async def test_marks_only_move_forward(store: Store) -> None:
    room, gone = await lobby(store), await lobby(store, "gone")
    await store.delete_room("gone")

    async def marks() -> dict[str, int]:
        live = await store.live_room("lobby", 0, 10)
        assert live is not None
        return live.marks

    await store.save_marks([])
    await store.save_marks([Mark(gone.id, "u_1", 1), Mark(room.id, "u_1", 5), Mark(10**9, "u_1", 1)])
    assert await marks() == {"u_1": 5}
    await store.save_marks([Mark(room.id, "u_1", 4), Mark(room.id, "u_2", 1)])
    assert await marks() == {"u_1": 5, "u_2": 1}
    await store.save_marks([Mark(room.id, "u_1", seq) for seq in (6, 9, 7)])
    assert await marks() == {"u_1": 9, "u_2": 1}
    await store.save_marks([Mark(room.id, "u_1", 2**63 - 1), Mark(room.id, "Ü'\"\\👋", 3)])
    assert await marks() == {"u_1": 2**63 - 1, "u_2": 1, "Ü'\"\\👋": 3}


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    saves=st.lists(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 50)), max_size=6), max_size=5),
)
async def test_a_mark_is_the_highest_ever_saved(twin: Twin, saves: list[list[tuple[str, int]]]) -> None:
    store = await twin.open()
    room = await lobby(store, f"r{next(fresh)}")
    highest: dict[str, int] = {}
    for save in saves:
        await store.save_marks([Mark(room.id, user, seq) for user, seq in save])
        for user, seq in save:
            highest[user] = max(seq, highest.get(user, 0))
    live = await store.live_room(room.name, 0, 10)
    await store.aclose()
    assert live is not None
    assert live.marks == highest


# --- cancelling and closing ------------------------------------------------------------------------------------


async def test_every_method_is_a_checkpoint(store: Store) -> None:
    calls = [
        functools.partial(store.append, [], NOW),
        functools.partial(store.live_room, "x", 1, 1),
        functools.partial(store.messages_after, 1, 0, 1),
        functools.partial(store.messages_before, 1, 0, 1),
        functools.partial(store.heads, []),
        functools.partial(store.room, "x"),
        functools.partial(store.rename_room, "x", "y", NOW),
        functools.partial(store.delete_room, "x"),
        functools.partial(store.rooms, "", "name", "asc", 1, None),
        functools.partial(store.save_marks, []),
        functools.partial(store.rollouts, 1),
    ]
    for call in calls:
        with trio.CancelScope() as scope:
            scope.cancel()
            await call()
        assert scope.cancelled_caught, call


async def test_a_cancelled_close_still_closes(twin: Twin) -> None:
    store = await twin.open()
    room = await lobby(store)
    with trio.CancelScope() as scope:
        scope.cancel()
        await store.aclose()
    store = await twin.open()
    assert await store.room("lobby") == room
    await store.aclose()
