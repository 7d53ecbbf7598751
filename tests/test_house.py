"""The house's two rules about imports: pure modules never reach trio, and packages know each other one way only."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("belfry", "bus", "chat", "db", "tower")
IMPURE = ("trio", "trio_websocket", "hypercorn", "quart", "quart_trio", "socket", "threading")

# What holds the rules of chatting: state machines and values that any shell could drive, and a test without a loop.
PURE = (
    "belfry.audit.address", "belfry.audit.backoff", "belfry.audit.checker", "belfry.audit.flaps", "belfry.audit.herd",
    "belfry.audit.latencies", "belfry.audit.ledger", "belfry.audit.meter", "belfry.audit.observation",
    "belfry.audit.report", "belfry.audit.standing", "belfry.audit.text", "belfry.audit.verdict", "belfry.audit.waits",
    "belfry.audit.websocket", "belfry.supervisor.messages", "belfry.supervisor.story",
    "bus.events", "bus.records", "bus.topics", "bus.url",
    "chat.budget", "chat.closing", "chat.config", "chat.drain", "chat.errors", "chat.fanout", "chat.frames",
    "chat.handover.lock", "chat.handover.record",
    "chat.head", "chat.live_room", "chat.load", "chat.others", "chat.patience", "chat.peers", "chat.presence",
    "chat.rate", "chat.room", "chat.service", "chat.text", "chat.tickets", "chat.tokens", "chat.wire",
    "db.cursor", "db.epoch", "db.errors", "db.folding", "db.moments", "db.numbering", "db.records", "db.url",
    "tower.budget", "tower.config", "tower.errors", "tower.fleet", "tower.head", "tower.notes", "tower.placement",
    "tower.rollouts", "tower.verbs", "tower.views",
)  # fmt: skip

MAY_IMPORT = {
    "belfry": {"belfry", "bus", "chat", "db", "tower"},
    "bus": {"bus"},
    "chat": {"bus", "chat", "db"},
    "db": {"db"},
    "tower": {"bus", "db", "tower"},
}
# The one exception: whoever launches Hypercorn per port starts there, so it composes, as belfry does.
SECOND_ROOT = "chat.asgi"

BLOCKED_IMPORT = """
import importlib, sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked}:
            raise ImportError(f"{{name}} is blocked")
sys.meta_path.insert(0, Block())
for name in {names}:
    try:
        importlib.import_module(name)
    except ImportError as error:
        print(name, "-", error)
"""


def modules() -> dict[str, Path]:
    """Every module of ours by name."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports(source: str, *, typing_too: bool) -> set[str]:
    """The modules that a source imports, anywhere in it; those for type checking only if asked for."""
    found: set[str] = set()
    waiting: list[ast.AST] = [ast.parse(source)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING" and not typing_too:
            waiting.extend(node.orelse)
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "relative imports hide where they lead"
            assert node.module is not None
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
        else:
            waiting.extend(ast.iter_child_nodes(node))
    return found


def reached(module: str) -> dict[str, list[str]]:
    """Everything that importing a module imports, each with the way that leads there, through our own modules."""
    ways = {module: [module]}
    waiting = [module]
    while waiting:
        here = waiting.pop()
        parents = {here.rpartition(".")[0]} - {""}
        for there in imports(MODULES[here].read_text(), typing_too=False) | parents:
            if there not in ways:
                ways[there] = [*ways[here], there]
                if there in MODULES:
                    waiting.append(there)
    return ways


def test_imports_are_found_wherever_they_stand() -> None:
    source = (
        "from typing import TYPE_CHECKING\nimport a.b\nif TYPE_CHECKING:\n    import hidden\nelse:\n    import shown\n"
        "def f():\n    try:\n        from c import d\n    except ValueError:\n        import e\n"
    )
    at_run_time = {"typing", "typing.TYPE_CHECKING", "a.b", "shown", "c", "c.d", "e"}
    assert imports(source, typing_too=False) == at_run_time
    assert imports(source, typing_too=True) == at_run_time | {"hidden"}


def test_what_imports_trio_is_seen_to_reach_it() -> None:
    assert reached("chat.server")["trio"][0] == "chat.server"
    assert "trio" in reached("chat.asgi")


@pytest.mark.parametrize("module", PURE)
def test_a_pure_module_reaches_nothing_impure(module: str) -> None:
    ways = reached(module)
    wrong = [" -> ".join(ways[name]) for name in ways if name.partition(".")[0] in IMPURE]
    assert not wrong


def test_pure_modules_are_imported_where_trio_is_not_to_be_had() -> None:
    blocked = ("trio", "trio_websocket", "hypercorn", "quart", "quart_trio")
    program = BLOCKED_IMPORT.format(blocked=set(blocked), names=PURE)
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    proof = BLOCKED_IMPORT.format(blocked=set(blocked), names=("chat.outbox",))
    done = subprocess.run([sys.executable, "-c", proof], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout == "chat.outbox - trio is blocked\n"


@pytest.mark.parametrize("module", sorted(MODULES.keys() - {SECOND_ROOT}))
def test_packages_know_each_other_one_way(module: str) -> None:
    package = module.partition(".")[0]
    known = {name.partition(".")[0] for name in imports(MODULES[module].read_text(), typing_too=True)}
    assert known & (set(PACKAGES) | {"tests", "bench", "tools"}) <= MAY_IMPORT[package]


def test_nobody_imports_the_second_root() -> None:
    importers = [m for m, path in MODULES.items() if SECOND_ROOT in imports(path.read_text(), typing_too=True)]
    assert not importers


def test_no_test_is_skipped() -> None:
    """What a test needs is there, or the run is red and says what to get."""
    skips = ("pytest.skip", "importorskip", "mark.skip", "mark.xfail", "unittest.skip", "SkipTest")
    found = [
        f"{path.relative_to(ROOT)}: {word}"
        for path in sorted((ROOT / "tests").rglob("*.py"))
        for word in skips
        if word in path.read_text() and path != Path(__file__).resolve()
    ]
    assert found == []
