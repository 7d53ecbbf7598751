"""The committer over a real store that fails on demand: no ack before it is durable, no message twice, none lost."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, cast

import httpx
import pytest
import trio
from chat_world import PATIENCE, ROOM, Client, House, serving, sqlite, token, until
from shims import Failing, Gate, ShimStore

from bus.events import Committed
from chat import committer
from chat.config import Limits
from db.errors import OutcomeUnknown, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from bus.events import Event
    from db.store import Store

AWAY = StoreUnavailable("the disk is full")
UNKNOWN = OutcomeUnknown("the answer to COMMIT was lost")


@contextlib.asynccontextmanager
async def shimmed(tmp_path: Path, limits: Limits | None = None) -> AsyncIterator[tuple[House, ShimStore]]:
    """A server whose store can be made to fail."""
    async with sqlite(tmp_path) as store:
        shim = ShimStore(store)
        limits = limits or Limits(send_rate=0, handshakes_per_second=0)
        async with serving(cast("Store", shim), limits=limits) as belfry:
            yield belfry, shim


async def stored(belfry: House) -> list[tuple[int, str, str]]:
    """The room's messages in the store: number, user, text."""
    live = await belfry.store.live_room(ROOM, 1_000, 0)
    assert live is not None
    return [(message.seq, message.user_id, message.text) for message in live.recent]


async def send(client: Client, nonce: str, text: str = "x") -> None:
    await client.say({"t": "send", "room": ROOM, "nonce": nonce, "text": text})


async def test_nothing_is_acked_or_seen_before_it_is_committed(tmp_path: Path) -> None:
    async with shimmed(tmp_path) as (belfry, shim):
        ada, bob = await belfry.client("ada", ROOM), await belfry.client("bob", ROOM)
        await bob.hear_all(0.3)
        gate = shim.after["append"] = Gate()
        await send(ada, "n")
        with trio.fail_after(PATIENCE):
            await gate.reached.wait()
        for client in (ada, bob):
            assert [frame["t"] for frame in await client.hear_all(0.1) if frame["t"] in ("ack", "message")] == []
        gate.open()
        assert [(await ada.hear("ack", "message"))["t"] for _ in range(2)] == ["ack", "message"]
        assert await bob.messages(1) == [1]


async def test_what_comes_while_a_commit_runs_is_the_next_commit(tmp_path: Path) -> None:
    async with shimmed(tmp_path) as (belfry, shim):
        clients = [await belfry.client(f"u{number}", ROOM) for number in range(5)]
        gate = shim.before["append"] = Gate()
        await send(clients[0], "first")
        with trio.fail_after(PATIENCE):
            await gate.reached.wait()
        for client in clients:
            for number in range(10):
                await send(client, f"n{number}")
        await until(lambda: belfry.metric("sends") == 51)
        gate.open()
        for client in clients:
            assert await client.messages(51) == list(range(1, 52))
        assert [len(drafts) for drafts, _ in shim.called("append")] == [1, 50]


async def one_then_all_together(belfry: House, shim: ShimStore, clients: list[Client]) -> None:
    """A commit of one message, then, when all have spoken meanwhile, a commit of one of each; both are acknowledged."""
    gate = shim.before["append"] = Gate()
    before = belfry.metric("sends")
    await send(clients[0], "first")
    with trio.fail_after(PATIENCE):
        await gate.reached.wait()
    for client in clients:
        await send(client, "together")
    expected = before + 1 + len(clients)
    await until(lambda: belfry.metric("sends") == expected)
    gate.open()
    await until(lambda: belfry.metric("acks") == expected)


async def test_after_a_commit_of_several_the_next_ones_gather(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committer, "GATHER", 3.0)
    async with shimmed(tmp_path) as (belfry, shim):
        clients = [await belfry.client(f"u{number}", ROOM) for number in range(3)]
        for number in range(3):  # one at a time: none of them waits for company
            await clients[0].tell("x", f"alone{number}")
        await one_then_all_together(belfry, shim, clients)
        for client in clients:
            await send(client, "behind")
            await trio.sleep(0.1)  # a commit takes less
        assert await clients[1].messages(10) == list(range(1, 11))
        assert [len(drafts) for drafts, _ in shim.called("append")] == [1, 1, 1, 1, 3, 3]


