"""An operator's orders to this server: cordon, uncordon, drain, abort. They come over the bus, from a tower.

A drain that was ordered does not end the process: when everybody is gone the server stays, cordoned and empty, until
it is stopped (which then takes no time) or uncordoned. Nothing of it outlives the process: a server that starts is
ready.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from typing import TYPE_CHECKING, Protocol

import trio

from bus.events import Order

if TYPE_CHECKING:
    from chat.moving import Mover
    from chat.service import State

log = logging.getLogger("belfry.chat.orders")

REMEMBERED = 1_000  # orders' ids: who sends an order twice does so within seconds
WAITING = 16  # orders not yet looked at; they are looked at in the same moment


class Ruled(Protocol):
    """What orders are about."""

    state: State


class Orders:
    """Obeys orders for one server, each once."""

    def __init__(self, own_id: str, server: Ruled, mover: Mover, deadline: float) -> None:
        self._own_id = own_id
        self._server = server
        self._mover = mover
        self._deadline = deadline  # seconds for a drain whose order names none
        self._seen: deque[str] = deque(maxlen=REMEMBERED)
        self._send, self._receive = trio.open_memory_channel[Order](WAITING)
        self._draining: trio.CancelScope | None = None
        self._ended = False

    def heard(self, order: Order) -> None:
        """An order for some server came."""
        if order.id != self._own_id or order.order in self._seen or self._ended:
            return
        self._seen.append(order.order)
        try:
            self._send.send_nowait(order)
        except trio.WouldBlock:
            log.error("the order to %s was passed over: %d wait", order.verb, WAITING)

    async def run(self) -> None:
        """Obey, until cancelled."""
        async with trio.open_nursery() as nursery:
            async for order in self._receive:
                log.info("ordered to %s", order.verb)
                match order.verb:
                    case "cordon":
                        self._change("ready", "cordoned")
                    case "uncordon":
                        if self._change("cordoned", "ready"):
                            self._mover.reset()
                    case "drain":
                        self._drain(order, nursery)
                    case "abort":
                        self._abort()
                    case _:
                        log.warning("the order to %s is none that this version knows", order.verb)

    def end(self) -> None:
        """The server stops: whatever was ordered is over, the stop moves who is left."""
        self._ended = True
        self._cut()

    def _cut(self) -> None:
        if self._draining is not None:
            self._draining.cancel()
            self._draining = None

    def _change(self, before: State, after: State) -> bool:
        if self._server.state != before:
            log.warning("the server is %s, so it cannot be made %s", self._server.state, after)
            return False
        self._server.state = after
        return True

    def _drain(self, order: Order, nursery: trio.Nursery) -> None:
        if self._server.state not in ("ready", "cordoned", "draining"):
            log.warning("the server is %s, so it cannot be drained", self._server.state)
            return
        self._cut()  # the one under way goes on with this one's pace
        self._draining = trio.CancelScope()
        self._server.state = "draining"
        nursery.start_soon(self._move, order, self._draining)

    async def _move(self, order: Order, scope: trio.CancelScope) -> None:
        with scope:
            per_second = _number(order.per_second)
            # With a pace but no deadline it takes as long as the pace does.
            deadline = _number(order.deadline) or max(self._deadline, self._mover.seconds_at(per_second))
            await self._mover.move(deadline, per_second)
            if self._draining is scope:
                self._draining = None
                self._server.state = "cordoned"
                log.info("drained: nobody is left; stop it, or uncordon it")

    def _abort(self) -> None:
        if self._draining is None:
            log.warning("no drain that was ordered is under way, so none is aborted")
            return
        self._cut()
        self._mover.reset()
        self._server.state = "ready"
        log.info("the drain is aborted: who was not told to move yet stays")


def _number(told: float) -> float:
    """What an order says, or 0: nothing."""
    return told if told > 0.0 and math.isfinite(told) else 0.0
