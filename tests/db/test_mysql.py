"""What only a database server can do to a store: die, stall, lose an answer, refuse, be shared, be set up wrongly."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio_mysql.constants import COMMAND

from compose.services import Mariadb, Mysql
from db import mysql_append, mysql_pool
from db.errors import OutcomeUnknown, StoreUnavailable, StoreUnusable
from db.migrations import Migration, migrations
from db.mysql import MysqlStore
from db.mysql_batch import COUNTED_ROOMS, lock_rooms
from db.mysql_connection import Connection
from db.mysql_migrations import migrate_mysql, statements, status_mysql
from db.records import Appended, Draft, Mark
from db.url import MysqlUrl, parse_url
from tests.db.mysql_proxy import Cut, Proxy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from db.records import RoomRecord

Server = Mysql | Mariadb

NOW = dt.datetime(2026, 11, 23, 10, 0, 0, 123456, tzinfo=dt.UTC)
WAIT = 60.0  # seconds no test comes near to
SHORT = 0.5  # seconds, in place of the store's own patience, where a test waits for its end


@pytest.fixture(scope="module", params=["mysql", "mariadb"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server to break; each test leaves it running, with the settings it had."""
    kind = {"mysql": Mysql, "mariadb": Mariadb}[request.param]
    with kind(tmp_path_factory.mktemp(request.param)) as server:
        yield server


@pytest.fixture
def url(server: Server, request: pytest.FixtureRequest) -> MysqlUrl:
    """An address whose database does not exist yet."""
    name = f"t{abs(hash(request.node.nodeid))}"
    parsed = parse_url(server.admin_url(name))
    assert isinstance(parsed, MysqlUrl)
    return parsed


async def as_admin(url: MysqlUrl, *sql: str) -> list[tuple[Any, ...]]:
    """Run statements as the administrator; the last one's rows."""
    connection = Connection(dataclasses.replace(url, name="mysql", tls=None, ca=None))
    await connection.open()
    try:
        return list((await connection.run(";".join(sql).encode()))[-1].rows)
    finally:
        connection.drop()


async def made(url: MysqlUrl) -> MysqlStore:
    await as_admin(url, f"CREATE DATABASE {url.name}")
    return await MysqlStore.open(url)


async def for_user(url: MysqlUrl, grant: str, password: str = "pw") -> MysqlUrl:
    """The same database for a new user who has these privileges on it."""
    user = f"u{abs(hash((url.name, grant, password)))}"[:20]
    await as_admin(
        url,
        f"CREATE DATABASE IF NOT EXISTS {url.name}",
        f"CREATE USER {user}@'%' IDENTIFIED BY '{password}'",
        f"GRANT {grant} ON {url.name}.* TO {user}@'%'",
    )
    return dataclasses.replace(url, user=user, password=password)


def draft(room: RoomRecord, nonce: str, text: str = "hi") -> Draft:
    return Draft(room.id, "u_1", "Ada", nonce, text)


async def numbers(store: MysqlStore, room: RoomRecord) -> list[int]:
    return [message.seq for message in await store.messages_after(room.id, 0, 100_000)]


# --- the server goes away --------------------------------------------------------------------------------------


async def test_after_kill_and_restart_every_ack_is_there_and_it_goes_on(server: Server, url: MysqlUrl) -> None:
    store = await made(url)
    room = await store.create_room("lobby", "", "u", NOW)
    assert await store.append([draft(room, "a"), draft(room, "b")], NOW) == [Appended(n, NOW, True) for n in (1, 2)]
    server.kill()
    for call in (store.append([draft(room, "c")], NOW), store.room("lobby"), store.heads([room.id])):
        with pytest.raises(StoreUnavailable, match=rf"no database answers at 127\.0\.0\.1:{server.port}: start it"):
            await call
    server.start()
    assert await store.append([draft(room, "b"), draft(room, "c")], NOW) == [
        Appended(2, NOW, False),
        Appended(3, NOW, True),
    ]
    assert await numbers(store, room) == [1, 2, 3]
    await store.aclose()


