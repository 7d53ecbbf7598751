"""Towers as processes of their own, over a real fleet: what they see, what they say, and what their absence costs."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from typing import TYPE_CHECKING, Any

import httpx
import trio

from chat.tokens import Tokens
from tests.faults.fleet import WITH_A_LOBBY
from tests.faults.process import ServerProcess
from tower.service import BUS_GONE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.faults.conftest import MakeFleet
    from tests.faults.fleet import Fleet

SEEN = 60.0  # seconds until something is seen; on a quiet machine a few


class TowerProcess(ServerProcess):
    """`belfry tower` in a process of its own."""

    def __init__(self, directory: Path, fleet: Fleet, **environ: str) -> None:
        super().__init__(directory)
        self.environ = os.environ | {"BELFRY_SECRET": fleet.secret, "BELFRY_DB": fleet.db, "BELFRY_BUS": fleet.bus}
        self.environ |= environ
        self._token = Tokens(fleet.secret.encode()).issue("u_admin", "admin", 3_600.0, admin=True)

    def command(self) -> list[str]:
        return [sys.executable, "-m", "belfry", "tower", "--port", str(self.port)]

    async def ask(self, path: str) -> Any:
        """What a GET answers."""
        async with httpx.AsyncClient(timeout=SEEN) as client:
            answer = await client.get(self.url + path, headers={"Authorization": f"Bearer {self._token}"})
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def states(self) -> dict[str, str]:
        """Every server's state."""
        return {server["id"]: server["state"] for server in (await self.ask("/v1/servers"))["servers"]}

    async def until_states(self, wanted: Mapping[str, str]) -> None:
        """Wait until every server is seen in its state."""
        found: dict[str, str] = {}
        with trio.move_on_after(SEEN):
            while found != wanted:
                await trio.sleep(0.1)
                found = await self.states()
        assert found == wanted, self.told()

    async def until_wrong(self, says: str) -> None:
        """Wait until it says that this is wrong; "" is nothing at all."""
        told = ["not asked yet"]
        with trio.move_on_after(SEEN):
            while not any(says in line for line in told) if says else told:
                await trio.sleep(0.1)
                told = (await self.ask("/v1/servers"))["wrong"]
        assert any(says in line for line in told) if says else not told, told

    async def until_orders_are_refused(self) -> None:
        """Wait until the bus has been away for longer than an order may wait for it."""
        quiet = 0.0
        with trio.move_on_after(SEEN):
            while quiet <= BUS_GONE + 0.5:  # told to the second
                await trio.sleep(0.1)
                told = " ".join((await self.ask("/v1/servers"))["wrong"])
                quiet = float(found[1]) if (found := re.search(r"the bus has been away for (\d+) s", told)) else 0.0
        assert quiet > BUS_GONE, quiet

    async def verb(self, *words: str) -> tuple[int, str, str]:
        """Run a command of the operator's against it: exit code, stdout, stderr."""
        command = [sys.executable, "-m", "belfry", *words, "--tower", self.url]
        done = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False, env=self.environ)
        return done.returncode, done.stdout.decode(), done.stderr.decode()


