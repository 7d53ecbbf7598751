"""What a person sees while the audit runs: one line that lives on a terminal, plain lines otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

import trio

if TYPE_CHECKING:
    from belfry.audit.run import Run

LIVE_EVERY = 0.25  # seconds; faster than that nobody reads
PLAIN_EVERY = 5.0  # seconds between lines of a log
ERASE = "\r\x1b[K"


def line_of(run: Run) -> str:
    """The state of a run in one line."""
    meter = run.meter
    parts = [run.phase]
    if run.talked:
        parts[0] += f" {run.talked:.0f} s"
    parts.append(f"{run.connected:,}/{run.load.clients:,} connected")
    parts.append(f"{meter.delivered:,} delivered")
    parts.append(f"{meter.acked:,}/{meter.sent:,} acked")
    if meter.acks.total:
        parts.append(f"ack p99 {1000 * meter.acks.share(0.99):.0f} ms")
    parts.append(f"{meter.reconnects:,} reconnects")
    if run.talked:
        parts.append(f"{meter.waits.stalls:,} stalls")
        parts.append(f"longest wait {_time(meter.waits.longest)}")
    if (wave := meter.herd.worst()) is not None:
        parts.append(f"herd {wave.herd:.1f}")
    if run.checker.count:
        parts.append(f"{run.checker.count:,} FAULTS")
    return ", ".join(parts)


def _time(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms" if seconds < 1.0 else f"{seconds:.1f} s"


async def watch(run: Run, out: TextIO, *, live: bool) -> None:
    """Write the line until cancelled; a terminal gets it over the last one, and it is gone at the end."""
    try:
        while True:
            await trio.sleep(LIVE_EVERY if live else PLAIN_EVERY)
            text = line_of(run)
            out.write(f"{ERASE}{text[:200]}" if live else f"{text}\n")
            out.flush()
    finally:
        if live:
            out.write(ERASE)
            out.flush()