async def test_killed_while_it_commits_nothing_acknowledged_is_lost(server: Server, url: MysqlUrl) -> None:
    store = await made(url)
    room = await store.create_room("lobby", "", "u", NOW)
    acked: list[int] = []
    twenty = trio.Event()

    async def send() -> None:
        for i in range(100_000):
            try:
                (outcome,) = await store.append([draft(room, f"n{i}")], NOW)
            except (OutcomeUnknown, StoreUnavailable):
                return
            assert isinstance(outcome, Appended)
            acked.append(outcome.seq)
            if len(acked) == 20:
                twenty.set()

    with trio.fail_after(WAIT):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            await twenty.wait()
            server.kill()
    server.start()
    kept = await numbers(store, room)
    assert kept == list(range(1, len(kept) + 1))
    assert acked == kept[: len(acked)]
    assert len(kept) <= len(acked) + 1
    # The one whose answer was lost gets its number, whether it was committed or not.
    (outcome,) = await store.append([draft(room, f"n{len(acked)}")], NOW)
    assert isinstance(outcome, Appended)
    assert outcome.seq == len(acked) + 1
    await store.aclose()


async def test_a_paused_server_is_an_unknown_outcome_and_then_unavailable(
    server: Server, url: MysqlUrl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mysql_append, "ANSWER", SHORT)
    monkeypatch.setattr(mysql_pool, "CONNECT", SHORT)
    store = await made(url)
    room = await store.create_room("lobby", "", "u", NOW)
    await store.append([draft(room, "a")], NOW)
    server.pause()
    try:
        with trio.fail_after(WAIT):
            with pytest.raises(OutcomeUnknown, match="did not answer to COMMIT"):
                await store.append([draft(room, "b")], NOW)
            with pytest.raises(StoreUnavailable, match="does not answer in time"):
                await store.append([draft(room, "b")], NOW)
    finally:
        server.resume()
    monkeypatch.undo()
    # What the server had received it may commit now, before, beside or after us: once.
    outcomes = await store.append([draft(room, "b"), draft(room, "c")], NOW)
    assert [outcome.seq for outcome in outcomes if isinstance(outcome, Appended)] == [2, 3]
    assert await numbers(store, room) == [1, 2, 3]
    await store.aclose()


@pytest.mark.parametrize("where", ["before", "after"])
async def test_a_commit_whose_answer_is_lost_is_not_doubled(server: Server, url: MysqlUrl, where: Cut) -> None:
    await (await made(url)).aclose()
    proxy = Proxy(server.port)
    with trio.fail_after(WAIT):
        async with trio.open_nursery() as nursery:
            await nursery.start(proxy.run)
            store = await MysqlStore.open(dataclasses.replace(url, port=proxy.port))
            room = await store.create_room("lobby", "", "u", NOW)
            await store.append([draft(room, "a")], NOW)
            proxy.cut_next_commit(where)
            batch = [draft(room, "b"), draft(room, "c")]
            with pytest.raises(OutcomeUnknown):
                await store.append(batch, NOW)
            fresh = where == "before"
            assert await store.append(batch, NOW) == [Appended(n, NOW, fresh) for n in (2, 3)]
            assert await numbers(store, room) == [1, 2, 3]
            assert proxy.cuts == 1
            await store.aclose()
            nursery.cancel_scope.cancel()


async def test_an_append_is_one_packet_and_one_answer(server: Server, url: MysqlUrl) -> None:
    await (await made(url)).aclose()
    proxy = Proxy(server.port)
    with trio.fail_after(WAIT):
        async with trio.open_nursery() as nursery:
            await nursery.start(proxy.run)
            store = await MysqlStore.open(dataclasses.replace(url, port=proxy.port))
            rooms = [await store.create_room(f"r{i}", "", "u", NOW) for i in range(5)]
            await store.append([draft(room, "first") for room in rooms], NOW)
            before = proxy.packets
            for i in range(10):
                await store.append([draft(room, f"n{i}") for room in rooms], NOW)
            assert proxy.packets == before + 10
            await store.aclose()
            nursery.cancel_scope.cancel()


