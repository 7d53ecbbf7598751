"""docs/reference/map.md: every module with its first sentence."""

from __future__ import annotations

from docs.generate.constants import first_line, modules
from docs.generate.table import table

HEAD = """\
# The map

<!-- Written by `python -m docs.generate` from the modules' docstrings; a test fails when it differs. -->

Every module with its own first sentence. [The house](../explanation/the-house.md) tells how they belong together.
"""
PACKAGES = ("belfry", "chat", "tower", "db", "bus")


def map_page() -> str:
    """The page, as Markdown."""
    parts = [HEAD]
    for package in PACKAGES:
        rows, about = [], ""
        for name in modules(package):
            if name == f"{package}.__init__":
                about = first_line(name)
            elif not name.endswith("__init__"):
                rows.append((f"`{name.replace('.', '/')}.py`", first_line(name)))
        if rows:
            parts.append(f"\n## {package}\n\n{about}.\n\n{table(('Module', 'What it is'), rows)}")
    return "".join(parts)
