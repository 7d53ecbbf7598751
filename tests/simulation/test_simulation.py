"""Histories of a small fleet, each decided by one seed, keep every promise; and planted faults are found by them.

BELFRY_SIM_SEED=n tells that one history; BELFRY_SIM_COUNT=n lives through so many.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.simulation.mutations import ALL, planted
from tests.simulation.world import live

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]
COUNT = int(os.environ.get("BELFRY_SIM_COUNT", "300"))  # 4 s
PARTS = 6
LOOKED_AT = 400  # histories in which a planted fault must show; most do in the first twenty
TIMEOUT = 60.0  # seconds for an interpreter; two on an idle machine


def seeds(part: int) -> range:
    """The seeds of one part."""
    if (one := os.environ.get("BELFRY_SIM_SEED")) is not None:
        return range(int(one), int(one) + (part == 0))
    return range(part * COUNT // PARTS, (part + 1) * COUNT // PARTS)


@pytest.mark.parametrize("part", range(PARTS))
def test_every_history_keeps_every_promise(part: int) -> None:
    for seed in seeds(part):
        outcome = live(seed)
        assert not outcome.problems, str(live(seed, keep=True))


def test_histories_are_worth_looking_at() -> None:
    happened, delivered, resumes = Counter[str](), 0, 0
    outcomes = [live(seed) for seed in range(60)]
    for outcome in outcomes:
        happened.update(outcome.happened)
        delivered += outcome.delivered
        resumes += outcome.resumes
    assert delivered / len(outcomes) > 40
    assert resumes / len(outcomes) > 1
    planned = {"redeploy", "failed_redeploy", "drain", "slow_store"}
    others = {"tower_down", "tower_lies", "kill", "cut", "bus_down", "store_down", "unknown", "part"}
    assert set(happened) == planned | others


@pytest.mark.parametrize("fault", ALL, ids=lambda fault: fault.__name__)
def test_a_planted_fault_is_found(fault: Callable[[], dict[Any, dict[str, Any]]]) -> None:
    with planted(fault):
        for seed in range(LOOKED_AT):
            found = {problem.split()[0].rstrip(":") for problem in live(seed).problems}
            if found & ALL[fault]:
                break
        else:
            pytest.fail(f"{fault.__name__} was not found in {LOOKED_AT} histories")
    assert not live(seed).problems  # and it was the fault


def test_a_seed_tells_the_same_history_in_any_process() -> None:
    """Hashes of texts differ from process to process, and with them the order of sets."""
    here = live(17, keep=True)
    assert here.story
    told = []
    for hashing in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-m", "tests.simulation", "--seed", "17"],
            cwd=ROOT, env=os.environ | {"PYTHONHASHSEED": hashing}, capture_output=True, text=True, timeout=TIMEOUT,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        told.append(done.stdout)
    assert told == [f"{here}\n"] * 2


def test_different_seeds_tell_different_histories() -> None:
    assert live(1, keep=True).story != live(2, keep=True).story