# --- others write too ------------------------------------------------------------------------------------------


async def test_two_stores_write_one_hot_room(server: Server, url: MysqlUrl) -> None:
    one = await made(url)
    two = await MysqlStore.open(url)
    rooms = [await one.create_room(name, "", "u", NOW) for name in ("hot", "warm")]
    got: dict[int, list[int]] = {room.id: [] for room in rooms}

    async def send(store: MysqlStore, who: str) -> None:
        for i in range(25):
            batch = [draft(room, f"{who} {i} {j}") for j in range(4) for room in rooms]
            for one_draft, outcome in zip(batch, await store.append(batch, NOW), strict=True):
                assert isinstance(outcome, Appended)
                assert outcome.fresh
                got[one_draft.room_id].append(outcome.seq)

    with trio.fail_after(WAIT):
        async with trio.open_nursery() as nursery:
            for who, store in (("a", one), ("b", two), ("c", one), ("d", two)):
                nursery.start_soon(send, store, who)
    for room in rooms:
        assert sorted(got[room.id]) == await numbers(two, room) == list(range(1, 401))
    await one.aclose()
    await two.aclose()


@pytest.mark.parametrize("count", [COUNTED_ROOMS, COUNTED_ROOMS + 1])
async def test_rooms_that_others_move_on_are_counted_by_the_database(server: Server, url: MysqlUrl, count: int) -> None:
    """A few rooms in one packet that holds them only while the server works; many are locked first."""
    other = await made(url)
    proxy = Proxy(server.port)
    with trio.fail_after(WAIT):
        async with trio.open_nursery() as nursery:
            await nursery.start(proxy.run)
            store = await MysqlStore.open(dataclasses.replace(url, port=proxy.port))
            rooms = [await other.create_room(f"r{i}", "", "u", NOW) for i in range(count)]
            await store.append([draft(room, "first") for room in rooms], NOW)
            for i in range(5):
                await other.append([draft(room, f"theirs {i}") for room in rooms], NOW)
                before = proxy.packets
                batch = [draft(room, f"ours {i} {j}") for j in (0, 1, 1) for room in rooms[::-1]]
                outcomes = await store.append(batch, NOW)
                first = 3 + 3 * i
                assert (
                    outcomes
                    == [Appended(first, NOW, True)] * count
                    + [Appended(first + 1, NOW, True)] * count
                    + [Appended(first + 1, NOW, False)] * count
                )
                if i:  # the first time its guess is refused
                    assert proxy.packets - before == (1 if count <= COUNTED_ROOMS else 2)
            for room in rooms:
                kept = await store.messages_after(room.id, 0, 100)
                assert [message.seq for message in kept] == list(range(1, 17))
                assert [message.text for message in kept] == ["hi"] * 16
            await store.aclose()
            nursery.cancel_scope.cancel()
    await other.aclose()


@pytest.mark.parametrize("where", ["before", "after"])
async def test_a_count_whose_answer_is_lost_is_unknown_and_told_by_its_nonces(
    server: Server, url: MysqlUrl, where: Cut
) -> None:
    other = await made(url)
    room = await other.create_room("lobby", "", "u", NOW)
    proxy = Proxy(server.port)
    with trio.fail_after(WAIT):
        async with trio.open_nursery() as nursery:
            await nursery.start(proxy.run)
            store = await MysqlStore.open(dataclasses.replace(url, port=proxy.port))
            await store.append([draft(await store.create_room("warm", "", "u", NOW), "a")], NOW)  # connects
            batch = [draft(room, "a"), draft(room, "b")]  # of a room that this store knows nothing of
            proxy.cut_next_commit(where)
            with pytest.raises(OutcomeUnknown):
                await store.append(batch, NOW)
            fresh = where == "before"
            assert await store.append(batch, NOW) == [Appended(n, NOW, fresh) for n in (1, 2)]
            assert await numbers(store, room) == [1, 2]
            await store.aclose()
            nursery.cancel_scope.cancel()
    await other.aclose()


