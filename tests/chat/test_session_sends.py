"""Sends that come whole, alone or several in one write, are answered whoever reads them: a task, or none."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, cast

import client_frames
import pytest
import trio
import trio.testing
from chat_world import PATIENCE, ROOM, Frame, house, serving, sqlite
from shims import Gate, ShimStore

from chat.config import Limits
from chat.session import IN_FLIGHT, STRIKES

if TYPE_CHECKING:
    from pathlib import Path

    from db.store import Store

WRITTEN = {
    "compact": '{"t":"send","room":"lobby","nonce":"N","text":"hi"}',
    "with its type last": '{"room":"lobby","nonce":"N","text":"hi","t":"send"}',
    "with its type between": '{"nonce":"N","t":"send","text":"hi","room":"lobby"}',
    "with its keys in another order behind the type": '{"t":"send","text":"hi","nonce":"N","room":"lobby"}',
    "with spaces": '{"t": "send", "room": "lobby", "nonce": "N", "text": "hi"}',
    "with spaces in part": '{"t":"send", "room" :"lobby","nonce":"N","text":"hi"} ',
    "in lines": '\n{\n  "t": "send",\n  "room": "lobby",\n  "nonce": "N",\n  "text": "hi"\n}\n',
    "with escapes": '{"t":"\\u0073end","\\u0072oom":"lobby","nonce":"N","text":"\\u0068i"}',
    "with keys that nobody knows": '{"t":"send","x":{"t":"join"},"room":"lobby","nonce":"N","text":"hi","y":[1,null]}',
    "with a key twice": '{"t":"send","room":"lobby","nonce":"N","text":"ho","text":"hi"}',
    "with its type twice": '{"t":"send","t":"send","room":"lobby","nonce":"N","text":"hi"}',
}  # fmt: skip


def _packet(*frames: Frame) -> bytes:
    """Frames as browsers write them, for one write: a compact send may be handled where it came."""
    return b"".join(client_frames.text(json.dumps(frame, separators=(",", ":"))) for frame in frames)


def _send(nonce: str, room: str = ROOM) -> Frame:
    return {"t": "send", "room": room, "nonce": nonce, "text": "x"}


async def test_a_send_alone_is_acked_however_it_is_written(tmp_path: Path) -> None:
    async with house(tmp_path) as belfry:
        ada = await belfry.client("ada", ROOM)
        for seq, (name, written) in enumerate(WRITTEN.items(), 1):
            await ada.send(client_frames.text(written.replace('"N"', f'"n{seq}"')))
            ack, message = await ada.hear("ack", "message", "error"), await ada.hear("ack", "message", "error")
            assert (name, ack["t"], ack.get("nonce"), ack.get("seq")) == (name, "ack", f"n{seq}", seq)
            assert (name, message["t"], message["seq"], message["text"]) == (name, "message", seq, "hi")
        assert [frame["t"] for frame in await ada.hear_all(0.2) if frame["t"] in ("ack", "message", "error")] == []
        assert belfry.metric("sends") == belfry.metric("acks") == len(WRITTEN)


async def test_a_send_that_is_something_else_too_is_answered_once(tmp_path: Path) -> None:
    async with house(tmp_path, first_rooms=(ROOM, "tea")) as belfry:
        ada = await belfry.client("ada", ROOM)
        for second in ("join", "leave", "typing", "read", "pong", "hello", "shout"):
            for room in (ROOM, "tea"):
                fields = f'"room":"{room}","nonce":"n","text":"x","seq":0,"token":"x"'
                await ada.send(client_frames.text(f'{{"t":"send","t":"{second}",{fields}}}'))
                await ada.say({"t": "typing", "room": "nowhere"})
                await ada.hear("error", ref="nowhere")  # whatever the other is answered came before
                answers = [frame["t"] for frame in ada.waiting if frame["t"] in ("ack", "joined", "error")]
                assert (second, room, len(answers)) == (second, room, 1)
                ada.waiting.clear()
        await ada.join(ROOM)
        assert await ada.tell("still here", "good") == belfry.metric("sends")


async def test_sends_alone_that_are_refused_in_a_row_end_the_session(tmp_path: Path) -> None:
    async with house(tmp_path) as belfry:
        ada = await belfry.client("ada", ROOM)
        for number in range(STRIKES + 1):
            await ada.send(client_frames.text(f'{{"t":"send","room":"nowhere","nonce":"n{number}","text":"x"}}'))
            if number < STRIKES:
                assert (await ada.hear("error"))["ref"] == f"n{number}"
        assert (await ada.hear_close()).code == 1008
        assert [frame["t"] for frame in ada.waiting if frame["t"] == "error"] == []


@pytest.mark.parametrize("held", [True, False])
async def test_sends_one_at_a_time_get_their_acks_however_many_are_in_flight(tmp_path: Path, held: bool) -> None:
    total = 4 * IN_FLIGHT
    async with sqlite(tmp_path) as store:
        shim, gate = ShimStore(store), Gate()
        limits = Limits(send_rate=0, handshakes_per_second=0)
        async with serving(cast("Store", shim), limits=limits) as belfry:
            ada = await belfry.client("ada", ROOM)
            if held:
                shim.before["append"] = gate

            async def send(first: int, last: int) -> None:
                for number in range(first, last + 1):
                    await ada.send(_packet(_send(f"n{number}")))
                    await trio.testing.wait_all_tasks_blocked()  # until it was read: the next one comes alone too

            with trio.fail_after(PATIENCE):
                await send(1, IN_FLIGHT + 100)
                if held:
                    assert IN_FLIGHT < belfry.metric("sends") <= IN_FLIGHT + 2
                    gate.open()
                await send(IN_FLIGHT + 101, total)
            acks, messages = [], []
            while len(acks) < total or len(messages) < total:
                frame = await ada.hear("ack", "message", "error")
                (acks if frame["t"] == "ack" else messages).append(frame)
            assert [(ack["nonce"], ack["seq"]) for ack in acks] == [(f"n{seq}", seq) for seq in range(1, total + 1)]
            assert [message["seq"] for message in messages] == list(range(1, total + 1))
            assert await ada.tell("still here", "good") == total + 1


async def test_sends_that_come_together_keep_their_order(tmp_path: Path) -> None:
    async with house(tmp_path) as belfry:
        ada = await belfry.client("ada", ROOM)
        nonces = [f"n{number}" for number in range(1, 41)]
        await ada.send(_packet(*map(_send, nonces[:30])))
        # Not all of it sends, and not all whole: what is behind the sends of one write comes behind them too.
        rest = _packet(*map(_send, nonces[30:]), {"t": "leave", "room": ROOM}, _send("late"))
        await ada.send(rest[:-7])
        await ada.send(rest[-7:])
        answers = [await ada.hear("ack", "error") for _ in range(41)]
        acks = [(answer["nonce"], answer["seq"]) for answer in answers if answer["t"] == "ack"]
        assert acks == list(zip(nonces, range(1, 41), strict=True))
        assert [answer["ref"] for answer in answers if answer["t"] == "error"] == ["late"]
        await ada.join(ROOM)
        assert await ada.tell("still here", "good") == 41


async def test_behind_the_send_that_ends_a_session_nothing_is_taken(tmp_path: Path) -> None:
    async with house(tmp_path) as belfry:
        ada, bob = await belfry.client("ada", ROOM), await belfry.client("bob", ROOM)
        await ada.send(
            _packet(_send("first"), *(_send(f"n{number}", "nowhere") for number in range(STRIKES + 1)), _send("last"))
        )
        assert (await ada.hear_close()).code == 1008
        assert [frame["nonce"] for frame in ada.waiting if frame["t"] == "ack"] == ["first"]
        assert [frame["ref"] for frame in ada.waiting if frame["t"] == "error"] == [f"n{n}" for n in range(STRIKES)]
        assert await bob.tell("mine", "next") == 2


async def test_more_sends_at_once_than_may_be_in_flight_are_all_taken(tmp_path: Path) -> None:
    async with house(tmp_path, limits=Limits(send_rate=0)) as belfry:
        ada = await belfry.client("ada", ROOM)
        nonces = [f"n{number}" for number in range(3 * IN_FLIGHT)]
        await ada.send(_packet(*map(_send, nonces)))
        acks = [await ada.hear("ack", "error") for _ in nonces]
        assert [ack.get("nonce") for ack in acks] == nonces