async def test_where_others_hear_of_each_commit_a_few_wait_longer_for_company(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committer, "LONGER", 3.0)
    async with shimmed(tmp_path) as (belfry, shim):
        monkeypatch.setattr(belfry.server.hub, "quiet", lambda: 0.0)
        *clients, silent = [await belfry.client(f"u{number}", ROOM) for number in range(4)]
        await silent.tell("x", "first")  # nobody spoke before: at once
        for client in clients:
            await send(client, "few")
            await trio.sleep(0.1)  # a commit takes less
        assert await clients[1].messages(4) == [1, 2, 3, 4]
        for number in range(committer.FEW):  # enough: nobody waits for more
            await send(clients[0], f"enough{number}")
        began = trio.current_time()
        await clients[1].messages(committer.FEW)
        assert trio.current_time() - began < 2.5
        await send(clients[0], "alone")
        await until(lambda: belfry.metric("sends") == 5 + committer.FEW)
        await trio.sleep(0.2)  # it waits for company by now
        await belfry.server.committer.wait_idle()  # whoever waits for it to be idle does not wait for company
        assert trio.current_time() - began < 2.5
        assert [len(drafts) for drafts, _ in shim.called("append")][:2] == [1, 3]


@pytest.mark.parametrize("others_write", [True, False])
async def test_the_more_a_commit_brings_the_longer_the_next_one_gathers_where_others_write_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, others_write: bool
) -> None:
    monkeypatch.setattr(committer, "REST", 3.0)
    monkeypatch.setattr(committer, "EACH", 0.6)  # five messages: as long as can be
    monkeypatch.setattr(committer, "FEW", 1)
    monkeypatch.setattr(committer, "SPOKE", 1_000.0)
    async with shimmed(tmp_path) as (belfry, shim):
        belfry.server.hub.others_spoke = trio.current_time() - (0.0 if others_write else 2_000.0)
        clients = [await belfry.client(f"u{number}", ROOM) for number in range(5)]
        await one_then_all_together(belfry, shim, clients)
        for number in range(3):
            for client in clients[1:]:  # one is waited for
                await send(client, f"behind{number}")
            await trio.sleep(0.1)  # a commit takes less
        assert await clients[1].messages(18) == list(range(1, 19))
        sizes = [len(drafts) for drafts, _ in shim.called("append")]
        assert sizes[:2] == [1, 5]
        assert (sizes[2:] == [12]) == others_write


async def test_who_waits_for_its_acks_waits_for_no_company(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GATHER", "LONGER", "REST", "EACH"):
        monkeypatch.setattr(committer, name, 60.0)
    monkeypatch.setattr(committer, "SPOKE", 1_000.0)
    async with shimmed(tmp_path) as (belfry, shim):
        monkeypatch.setattr(belfry.server.hub, "quiet", lambda: 0.0)
        belfry.server.hub.others_spoke = trio.current_time()
        clients = [await belfry.client(f"u{number}", ROOM) for number in range(3)]
        for number in range(3):
            await clients[0].tell("x", f"alone{number}")  # raises when there is no ack for long
        gate = shim.before["append"] = Gate()
        await send(clients[0], "gated")
        with trio.fail_after(PATIENCE):
            await gate.reached.wait()
        for client in clients[1:]:
            await send(client, "meanwhile")
        await until(lambda: belfry.metric("sends") == 6)
        gate.open()
        await until(lambda: belfry.metric("acks") == 4)
        await belfry.server.committer.wait_idle()  # they would wait for a minute: the one before was not in step
        for number in range(3):
            await send(clients[1], f"in-step{number}")
            await clients[2].tell("x", f"in-step{number}")
        assert await clients[0].messages(12) == list(range(1, 13))
        assert [len(drafts) for drafts, _ in shim.called("append")] == [1, 1, 1, 1, 2, 2, 2, 2]


async def test_who_sends_while_a_commit_runs_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committer, "LONGER", 60.0)
    async with shimmed(tmp_path) as (belfry, shim):
        monkeypatch.setattr(belfry.server.hub, "quiet", lambda: 0.0)
        ada = await belfry.client("ada", ROOM)
        gate = shim.before["append"] = Gate()
        await send(ada, "first")
        with trio.fail_after(PATIENCE):
            await gate.reached.wait()
        await send(ada, "meanwhile")  # without its ack
        await until(lambda: belfry.metric("sends") == 2)
        gate.open()
        await until(lambda: belfry.metric("acks") == 1)
        await trio.sleep(0.2)  # a commit takes less
        assert belfry.metric("acks") == 1
        await belfry.server.committer.wait_idle()
        assert belfry.metric("acks") == 2