async def test_counted_batches_with_repeats_and_rooms_that_are_gone(server: Server, url: MysqlUrl) -> None:
    one = await made(url)
    two = await MysqlStore.open(url)
    room, gone = await one.create_room("lobby", "", "u", NOW), await one.create_room("gone", "", "u", NOW)
    assert await two.append([draft(room, "a"), draft(gone, "a")], NOW) == [Appended(1, NOW, True)] * 2
    await one.delete_room("gone")
    two._appender._heads.clear()
    later = NOW + dt.timedelta(seconds=1)
    outcomes = await two.append([draft(room, "b"), draft(gone, "b"), draft(room, "a")], later)
    assert [outcomes[0], outcomes[2]] == [Appended(2, later, True), Appended(1, NOW, False)]
    assert not isinstance(outcomes[1], Appended)
    two._appender._heads.clear()
    long = "\N{GRINNING FACE}" * 10_000  # 40,000 bytes: more than a packet together
    await two.append([draft(room, f"n{i}", long) for i in range(150)], later)
    assert await numbers(one, room) == list(range(1, 153))
    await one.aclose()
    await two.aclose()


async def test_the_loser_of_a_deadlock_tries_again(server: Server, url: MysqlUrl) -> None:
    store = await made(url)
    first, second = [await store.create_room(name, "", "u", NOW) for name in ("first", "second")]
    other = Connection(url)
    await other.open()
    # The server takes back who has changed less: this one has changed a lot.
    many = ",".join(f"({second.id}, 'u{i}', 1, NOW(6))" for i in range(500))
    await other.run(
        f"BEGIN;INSERT INTO read_mark (room_id, user_id, seq, moved_at) VALUES {many};"
        f"UPDATE room SET title = 'x' WHERE id = {second.id}".encode()
    )
    outcomes: list[Any] = []

    async def append() -> None:
        outcomes.extend(await store.append([draft(first, "a"), draft(second, "a")], NOW))

    with trio.fail_after(WAIT):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(append)
            blocked = "SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"
            while (await as_admin(url, blocked))[0][0] == 0:  # noqa: ASYNC110  # the server has no event for it
                await trio.sleep(0.2)  # seconds; asked more often it answers from before
            await other.run(f"UPDATE room SET title = 'x' WHERE id = {first.id}".encode())  # crosswise
            await other.run(b"COMMIT")
    assert outcomes == [Appended(1, NOW, True)] * 2
    other.drop()
    await store.aclose()


async def test_a_room_that_others_hold_for_long_is_unavailable_for_now(server: Server, url: MysqlUrl) -> None:
    store = await made(url)
    room = await store.create_room("lobby", "", "u", NOW)
    other = Connection(url)
    await other.open()
    await other.run(f"BEGIN;UPDATE room SET title = 'x' WHERE id = {room.id}".encode())
    with trio.fail_after(WAIT):
        with pytest.raises(StoreUnavailable, match="others hold the rooms' rows"):
            await store.append([draft(room, "a")], NOW)
        await other.run(b"ROLLBACK")
        assert await store.append([draft(room, "a")], NOW) == [Appended(1, NOW, True)]
    other.drop()
    await store.aclose()


async def test_who_falls_silent_while_it_holds_a_room_holds_it_for_seconds(server: Server, url: MysqlUrl) -> None:
    store = await made(url)
    room = await store.create_room("lobby", "", "u", NOW)
    silent = Connection(url)
    await silent.open()
    await mysql_append._Transaction(silent, url).locked([draft(room, "a")], careful=False)
    with trio.fail_after(WAIT):
        assert await store.append([draft(room, "b")], NOW) == [Appended(1, NOW, True)]
    silent.drop()
    await store.aclose()


