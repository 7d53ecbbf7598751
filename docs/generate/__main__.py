"""Write the generated pages, or with --check say which of them the code has left behind (exit code 1)."""

from __future__ import annotations

import sys
from pathlib import Path

from docs.generate.limits import limits_page
from docs.generate.map import map_page
from docs.generate.metrics import metrics_page
from docs.generate.wire import wire_page

FOLDER = Path(__file__).parent.parent / "reference"
PAGES = {"wire.md": wire_page, "metrics.md": metrics_page, "limits.md": limits_page, "map.md": map_page}


def main(argv: list[str]) -> int:
    """Returns the exit code."""
    stale = 0
    for name, page in PAGES.items():
        path, text = FOLDER / name, page()
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale += 1
        if "--check" in argv:
            print(f"docs/reference/{name} is behind the code; python -m docs.generate writes it")
        else:
            path.write_text(text, encoding="utf-8")
            print(f"wrote docs/reference/{name}")
    return 1 if stale and "--check" in argv else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
