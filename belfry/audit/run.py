"""A run of the audit: clients over rooms, a steady load, then quiet, a look into the store, and the verdict."""

from __future__ import annotations

import random
import time
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING

import trio

from belfry.audit.api import Api, Unreachable
from belfry.audit.backoff import Backoff
from belfry.audit.checker import Checker
from belfry.audit.client import Account, Client
from belfry.audit.meter import Meter
from belfry.audit.readers import Readers
from belfry.audit.text import text_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from belfry.audit.address import Address
    from belfry.audit.observation import Observation, Stored
    from belfry.audit.verdict import Verdict

ARRIVALS = 250.0  # clients that connect a second; half of what a server takes by default
ARRIVE_TIMEOUT = 60.0  # seconds, beyond ARRIVALS, until all are in their rooms
LEAVING = "leaving"
TICK = 0.02  # seconds between looks at how much is due
ACCOUNTS_AT_ONCE = 10


@dataclass(frozen=True, slots=True)
class Load:
    """What to do to a server."""

    clients: int
    rooms: int
    rate: float  # messages a second, of all clients together
    seconds: float  # of talking; inf is until told to stop
    seed: int
    settle: float = 30.0  # seconds at the end in which every send must be answered and everybody have everything
    backoff_cap: float = 15.0  # seconds; tests that kill a server every other second shorten it
    prefix: str = ""  # of the rooms' names; made from the seed if it is empty

    @property
    def room_names(self) -> list[str]:
        """The rooms of this run, its own: other people's talk is none of its business."""
        prefix = self.prefix or f"audit-{self.seed:x}"
        return [f"{prefix}-{number}" for number in range(self.rooms)]