@pytest.mark.parametrize("how", ["half_a_packet", "an_answer_unread"])
async def test_who_is_cut_off_while_it_holds_a_room_holds_it_for_seconds(
    server: Server, url: MysqlUrl, how: str
) -> None:
    store = await made(url)
    room = await store.create_room("lobby", "", "u", NOW)
    cut = Connection(url)
    await cut.open()
    if how == "half_a_packet":
        await mysql_append._Transaction(cut, url).locked([draft(room, "a")], careful=False)
        await cut._write_bytes(b"\xff\xff\x0f\x00\x03INSERT INTO message")
    else:  # 48 MB, more than the sockets take
        long = b" UNION ALL ".join([b"SELECT REPEAT('x', 8000000)"] * 6)
        lock = lock_rooms([draft(room, "a")]).encode()
        await cut._execute_command(COMMAND.COM_QUERY, b";".join([mysql_append.SILENT, b"BEGIN", lock, long]))
        held = "SELECT 1 FROM information_schema.innodb_trx WHERE trx_rows_locked > 0 AND trx_query LIKE '%REPEAT%'"
        with trio.fail_after(WAIT):
            while not await as_admin(url, held):  # noqa: ASYNC110  # the database calls nobody
                await trio.sleep(0.05)
    with trio.fail_after(WAIT):
        assert await store.append([draft(room, "b")], NOW) == [Appended(1, NOW, True)]
    cut.drop()
    await store.aclose()


async def test_a_guess_that_is_wrong_in_any_way_leaves_no_hole(server: Server, url: MysqlUrl) -> None:
    """The numbers remembered may be too low, too high or of a room that is gone; the transaction finds out."""
    store = await made(url)
    other = await MysqlStore.open(url)
    room, gone = await store.create_room("lobby", "", "u", NOW), await store.create_room("gone", "", "u", NOW)
    await store.append([draft(room, "a"), draft(gone, "a")], NOW)
    await other.append([draft(room, "b")], NOW)
    await other.delete_room("gone")
    outcomes = await store.append([draft(room, "c"), draft(gone, "c")], NOW)
    assert outcomes[0] == Appended(3, NOW, True)
    assert not isinstance(outcomes[1], Appended)
    await as_admin(url, f"DELETE FROM {url.name}.message WHERE seq = 3", f"UPDATE {url.name}.room SET last_seq = 2")
    assert await store.append([draft(room, "d")], NOW) == [Appended(3, NOW, True)]
    assert await numbers(store, room) == [1, 2, 3]
    await store.aclose()
    await other.aclose()


async def test_a_batch_larger_than_a_packet_is_one_transaction(server: Server, url: MysqlUrl) -> None:
    store = await made(url)
    room = await store.create_room("lobby", "", "u", NOW)
    await store.append([draft(room, "n399")], NOW)
    text = "\N{GRINNING FACE}" * 10_000  # 40,000 bytes
    await store.append([draft(room, f"n{i}", text) for i in range(300)], NOW)
    assert await numbers(store, room) == list(range(1, 302))
    # The last draft of the last packet is known already: none of the packets before it may stay.
    outcomes = await store.append([draft(room, f"n{i}", text) for i in range(300, 400)], NOW)
    assert outcomes[-1] == Appended(1, NOW, False)
    assert await numbers(store, room) == list(range(1, 401))
    await store.aclose()


async def test_a_cancelled_statement_costs_its_connection_and_nothing_else(server: Server, url: MysqlUrl) -> None:
    store = await made(url)
    await store.create_room("lobby", "", "u", NOW)
    pool = store._others
    for _ in range(2 * pool.size):
        async with pool.connection() as connection:
            pass
        with trio.move_on_after(0.05) as scope:
            async with pool.connection() as connection:
                await connection.run(b"SELECT SLEEP(1)")
        assert scope.cancelled_caught
        assert not connection.is_open
        assert await store.room("lobby") is not None
    await store.aclose()


