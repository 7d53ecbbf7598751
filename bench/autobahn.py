"""Autobahn's server suite against an echo server on Belfry's own websocket layer.

The suite is from PyPI and needs Python 2.7: it gets a virtual environment of its own, made once and kept. What has to
be there is a `python2.7` on the PATH, or pyenv's.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from collections import Counter
from pathlib import Path

from bench import servers
from bench.errors import Unmeasured
from bench.load import CACHE
from bench.report import Table, Target

SUITE = "autobahntestsuite==25.10.1"
MAKER = "virtualenv<20.22"  # the last that makes environments for Python 2.7
TIME_LIMIT = 900.0  # seconds; it takes about 100 on one core
GOOD = {"OK", "NON-STRICT", "INFORMATIONAL", "UNIMPLEMENTED"}
COMPRESSION = ["12.*", "13.*"]  # permessage-deflate, which Belfry does not agree to


class Missing(Unmeasured):
    """The suite cannot be had on this machine."""


def table() -> tuple[Table, list[Target]]:
    """Run all cases and count their outcomes."""
    wstest = _wstest()
    with (
        tempfile.TemporaryDirectory(dir=CACHE, prefix="autobahn-") as directory,
        servers.running(servers.ECHO) as server,
    ):
        spec = {
            "outdir": "reports",
            "servers": [{"agent": "Belfry", "url": f"ws://127.0.0.1:{server.port}/ws"}],
            "cases": ["*"],
            "exclude-cases": COMPRESSION,
            "exclude-agent-cases": {},
        }
        (Path(directory) / "spec.json").write_text(json.dumps(spec))
        command = [str(wstest), "--mode", "fuzzingclient", "--spec", "spec.json"]
        done = subprocess.run(command, cwd=directory, timeout=TIME_LIMIT, capture_output=True, text=True, check=False)
        index = Path(directory) / "reports" / "index.json"
        if not index.exists():
            raise SystemExit(f"bench: autobahn made no report:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        cases = json.loads(index.read_text())["Belfry"]
    return _outcome(cases)


def _outcome(cases: dict[str, dict[str, str]]) -> tuple[Table, list[Target]]:
    counts = Counter(case["behavior"] for case in cases.values())
    closes = Counter(case["behaviorClose"] for case in cases.values())
    failed = {
        name: f"{case['behavior']}, close {case['behaviorClose']}"
        for name, case in cases.items()
        if case["behavior"] not in GOOD or case["behaviorClose"] not in GOOD
    }
    rows = [(name, str(counts.get(name, 0)), str(closes.get(name, 0))) for name in sorted(counts | closes)]
    rows += [(f"case {name}", outcome, "") for name, outcome in sorted(failed.items())]
    return (
        Table(
            "Autobahn's server suite", f"{len(cases)} cases, without compression.", ("outcome", "cases", "closes"), rows
        ),
        [Target("Autobahn, failed", "0", f"{len(failed)} of {len(cases)}", not failed)],
    )


def _wstest() -> Path:
    """The suite's command, installed when it is not yet. Raises Missing."""
    home = CACHE / "autobahn"
    wstest = home / "py27" / "bin" / "wstest"
    if wstest.exists():
        return wstest
    python = _python27()
    maker = home / "maker"
    print("bench: installing Autobahn's suite in an environment of its own, once", file=sys.stderr)
    venv.create(maker, with_pip=True)
    _install(maker / "bin" / "python", MAKER)
    _run(
        f"virtualenv could not make an environment of {python}",
        maker / "bin" / "virtualenv",
        "-p",
        python,
        home / "py27",
    )
    _install(home / "py27" / "bin" / "python", SUITE)
    return wstest


def _install(python: Path, requirement: str) -> None:
    _run(f"pip could not install {requirement}", python, "-m", "pip", "install", requirement)


def _run(problem: str, *command: Path | str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "?").splitlines()[-1]
        raise Missing(f"{problem}: {last}")


def _python27() -> str:
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [*map(str, versions.glob("2.7.*/bin/python2.7")), shutil.which("python2.7")]
    for candidate in filter(None, candidates):
        # It has to run: pyenv's stand-in on the PATH is there also where its version is not chosen.
        if not subprocess.run([candidate, "-c", ""], capture_output=True, check=False).returncode:
            return candidate
    raise Missing("it needs Python 2.7: pyenv install 2.7.18, or a python2.7 on the PATH")
