"""compose/Dockerfile as plain processes: what it copies and runs, done in a directory, and what it says of itself."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "compose" / "Dockerfile"
INSTALL = 300.0  # seconds; 20 with pip's cache warm, and a machine that runs all tests at once is slow


def instructions() -> list[tuple[str, str]]:
    """Each instruction and what follows it; hadolint has checked the grammar in a test of its own."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if not line.startswith("#")]
    logical = re.sub(r"\\\n", "", "\n".join(lines)).splitlines()
    return [(name, rest.strip()) for name, _, rest in (line.strip().partition(" ") for line in logical) if name]


def stage(number: int) -> list[tuple[str, str]]:
    """The instructions from the `number`th FROM up to the next."""
    starts = [at for at, (name, _) in enumerate(instructions()) if name == "FROM"]
    end = starts[number + 1] if number + 1 < len(starts) else None
    return instructions()[starts[number] : end]


def said(name: str) -> str:
    """What the last stage says once, e.g. of its STOPSIGNAL."""
    (found,) = [rest for one, rest in stage(1) if one == name]
    return found


def exec_form(text: str) -> list[str]:
    """A command as Docker executes it without a shell."""
    command = json.loads(text)
    assert isinstance(command, list)
    assert all(isinstance(word, str) for word in command)
    return command


def entrypoint() -> list[str]:
    return exec_form(said("ENTRYPOINT"))


def healthcheck() -> list[str]:
    return exec_form(said("HEALTHCHECK").partition(" CMD ")[2])


def environment() -> dict[str, str]:
    return dict(word.split("=", 1) for word in shlex.split(said("ENV")))


def build(root: Path) -> Path:
    """Do the first stage below `root` and give what /opt/belfry has become, with paths of the last stage's COPY."""
    source, target = root / "src", root / "opt" / "belfry"
    source.mkdir(parents=True)
    environ = {name: text for name, text in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
    environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environ['PATH']}"
    for name, rest in stage(0)[1:]:
        if name == "COPY":
            *what, where = rest.split()
            for path in what:
                _copy(ROOT / path, source / where / path if where == "./" else source / where)
        elif name == "RUN":
            # Kept out of an image, the cache here spares the registry; and for a dozen starts nothing is compiled.
            line = rest.replace("/opt/belfry", str(target)).replace("--no-cache-dir", "--no-compile")
            done = subprocess.run(
                ["/bin/sh", "-c", line], cwd=source, env=environ, capture_output=True, text=True, timeout=INSTALL
            )
            assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        else:
            assert (name, rest) == ("WORKDIR", "/src")
    return target


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy2(source, target)
