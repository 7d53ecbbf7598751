"""When a client comes back: full jitter under a cap, and what each close code asks for. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from chat.closing import ALL, Return

if TYPE_CHECKING:
    import random

STABLE = 5.0  # seconds a welcomed connection must have lasted before failures are forgotten

_BACK = {closing.code: closing.back for closing in ALL}


def back_after(code: int) -> Return:
    """Whether to come back after a close with this code; unknown codes are judged by their family."""
    if code in _BACK:
        return _BACK[code]
    return Return.NEVER if 4500 <= code <= 4999 else Return.LATER


@dataclass(slots=True)
class Backoff:
    """Full jitter: cap first, then jitter, so that those who wait longest do not come all at once."""

    rng: random.Random
    base: float = 0.5  # seconds, of the first wait
    cap: float = 15.0  # seconds
    failures: int = field(default=0, init=False)

    def lasted(self, seconds: float) -> None:
        """A welcomed connection lasted so long."""
        if seconds >= STABLE:
            self.failures = 0

    def after_failure(self) -> float:
        """Seconds to wait after a connection that could not be made, or ended badly."""
        ceiling = min(self.cap, self.base * 2.0 ** min(self.failures, 30))
        self.failures += 1
        return self.rng.uniform(0.0, ceiling)

    def after_end(self, lasted: float, window: float) -> float:
        """Seconds to wait after a welcomed connection ended; the first time spread over the server's window."""
        self.lasted(lasted)
        if self.failures:
            return self.after_failure()
        self.failures = 1
        return self.rng.uniform(0.0, window)