async def test_an_operator_works_with_a_fleet(make_fleet: MakeFleet, tmp_path: Path) -> None:
    fleet = await make_fleet(2, *WITH_A_LOBBY)
    one, two = fleet.servers
    tower, other = TowerProcess(tmp_path / "tower", fleet), TowerProcess(tmp_path / "other", fleet)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tower.start)
            nursery.start_soon(other.start)
        for each in (tower, other):
            await each.until_states({one.id: "ready", two.id: "ready"})
        async with fleet.visit(one, "u_ada") as ada:
            code, out, err = await tower.verb("servers")
            assert code == 0, err
            assert [line.split()[0] for line in out.splitlines()] == ["ID", one.id, two.id]

            code, _, err = await tower.verb("cordon", one.id)
            assert code == 0, err
            await other.until_states({one.id: "cordoned", two.id: "ready"})
            for _ in range(5):
                assert (await tower.ask("/v1/assign"))["server"] == two.id
            code, _, err = await tower.verb("drain", two.id)
            assert (code, "is the last server that takes clients" in err) == (2, True), err
            code, _, err = await tower.verb("uncordon", one.id)
            assert code == 0, err
            await tower.until_states({one.id: "ready", two.id: "ready"})

            code, _, err = await tower.verb("drain", one.id, "--dry")
            assert (code, f"to {two.id}" in err) == (0, True), err
            assert await tower.states() == {one.id: "ready", two.id: "ready"}
            code, out, err = await tower.verb("drain", one.id, "--json")
            assert code == 0, err
            assert json.loads(out)["outcome"] == "drained"
            assert (await ada.hear("moving"))["url"] == two.url
        assert one.log.read_text().count("the tower's pace") == 1
        await other.until_states({one.id: "cordoned", two.id: "ready"})

        for words, says in (
            (("drain", "s9"), 'no server "s9" was heard of'),
            (("abort", one.id), "is cordoned, not draining"),
            (("drain", two.id, "--rate", "fast"), '--rate (flag): "fast" does not fit'),
        ):
            code, out, err = await tower.verb(*words)
            assert (code, out) == (2, ""), err
            assert err.startswith("belfry: ")
            assert err.count("\n") == 1
            assert says in err
        tower.environ = (tower.environ or {}) | {"BELFRY_SECRET": "x" * 40}
        code, _, err = await tower.verb("servers")
        assert (code, "has another secret" in err) == (1, True), err

        for each in (tower, other):
            each.signal(signal.SIGTERM)
        assert [await each.wait() for each in (tower, other)] == [0, 0], tower.told()
    finally:
        await tower.end()
        await other.end()


async def test_a_death_is_seen_and_so_is_a_fleet_without_its_bus(make_fleet: MakeFleet, tmp_path: Path) -> None:
    """kill -9 of a server; then the broker stands still: the tower reads the table; then MySQL: it hears beats."""
    fleet = await make_fleet(2)
    one, two = fleet.servers
    tower = TowerProcess(tmp_path / "tower", fleet)
    try:
        await tower.start()
        await tower.until_states({one.id: "ready", two.id: "ready"})
        await one.kill()
        began = trio.current_time()
        await tower.until_states({one.id: "down", two.id: "ready"})
        print(f"the death was seen after {trio.current_time() - began:.1f} s")
        wrong = (await tower.ask("/v1/servers"))["wrong"]
        assert any(f"{one.id} at {one.url} has been silent" in line for line in wrong)

        fleet.kafka.pause()
        await tower.until_wrong("the fleet is read from the database")
        await one.start()
        await tower.until_states({one.id: "ready", two.id: "ready"})
        await tower.until_orders_are_refused()
        code, _, err = await tower.verb("cordon", one.id)
        assert (code, "the bus has been away" in err) == (1, True), err
        fleet.kafka.resume()
        await tower.until_wrong("")

        fleet.mysql.pause()
        await tower.until_wrong("the database cannot be reached")
        await trio.sleep(7.0)  # longer than a lease: beats come by the bus
        assert await tower.states() == {one.id: "ready", two.id: "ready"}
        fleet.mysql.resume()
    finally:
        await tower.end()


async def test_a_tower_that_is_killed_or_absent_costs_nobody_anything(make_fleet: MakeFleet, tmp_path: Path) -> None:
    fleet = await make_fleet(2)
    tower = TowerProcess(tmp_path / "tower", fleet)
    try:
        async with fleet.talking(clients=12) as talk:
            await talk.until_crossed("calm")
            await tower.start()
            await tower.until_states({server.id: "ready" for server in fleet.servers})
            talk.note("kill -9 of the tower")
            await tower.kill()
            for server in fleet.servers:
                await talk.until_acked(server)
            talk.note("a tower is there again")
            await tower.start()
            await tower.until_states({server.id: "ready" for server in fleet.servers})
        assert talk.verdict is not None
        assert talk.verdict.counts.resumes == 0
    finally:
        await tower.end()


async def test_a_tower_starts_while_its_database_is_away(make_fleet: MakeFleet, tmp_path: Path) -> None:
    fleet = await make_fleet(1)
    tower = TowerProcess(tmp_path / "tower", fleet)
    try:
        fleet.mysql.pause()
        await tower.start()
        await tower.until_told("the database is away")
        await tower.until_states({fleet.servers[0].id: "ready"})
        fleet.mysql.resume()
        await tower.until_wrong("")
    finally:
        await tower.end()
