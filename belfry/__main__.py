"""`python -m belfry` is `belfry`."""

from __future__ import annotations

import sys

from belfry.cli import main

sys.exit(main())
