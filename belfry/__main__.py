"""The program: `belfry`, and `python -m belfry`. Here, and not in cli.py, so that Ctrl-C is quiet from the start."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line; the exit code."""
    try:
        from belfry.cli import main as run
    except KeyboardInterrupt:  # while that is read, which takes a tenth of a second
        return 130  # 128 + SIGINT, as shells have it
    return run()


if __name__ == "__main__":
    sys.exit(main())