async def test_marks_of_two_stores_do_not_lock_each_other_up(server: Server, url: MysqlUrl) -> None:
    one = await made(url)
    two = await MysqlStore.open(url)
    rooms = [await one.create_room(f"r{i}", "", "u", NOW) for i in range(10)]

    async def save(store: MysqlStore, backwards: bool) -> None:
        for i in range(10):
            marks = [Mark(room.id, f"u{j}", i) for room in rooms for j in range(10)]
            await store.save_marks(marks[::-1] if backwards else marks)

    with trio.fail_after(WAIT):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(save, one, False)
            nursery.start_soon(save, two, True)
    live = await one.live_room("r7", 0, 100)
    assert live is not None
    assert live.marks == {f"u{j}": 9 for j in range(10)}
    await one.aclose()
    await two.aclose()


# --- what its operator has to mend -----------------------------------------------------------------------------


async def test_wrong_password(url: MysqlUrl) -> None:
    user = await for_user(url, "ALL")
    with pytest.raises(StoreUnusable, match="refuses the user or the password: correct the URL") as caught:
        await MysqlStore.open(dataclasses.replace(user, password="hunter2"))
    assert "hunter2" not in str(caught.value)


async def test_unknown_database(url: MysqlUrl) -> None:
    with pytest.raises(StoreUnusable, match=f"CREATE DATABASE `{url.name}` CHARACTER SET utf8mb4"):
        await MysqlStore.open(url)


async def test_another_ones_database(url: MysqlUrl) -> None:
    user = await for_user(url, "ALL")
    with pytest.raises(StoreUnusable, match=r"GRANT ALL ON `another`\.\* TO 'u\d+'@'%'"):
        await MysqlStore.open(dataclasses.replace(user, name="another"))


async def test_a_user_who_may_not_make_tables(url: MysqlUrl) -> None:
    user = await for_user(url, "SELECT, INSERT, UPDATE, DELETE")
    with pytest.raises(StoreUnusable, match=r"lacks a privilege.*GRANT ALL"):
        await MysqlStore.open(user)
    await migrate_mysql(url)
    store = await MysqlStore.open(user, migrate=False)  # to serve it needs no more
    room = await store.create_room("lobby", "", "u", NOW)
    await store.append([draft(room, "a")], NOW)
    await store.delete_room("lobby")
    await store.aclose()


async def test_a_privilege_lost_while_it_runs_is_unavailable_for_now(url: MysqlUrl) -> None:
    await (await made(url)).aclose()
    user = await for_user(url, "ALL")
    store = await MysqlStore.open(user)
    await store.create_room("lobby", "", "u", NOW)
    await as_admin(url, f"REVOKE ALL ON {url.name}.* FROM {user.user}@'%'")
    await store._others.aclose()  # what is open keeps its privileges
    with pytest.raises(StoreUnavailable, match="may not use the database"):
        await store.create_room("other", "", "u", NOW)
    await as_admin(url, f"GRANT ALL ON {url.name}.* TO {user.user}@'%'")
    await store.create_room("other", "", "u", NOW)
    await store.aclose()


async def test_a_read_only_server(url: MysqlUrl) -> None:
    await (await made(url)).aclose()
    store = await MysqlStore.open(await for_user(url, "ALL"))
    room = await store.create_room("lobby", "", "u", NOW)
    await as_admin(url, "SET GLOBAL read_only = ON")
    try:
        with pytest.raises(StoreUnavailable, match="is read-only: SET GLOBAL read_only = OFF"):
            await store.append([draft(room, "a")], NOW)
        assert await store.room("lobby") == room
    finally:
        await as_admin(url, "SET GLOBAL read_only = OFF")
    assert await store.append([draft(room, "a")], NOW) == [Appended(1, NOW, True)]
    await store.aclose()


async def test_too_many_connections(url: MysqlUrl) -> None:
    """However many others' connections the server still counts: those of a moment ago, or none."""
    await (await made(url)).aclose()
    user = await for_user(url, "ALL")
    # Open before the house is full: the one seat that is kept for administrators may be somebody else's.
    admin = Connection(dataclasses.replace(url, name="mysql"))
    await admin.open()
    ((most,),) = (await admin.run(b"SELECT @@max_connections"))[-1].rows
    taken: list[Connection] = []

    async def take(count: int) -> None:
        for _ in range(count):
            async with mysql_pool.Pool(user, 1).connection() as connection:
                taken.append(connection)

    await admin.run(b"SET GLOBAL max_connections = 10")
    try:
        with trio.fail_after(WAIT):
            with pytest.raises(StoreUnavailable, match=r"takes no more connections.*raise max_connections"):
                await take(12)
            assert len(taken) <= 10
            await admin.run(f"SET GLOBAL max_connections = {most}".encode())
            await take(1)
    finally:
        for connection in taken:
            connection.drop()
        await admin.run(f"SET GLOBAL max_connections = {most}".encode())
        admin.drop()


