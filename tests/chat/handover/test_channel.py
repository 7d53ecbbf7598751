"""The channel between two processes: messages whole and in order, descriptors with theirs, and an end that is heard."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from chat.handover.channel import DESCRIPTORS, HEAD, Channel, ChannelBroken

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = 20.0  # seconds; milliseconds are enough


@contextlib.contextmanager
def channels() -> Iterator[tuple[Channel, Channel]]:
    one, other = map(Channel, Channel.pair())
    try:
        yield one, other
    finally:
        one.close()
        other.close()


def inode(descriptor: int) -> int:
    return os.fstat(descriptor).st_ino


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.binary(max_size=100_000), st.integers(0, 5)), max_size=20))
def test_messages_and_descriptors_come_as_they_were_sent(messages: list[tuple[bytes, int]]) -> None:
    async def run() -> None:
        with channels() as (here, there), contextlib.ExitStack() as stack, trio.fail_after(PATIENCE):
            sent = []
            for body, count in messages:
                pipes = [os.pipe() for _ in range(count)]
                for descriptor in [end for pipe in pipes for end in pipe]:
                    stack.callback(os.close, descriptor)
                sent.append((body, [pipe[0] for pipe in pipes]))
            async with trio.open_nursery() as nursery:

                @nursery.start_soon
                async def _send() -> None:
                    for body, descriptors in sent:
                        await here.send(body, descriptors)

                for body, descriptors in sent:
                    got, found = await there.receive()
                    assert got == body
                    assert [inode(one) for one in found] == [inode(one) for one in descriptors]
                    assert not any(os.get_inheritable(one) for one in found)
                    for one in found:
                        os.close(one)

    trio.run(run)


async def test_many_descriptors_in_one_message_and_not_one_more() -> None:
    with channels() as (here, there), trio.fail_after(PATIENCE):
        read, write = os.pipe()
        await here.send(b"all", [read] * DESCRIPTORS)
        _, found = await there.receive()
        assert {inode(one) for one in found} == {inode(read)}
        assert len(found) == DESCRIPTORS
        for one in (*found, write):
            os.close(one)
        with pytest.raises(ValueError, match="do not fit"):
            await here.send(b"", [read] * (DESCRIPTORS + 1))
        os.close(read)


async def test_giving_up_in_the_middle_of_a_message_loses_nothing() -> None:
    ours, theirs = Channel.pair()
    channel = Channel(ours)
    read, write = os.pipe()
    whole = HEAD.pack(6, 1) + b"whole!"
    with theirs, trio.fail_after(PATIENCE):
        socket.send_fds(theirs, [whole[:3]], [read])
        for at in range(3, len(whole)):
            with trio.move_on_after(0.01) as patience:
                await channel.receive()
            assert patience.cancelled_caught
            theirs.send(whole[at : at + 1])
        message, found = await channel.receive()
        assert message == b"whole!"
        assert [inode(one) for one in found] == [inode(read)]
        for one in (*found, read, write):
            os.close(one)
        channel.close()


async def test_the_end_is_heard_on_both_sides() -> None:
    with channels() as (here, there), trio.fail_after(PATIENCE):
        await here.send(b"last words")
        here.close()
        assert await there.receive() == (b"last words", [])
        with pytest.raises(ChannelBroken, match="is gone"):
            await there.receive()
        with pytest.raises(ChannelBroken):
            await there.send(b"anybody?")


async def test_an_end_in_the_middle_of_a_message() -> None:
    ours, theirs = Channel.pair()
    theirs.send(HEAD.pack(100, 0) + b"half")
    theirs.close()
    channel = Channel(ours)
    with pytest.raises(ChannelBroken, match="is gone"):
        await channel.receive()
    channel.close()


@pytest.mark.parametrize("head", [HEAD.pack(2**31, 0), HEAD.pack(1, DESCRIPTORS + 1)])
async def test_what_is_no_message_of_ours_is_no_message(head: bytes) -> None:
    ours, theirs = Channel.pair()
    channel = Channel(ours)
    with theirs:
        theirs.send(head)
        with pytest.raises(ChannelBroken, match="no message of ours"):
            await channel.receive()
        channel.close()


async def test_promised_descriptors_that_do_not_come() -> None:
    ours, theirs = Channel.pair()
    channel = Channel(ours)
    with theirs:
        theirs.send(HEAD.pack(2, 1) + b"hi")
        with pytest.raises(ChannelBroken, match="descriptors are missing"):
            await channel.receive()
        channel.close()


async def test_closing_closes_the_descriptors_that_nobody_took() -> None:
    with channels() as (here, there), trio.fail_after(PATIENCE):
        read, write = os.pipe()
        await here.send(b"one")
        await here.send(b"two", [read])
        os.close(read)
        assert await there.receive() == (b"one", [])
        with trio.move_on_after(0.05):
            await there._until_buffered(10_000)
        there.close()
        with pytest.raises(BrokenPipeError):
            os.write(write, b"nobody reads")
        os.close(write)