@pytest.mark.parametrize("others_write", [True, False])
async def test_where_others_write_too_they_hear_later_of_who_waits_for_its_acks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, others_write: bool
) -> None:
    monkeypatch.setattr(committer, "SPOKE", 1_000.0)
    monkeypatch.setattr(committer, "GATHER", 60.0)
    monkeypatch.setattr(committer, "TELL", 2.5 * committer.TELL_EACH)
    told: list[tuple[int, float]] = []
    async with shimmed(tmp_path) as (belfry, shim):
        hub = belfry.server.hub
        hub.others_spoke = trio.current_time() - (0.0 if others_write else 2_000.0)
        clients = [await belfry.client(f"u{number}", ROOM) for number in range(3)]

        def publish(event: Event, apart: float = 0.0) -> None:
            if isinstance(event, Committed):
                told.append((len(event.bodies), apart))

        monkeypatch.setattr(hub, "publish", publish)
        await clients[0].tell("x", "alone")  # nobody was in step before it
        await clients[0].tell("x", "again")
        await one_then_all_together(belfry, shim, clients)  # who speaks meanwhile is not in step, nor is the next one
        for client in clients:
            await send(client, "in-step")
        assert await clients[1].messages(9) == list(range(1, 10))
    each = committer.TELL_EACH if others_write else 0.0
    assert told == [(1, 0.0), (1, each), (1, each), (3, 0.0), (3, 2.5 * each)]


async def test_a_store_that_is_away_refuses_with_a_word_to_retry_and_recovers(tmp_path: Path) -> None:
    async with shimmed(tmp_path) as (belfry, shim):
        ada, bob = await belfry.client("ada", ROOM), await belfry.client("bob", ROOM)
        assert await ada.tell("before", "n1") == 1
        shim.before["append"] = Failing(AWAY)
        for client, nonce in ((ada, "n2"), (bob, "m2"), (ada, "n2")):
            await send(client, nonce)
            error = await client.hear("error")
            assert (error["code"], error["ref"], error["temporary"]) == ("store_unavailable", nonce, True)
            assert error["retry_ms"] > 0
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{belfry.port}", timeout=PATIENCE) as http:
            headers = {"Authorization": f"Bearer {token('eve')}", "Idempotency-Key": "k"}
            answer = await http.post(f"/v1/rooms/{ROOM}/messages", json={"text": "x"}, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")
        del shim.before["append"]
        assert await ada.tell("after", "n2") == 2
        assert await bob.messages(2) == [1, 2]
        assert await stored(belfry) == [(1, "ada", "before"), (2, "ada", "after")]


async def test_joins_and_marks_outlast_a_store_that_is_away(tmp_path: Path) -> None:
    async with shimmed(tmp_path) as (belfry, shim):
        await belfry.room("tea", 3)
        ada = await belfry.client("ada", ROOM)
        await ada.tell("x", "n")
        for method in ("live_room", "save_marks", "messages_after"):
            shim.before[method] = Failing(AWAY)
        await ada.say({"t": "join", "room": "tea"}, {"t": "read", "room": ROOM, "seq": 1})
        error = await ada.hear("error")
        assert (error["code"], error["ref"], error["temporary"]) == ("store_unavailable", "tea", True)
        assert (await ada.hear("read"))["seq"] == 1
        await until(lambda: bool(shim.called("save_marks")))
        saved = shim.after["save_marks"] = Gate()
        saved.open()
        shim.before.clear()
        assert (await ada.join("tea"))["head"] == 3
        with trio.fail_after(PATIENCE):
            await saved.reached.wait()
        live = await belfry.store.live_room(ROOM, 0, 10)
        assert live is not None
        assert live.marks == {"ada": 1}


@pytest.mark.parametrize("committed", [True, False])
@pytest.mark.parametrize("times", [1, 3])
async def test_a_commit_whose_answer_was_lost_is_asked_for_again_and_never_doubled(
    tmp_path: Path, committed: bool, times: int
) -> None:
    async with shimmed(tmp_path) as (belfry, shim):
        ada, bob = await belfry.client("ada", ROOM), await belfry.client("bob", ROOM)
        hooks = shim.after if committed else shim.before
        hooks["append"] = Failing(UNKNOWN, times)
        await ada.say(*({"t": "send", "room": ROOM, "nonce": f"n{n}", "text": f"text {n}"} for n in range(3)))
        assert [(await ada.hear("ack"))["seq"] for _ in range(3)] == [1, 2, 3]
        for client in (ada, bob):
            assert await client.messages(3) == [1, 2, 3]
        assert await bob.tell("next", "n") == 4
        for client in (ada, bob):
            assert await client.messages(1) == [4]
        assert [seq for seq, _, _ in await stored(belfry)] == [1, 2, 3, 4]
        assert [frame for frame in await bob.hear_all(0.1) if frame["t"] == "message"] == []


async def test_a_lost_answer_and_then_a_store_that_is_away_still_end_well(tmp_path: Path) -> None:
    async with shimmed(tmp_path) as (belfry, shim):
        ada, bob = await belfry.client("ada", ROOM), await belfry.client("bob", ROOM)
        unknown, calls = Failing(UNKNOWN, 1), 0

        async def away_afterwards(*_: object) -> None:
            nonlocal calls
            calls += 1
            if calls == 2:
                raise AWAY

        shim.after["append"], shim.before["append"] = unknown, away_afterwards
        await send(ada, "n1", "the first")
        assert (await ada.hear("error"))["code"] == "store_unavailable"
        assert await ada.tell("the first", "n1") == 1
        assert (await bob.hear("message"))["text"] == "the first"
        assert await ada.messages(1) == [1]
        assert await stored(belfry) == [(1, "ada", "the first")]


async def test_a_line_that_is_full_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committer, "QUEUE", 5)
    async with shimmed(tmp_path) as (belfry, shim):
        ada = await belfry.client("ada", ROOM)
        gate = shim.before["append"] = Gate()
        await send(ada, "first")
        with trio.fail_after(PATIENCE):
            await gate.reached.wait()
        await ada.say(*({"t": "send", "room": ROOM, "nonce": f"n{n}", "text": "x"} for n in range(8)))
        errors = [await ada.hear("error") for _ in range(3)]
        assert {(error["code"], error["temporary"]) for error in errors} == {("overloaded", True)}
        assert [error["ref"] for error in errors] == ["n5", "n6", "n7"]
        gate.open()
        assert await ada.messages(6) == [1, 2, 3, 4, 5, 6]