# --- the schema ------------------------------------------------------------------------------------------------


async def test_a_schema_that_is_missing_older_or_newer(url: MysqlUrl) -> None:
    await as_admin(url, f"CREATE DATABASE {url.name}")
    with pytest.raises(StoreUnusable, match="is empty: run `belfry db migrate`"):
        await MysqlStore.open(url, migrate=False)
    known = migrations("mysql")
    next_one = Migration(len(known) + 1, "more", "ALTER TABLE room ADD COLUMN more INT;\n")
    assert [one.version for one in await migrate_mysql(url, known)] == [one.version for one in known]
    assert [one.name for one in (await status_mysql(url, (*known, next_one))).pending] == ["more"]
    assert [one.name for one in await migrate_mysql(url, (*known, next_one))] == ["more"]
    assert [one.name for one in (await status_mysql(url)).newer] == ["more"]
    for migrate in (True, False):
        with pytest.raises(StoreUnusable, match=r"has schema \d+, made by a newer Belfry"):
            await MysqlStore.open(url, migrate=migrate)
    await as_admin(url, f"UPDATE {url.name}.schema_version SET name = 'expand_more' WHERE name = 'more'")
    for migrate in (True, False):
        store = await MysqlStore.open(url, migrate=migrate)
        assert await store.room("lobby") is None
        await store.aclose()
    await as_admin(url, f"DELETE FROM {url.name}.schema_version WHERE version > {len(known) - 1}")
    with pytest.raises(StoreUnusable, match="run `belfry db migrate`"):
        await MysqlStore.open(url, migrate=False)


async def test_many_migrate_at_once_and_one_does(url: MysqlUrl) -> None:
    await as_admin(url, f"CREATE DATABASE {url.name}")
    applied: list[int] = []

    async def migrate() -> None:
        applied.extend(one.version for one in await migrate_mysql(url))

    with trio.fail_after(WAIT):
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(migrate)
    assert applied == [one.version for one in migrations("mysql")]


async def test_a_migration_that_failed_in_its_middle_is_run_again(url: MysqlUrl) -> None:
    await as_admin(url, f"CREATE DATABASE {url.name}")
    known = migrations("mysql")
    broken = Migration(1, known[0].name, known[0].sql + "CREATE TABLE x (id INT) ENGINE = nonsense;\n")
    with pytest.raises(Exception, match="nonsense"):
        await migrate_mysql(url, (broken,))
    assert (await status_mysql(url)).applied == ()
    await migrate_mysql(url)
    await (await MysqlStore.open(url, migrate=False)).aclose()


async def test_another_programs_database_is_left_alone(url: MysqlUrl) -> None:
    await as_admin(url, f"CREATE DATABASE {url.name}", f"CREATE TABLE {url.name}.wp_posts (id INT)")
    for migrate in (True, False):
        with pytest.raises(StoreUnusable, match=r"tables of another program \(wp_posts\): give Belfry"):
            await MysqlStore.open(url, migrate=migrate)
    assert await as_admin(url, f"SHOW TABLES FROM {url.name}") == [("wp_posts",)]


def test_a_migration_is_split_at_its_statements() -> None:
    sql = "-- one; two;\nCREATE TABLE a (  -- said;\n  x INT -- of a\n);\n\nDROP TABLE a;\n"
    assert statements(sql) == ["CREATE TABLE a (\n  x INT\n)", "DROP TABLE a"]
    with pytest.raises(AssertionError, match="middle of a statement"):
        statements("CREATE TABLE a\n")
