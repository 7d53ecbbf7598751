"""The lock files hold what pyproject.toml asks for: exact, hashed, without addresses, and the same in all three."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCKS = ("run", "test", "bench")
PIN = re.compile(r"^([a-z0-9][a-z0-9.-]*)==(\S+)", re.MULTILINE)


def text(lock: str) -> str:
    return (ROOT / "requirements" / f"{lock}.txt").read_text()


def pins(lock: str) -> dict[str, str]:
    return dict(PIN.findall(text(lock)))


def asked(lock: str) -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    lines = project["project"]["dependencies"] + project["build-system"]["requires"]
    if lock != "run":
        lines += project["project"]["optional-dependencies"][lock]
    return [Requirement(line) for line in lines]


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_holds_what_is_asked_for(lock: str) -> None:
    found = pins(lock)
    for requirement in asked(lock):
        version = found.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement} is not in {lock}.txt: run `make lock`"
        assert requirement.specifier.contains(version), f"{requirement} but {version} in {lock}.txt: run `make lock`"


@pytest.mark.parametrize("lock", LOCKS)
def test_every_pin_has_hashes_and_nothing_has_an_address(lock: str) -> None:
    entries = re.split(r"^(?=[a-z0-9])", text(lock), flags=re.MULTILINE)[1:]
    assert len(entries) == len(pins(lock))
    assert all("--hash=sha256:" in entry for entry in entries)
    assert "://" not in text(lock)
    assert "--index-url" not in text(lock)


@pytest.mark.parametrize("lock", ["test", "bench"])
def test_one_environment_can_hold_all_locks(lock: str) -> None:
    run, other = pins("run"), pins(lock)
    assert run.items() <= other.items()
    shared = pins("test").keys() & pins("bench").keys()
    assert {name: pins("test")[name] for name in shared} == {name: pins("bench")[name] for name in shared}