async def test_a_sender_that_is_gone_has_still_said_it(tmp_path: Path) -> None:
    async with shimmed(tmp_path) as (belfry, shim):
        ada, bob = await belfry.client("ada", ROOM), await belfry.client("bob", ROOM)
        gate = shim.before["append"] = Gate()
        await send(ada, "n", "last words")
        with trio.fail_after(PATIENCE):
            await gate.reached.wait()
        await ada.stream.aclose()
        await until(lambda: len(belfry.server.sessions) == 1)
        gate.open()
        assert (await bob.hear("message"))["text"] == "last words"


async def test_what_was_accepted_before_a_drain_is_acked_before_the_close(tmp_path: Path) -> None:
    async with shimmed(tmp_path) as (belfry, shim):
        ada = await belfry.client("ada", ROOM)
        gate = shim.before["append"] = Gate()
        await ada.say(*({"t": "send", "room": ROOM, "nonce": f"n{n}", "text": "x"} for n in range(300)))
        await until(lambda: belfry.metric("sends") == 300)
        belfry.server.drain()
        await ada.hear("moving")
        gate.open()
        assert (await ada.hear_close()).code == 1012
        assert [frame["seq"] for frame in ada.waiting if frame["t"] == "ack"] == list(range(1, 301))
        assert len(await stored(belfry)) == 300
        with trio.fail_after(PATIENCE):
            await belfry.stopped.wait()


async def test_one_session_has_a_bounded_number_of_sends_in_flight(tmp_path: Path) -> None:
    async with shimmed(tmp_path) as (belfry, shim):
        ada, bob = await belfry.client("ada", ROOM), await belfry.client("bob", ROOM)
        gate = shim.before["append"] = Gate()
        sends = [{"t": "send", "room": ROOM, "nonce": f"n{number}", "text": "x" * 500} for number in range(3_000)]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ada.say, *sends)
            await until(lambda: belfry.metric("sends") >= 500)
            await bob.hear_all(0.3)
            read_in_one = 65_536 // 500  # what one more read may add
            assert belfry.metric("sends") <= 500 + read_in_one
            gate.open()
            assert await bob.messages(3_000) == list(range(1, 3_001))
