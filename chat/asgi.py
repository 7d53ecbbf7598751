"""For those who launch Hypercorn per port themselves: `hypercorn -k trio --bind 127.0.0.1:8000 chat.asgi:app`.

The one module of chat that reaches up to the composition root: a launcher that knows only a module's name needs one
that puts the parts together. Settings come from BELFRY_ variables and a BELFRY_CONFIG file, as for `belfry serve`.
"""

from __future__ import annotations

from belfry.launched import app

__all__ = ["app"]
