"""`belfry audit`: what is wrong with a call is one line, and what a run found is said in words and as JSON."""

from __future__ import annotations

import json
import math
import socket
from typing import TYPE_CHECKING

import audit_mutations
import pytest
from audit_world import World

from belfry import cli
from belfry.audit.address import Address
from belfry.audit.checker import Checker
from belfry.audit.report import as_json, lines
from belfry.audit.run import Load, Run
from belfry.audit.view import line_of

if TYPE_CHECKING:
    from belfry.audit.verdict import Verdict


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--clients", "none"], '"none" does not fit; give a whole number from 1 to 20000'),
        (["--clients", "0"], "give a whole number from 1 to 20000"),
        (["--rate", "-1"], '"-1" does not fit; give a number from 0 up'),
        (["--rate", "nan"], "give a number from 0 up"),
        (["--url", "localhost"], "give the address that people open"),
        (["--client", "5"], "--client"),
    ],
)
def test_a_wrong_call_is_one_line(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["audit", *arguments]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1


def test_nobody_there_is_said_and_is_2(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        assert cli.main(["audit", "--url", url, "--clients", "1"]) == 2
    assert f"belfry: cannot audit {url}: " in capsys.readouterr().err


def test_help_names_each_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["audit", "--help"])
    assert ended.value.code == 0
    told = capsys.readouterr().out
    for words in ("default http://127.0.0.1:8000", "default 50", "default 5)", "default 20", "BELFRY_SECRET_FILE"):
        assert words in told


def found(*, broken: bool) -> tuple[Run, Verdict]:
    world = World()
    for client in world.clients:
        world.connect(client)
    for client in world.clients:
        world.send(client)
    history = world.finish()
    if broken:
        history = next(audit_mutations.doubled(history))
    run = Run(Load(clients=3, rooms=1, rate=1.0, seconds=math.inf, seed=7), Address("h", 80, False))
    run.settled = True
    return run, Checker().observe_all(history).verdict()


def test_a_broken_promise_is_told_with_the_seed_and_the_rooms() -> None:
    run, verdict = found(broken=True)
    told = "\n".join(lines(run, verdict))
    assert "BROKEN: doubled (1): a client got" in told
    assert "The rooms audit-7-0 to audit-7-0 are kept; this was --seed 7" in told


def test_what_else_went_wrong_is_told() -> None:
    run, verdict = found(broken=False)
    run.settled = False
    run.meter.errors["overloaded"] = 3
    run.meter.stopped.append("c1: 4501 banned")
    told = "\n".join(lines(run, verdict))
    assert "NOT QUIET after 30 s" in told
    assert "the server refused: overloaded 3" in told
    assert "Told not to come back: 1 of the clients: c1: 4501 banned" in told
    assert "Every promise held" in told


def test_the_report_is_json() -> None:
    report = json.loads(as_json(*found(broken=True)))
    assert report["ok"] is False
    assert report["faults"] == {"doubled": 1}
    assert report["counts"]["sent"] == 3
    assert report["seed"] == 7


def test_the_line_tells_faults_as_soon_as_they_are_found() -> None:
    run, _ = found(broken=False)
    assert "FAULTS" not in line_of(run)
    run.checker.observe_all(next(audit_mutations.doubled(_history())))
    run.talked = 3.0
    assert line_of(run).startswith("setting up 3 s, 0/3 connected")
    assert line_of(run).endswith("1 FAULTS")


def _history() -> audit_mutations.History:
    world = World()
    world.connect(world.clients[0])
    world.send(world.clients[0])
    return world.finish()