@dataclass
class Run:
    """One run, for whoever watches it."""

    load: Load
    address: Address
    _: KW_ONLY
    others: tuple[Address, ...] = ()  # more servers of the same fleet: clients are spread over all of them
    account: Callable[[str], Awaitable[Account]] | None = None  # by a client's name; None asks for guests
    also: Callable[[Observation], None] | None = None  # hears every observation too
    store: Callable[[str], Iterable[Stored]] | None = None  # a room's history from the database itself; else by HTTP
    phase: str = "setting up"
    talked: float = 0.0  # seconds of talking so far
    meter: Meter = field(default_factory=Meter)
    checker: Checker = field(default_factory=Checker)
    clients: list[Client] = field(default_factory=list)
    settled: bool = False
    cpu: float = 0.0  # of one core that the audit itself used while it talked; near 1, its own figures are its own
    lag: float = 0.0  # seconds by which its own clock came late at most: no wait is known better than this
    readers: Readers = field(default_factory=Readers)
    talking: trio.Event = field(default_factory=trio.Event)
    stop: trio.Event = field(default_factory=trio.Event)  # set it to end the talking

    def observe(self, observation: Observation) -> None:
        if self.phase != LEAVING:  # the verdict is made; what others are told of those who leave now is true
            self.checker.observe(observation)
        if self.also is not None:
            self.also(observation)

    @property
    def connected(self) -> int:
        """Clients that are in all their rooms now."""
        return sum(client.connected for client in self.clients)

    async def run(self) -> Verdict:
        """Do it all; the rooms are deleted when everything held, and kept as evidence otherwise.

        Raises Unreachable when the server cannot be talked to before the first message.
        """
        rng = random.Random(self.load.seed)
        async with Api(self.address, self._places) as api:
            await api.greet()
            await self._make_clients(api, rng)
            owner = self.clients[0].account
            async with trio.open_nursery() as nursery:
                await nursery.start(self.readers.run)
                await self._arrive(nursery)
                await self._talk(rng)
                await self._settle(api)
                verdict = await self._judge(api)
                await self._leave()
                nursery.cancel_scope.cancel()
            if verdict.ok:
                with trio.move_on_after(10.0):
                    await self._clean_up(api, owner)
        return verdict

    def _places(self) -> Iterable[Address]:
        """Every address of the fleet that is known by now."""
        links = (client.link for client in self.clients)
        return dict.fromkeys([*self.others, *(link.address for link in links if link is not None)])

    async def _make_clients(self, api: Api, rng: random.Random) -> None:
        accounts: dict[int, Account] = {}
        limit = trio.CapacityLimiter(ACCOUNTS_AT_ONCE)
        make = self.account or api.guest

        async def one(number: int) -> None:
            async with limit:
                accounts[number] = await make(f"audit {number}")

        await one(0)  # alone first: if the server will not have us, that is one error, not hundreds
        async with trio.open_nursery() as nursery:
            for number in range(1, self.load.clients):
                nursery.start_soon(one, number)
        names = self.load.room_names
        for name in names:
            await api.make_room(name, accounts[0])
        ring = (self.address, *self.others)
        for number in range(self.load.clients):
            # The first part of them at the first server: by turns, a room's members would all be at one.
            home = number * len(ring) // self.load.clients
            # Two rooms each where there are two: a resume is of all rooms at once.
            mine = dict.fromkeys([names[number % len(names)], names[(number // len(names) + number) % len(names)]])
            self.clients.append(
                Client(
                    f"c{number}",
                    accounts[number],
                    ring[home:] + ring[:home],
                    list(mine),
                    observe=self.observe,
                    backoff=Backoff(random.Random(rng.random()), cap=self.load.backoff_cap),
                    meter=self.meter,
                    readers=self.readers,
                )
            )

    async def _arrive(self, nursery: trio.Nursery) -> None:
        self.phase = "arriving"
        for client in self.clients:
            nursery.start_soon(client.run)
            await trio.sleep(1 / ARRIVALS)
        with trio.move_on_after(ARRIVE_TIMEOUT) as patience:
            while not all(client.connected or client.stopped for client in self.clients):  # noqa: ASYNC110  # short, hundreds
                await trio.sleep(TICK)
        if patience.cancelled_caught and not self.connected:
            raise Unreachable(f"no client got into its rooms: {dict(self.meter.errors)}")
        self.meter.arrived = True

    async def _talk(self, rng: random.Random) -> None:
        self.phase = "talking"
        self.talking.set()
        began, cpu, said = trio.current_time(), time.process_time(), 0
        with trio.move_on_after(self.load.seconds):
            while not self.stop.is_set():
                now = trio.current_time()
                self.talked = now - began
                self.cpu = (time.process_time() - cpu) / max(TICK, self.talked)
                while said < self.load.rate * self.talked:
                    said += 1
                    self._say(rng, said)
                with trio.move_on_after(TICK):
                    await self.stop.wait()
                self.lag = max(self.lag, trio.current_time() - now - TICK)

    def _say(self, rng: random.Random, number: int) -> None:
        client = rng.choice(self.clients)
        if client.stopped is None and client.rooms:
            nonce = f"n{number}"
            client.send_nowait(rng.choice(client.rooms), nonce, text_of(nonce, rng))

    async def _settle(self, api: Api) -> None:
        """Wait until every send is answered and every client stands at the head of its rooms."""
        self.phase = "settling"
        with trio.move_on_after(self.load.settle):
            while not await self._quiet(api):  # noqa: ASYNC110  # the heads are on a server: no event tells
                await trio.sleep(10 * TICK)
            self.settled = True

    async def _quiet(self, api: Api) -> bool:
        for client in self.clients:
            if client.stopped is None and (client.waiting or not client.connected):
                return False
        try:
            heads = {room: await api.head(room, self.clients[0].account) for room in self.load.room_names}
        except Unreachable:
            return False
        return all(
            client.positions.get(room) == heads[room]
            for client in self.clients
            if client.stopped is None
            for room in client.rooms
        )

    async def _judge(self, api: Api) -> Verdict:
        self.phase = "reading history"
        for room in self.load.room_names:
            if self.store is not None:
                for page in self.store(room):
                    self.observe(page)
                continue
            try:
                async for page in api.history(room, self.clients[0].account):
                    self.observe(page)
            except Unreachable as problem:
                self.meter.errors[f"history: {problem}"] += 1
        return self.checker.verdict()

    async def _leave(self) -> None:
        self.phase = LEAVING
        async with trio.open_nursery() as nursery:
            for client in self.clients:
                nursery.start_soon(client.leave)

    async def _clean_up(self, api: Api, owner: Account) -> None:
        for room in self.load.room_names:
            try:
                await api.delete_room(room, owner)
            except Unreachable:
                return  # the verdict stands; the rooms stay
