"""The numbers of a module with their comments, read from its source: where a bound stands, its reason stands too."""

from __future__ import annotations

import ast
import io
import tokenize
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

HOUSE = Path(__file__).parent.parent.parent


@dataclass(frozen=True, slots=True)
class Constant:
    """One number: as written in the source, and why."""

    name: str
    written: str
    why: str


def modules(package: str) -> Iterator[str]:
    """The modules of a package and of the packages in it, by name."""
    for path in sorted((HOUSE / package).rglob("*.py")):
        yield ".".join(path.relative_to(HOUSE).with_suffix("").parts)


def module_constants(name: str) -> list[Constant]:
    """The module's numbers that say why, in their order."""
    return [one for one in _assigned(_source(name).body, _comments(name)) if one.why]


def class_constants(name: str, of: str) -> list[Constant]:
    """The same of a class's fields."""
    (found,) = [node for node in _source(name).body if isinstance(node, ast.ClassDef) and node.name == of]
    return _assigned(found.body, _comments(name))


def first_line(name: str) -> str:
    """The first sentence of a module's docstring."""
    text = " ".join((ast.get_docstring(_source(name)) or "").split("\n\n")[0].split())
    return text.removesuffix(".")


def _path(name: str) -> Path:
    return HOUSE.joinpath(*name.split(".")).with_suffix(".py")


def _source(name: str) -> ast.Module:
    return ast.parse(_path(name).read_text(encoding="utf-8"))


def _comments(name: str) -> dict[int, str]:
    """Line number -> the comment at its end."""
    reader = io.StringIO(_path(name).read_text(encoding="utf-8")).readline
    tokens = tokenize.generate_tokens(reader)
    return {
        token.start[0]: token.string.removeprefix("#").strip()
        for token in tokens
        if token.type == tokenize.COMMENT and not token.line.lstrip().startswith("#")
    }


def _assigned(body: list[ast.stmt], comments: dict[int, str]) -> list[Constant]:
    found = []
    for node in body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            target, value = node.targets[0].id, node.value
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            target, value = node.target.id, node.value
        else:
            continue
        if _is_number(value) and not target.startswith("_"):
            comment = comments.get(value.end_lineno or 0, "")
            found.append(Constant(target, ast.unparse(value), comment.partition("# noqa")[0].strip()))
    return found


def _is_number(value: ast.expr) -> bool:
    """A number, or a tuple of numbers: a range."""
    if isinstance(value, ast.Tuple):
        return bool(value.elts) and all(map(_is_number, value.elts))
    if isinstance(value, ast.BinOp):
        return _is_number(value.left) and _is_number(value.right)
    return isinstance(value, ast.Constant) and type(value.value) in (int, float)
