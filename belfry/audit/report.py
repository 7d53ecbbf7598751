"""What a run found, for people and for programs: the verdict, and how it felt to be a client. Pure.

The figures are the clients' own: what they waited for, and how often they had to dial. They break no promise by
themselves; `Bounds` lets whoever calls decide that some would.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from belfry.audit.waits import STALL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from belfry.audit.latencies import Latencies
    from belfry.audit.run import Run
    from belfry.audit.verdict import Verdict

BUSY = 0.8  # of a core; beyond it the audit may be what its clients waited for


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the caller does not accept, beside broken promises; None is whatever it may be."""

    reconnects: int | None = None  # of any client; 0 is what a redeploy on the same host promises
    wait_ms: float | None = None  # of any client, for any message or ack
    herd: float | None = None

    def passed(self, figures: Figures) -> list[str]:
        """Which bounds the figures are beyond, in plain words."""
        said = []
        if self.reconnects is not None and figures.reconnects_max > self.reconnects:
            said.append(
                f"a client reconnected {figures.reconnects_max} times, accepted are {self.reconnects}"
                f" ({figures.reconnected:,} clients reconnected at all)"
            )
        if self.wait_ms is not None and 1000 * figures.wait > self.wait_ms:
            said.append(f"a client waited {1000 * figures.wait:.0f} ms, accepted are {self.wait_ms:g}")
        if self.herd is not None and figures.herd > self.herd:
            said.append(f"the herd factor was {figures.herd:.2f}, accepted are {self.herd:g}")
        return said


@dataclass(frozen=True, slots=True)
class Figures:
    """How it felt. Times in seconds; handshakes are connections dialled after everybody had arrived."""

    reconnects: int
    reconnected: int  # clients that had to reconnect
    reconnects_max: int  # of one client
    reconnects_mean: float
    attempts: int  # handshakes
    attempts_max: int  # of one client
    attempts_mean: float
    wait: float  # the longest of any client, for one message or ack
    wait_p99: float  # of the clients' own longest
    silence: float  # the longest in which a client heard nothing though something had been said
    silence_p99: float
    handshakes_peak: int  # within any one second of the wave with the highest herd factor
    handshakes_mean: float  # a second, of that wave
    herd: float  # peak over mean; 0 when nobody came back
    away: float  # the longest that a client had no connection, after it had one
    away_p99: float


def figures_of(run: Run) -> Figures:
    """Add up what the clients met."""
    clients = run.clients
    many = max(1, len(clients))
    again = [max(0, client.attempts - 1) for client in clients]
    wave = run.meter.herd.worst()
    return Figures(
        reconnects=run.meter.reconnects,
        reconnected=sum(client.reconnects > 0 for client in clients),
        reconnects_max=max((client.reconnects for client in clients), default=0),
        reconnects_mean=run.meter.reconnects / many,
        attempts=sum(again),
        attempts_max=max(again, default=0),
        attempts_mean=sum(again) / many,
        wait=run.meter.waits.longest,
        wait_p99=_share([client.ear.stall for client in clients], 0.99),
        silence=run.meter.waits.longest_silence,
        silence_p99=_share([client.ear.silence for client in clients], 0.99),
        handshakes_peak=wave.peak if wave is not None else 0,
        handshakes_mean=wave.mean if wave is not None else 0.0,
        herd=wave.herd if wave is not None else 0.0,
        away=run.meter.away.longest,
        away_p99=run.meter.away.share(0.99),
    )


def lines(run: Run, verdict: Verdict, bounds: Bounds | None = None) -> list[str]:
    """The verdict and the figures for people; what was wrong comes last, where it is seen."""
    meter, figures = run.meter, figures_of(run)
    said = verdict.lines()
    more = _felt(run, figures)
    if meter.stopped:
        more.append(f"Told not to come back: {len(meter.stopped):,} of the clients: {'; '.join(meter.stopped[:3])}")
    if not run.settled:
        more.append(f"NOT QUIET after {run.load.settle:g} s: not every client had everything by then")
    if meter.errors:
        refused = ", ".join(f"{code} {n:,}" for code, n in meter.errors.most_common(5))
        more.append(f"the server refused: {refused}")
    said[1:1] = more
    said += [f"BEYOND YOUR BOUND: {what}" for what in (bounds or Bounds()).passed(figures)]
    if not verdict.ok:
        names = run.load.room_names
        said.append(f"The rooms {names[0]} to {names[-1]} are kept; this was --seed {run.load.seed}")
    return said


def _felt(run: Run, figures: Figures) -> list[str]:
    meter, waits = run.meter, run.meter.waits
    said = [
        f"acks {_spread(meter.acks)}; deliveries {_spread(waits.deliveries)}",
        f"longest wait of any client {1000 * figures.wait:.0f} ms"
        f" (p99 of the clients {1000 * figures.wait_p99:.0f} ms),"
        f" {waits.stalls:,} stalls over {1000 * STALL:.0f} ms; longest silence while others talked"
        f" {1000 * figures.silence:.0f} ms (p99 {1000 * figures.silence_p99:.0f} ms)",
    ]
    if figures.attempts or figures.reconnects:
        said.append(
            f"{figures.reconnects:,} reconnects of {figures.reconnected:,} clients"
            f" ({figures.reconnects_mean:.2f} a client, at most {figures.reconnects_max});"
            f" {figures.attempts:,} connection attempts ({figures.attempts_mean:.2f} a client,"
            f" at most {figures.attempts_max}); handshakes: peak {figures.handshakes_peak:,}/s,"
            f" mean {figures.handshakes_mean:.0f}/s, herd factor {figures.herd:.2f};"
            f" without a connection p99 {figures.away_p99:.1f} s, longest {figures.away:.1f} s"
        )
    else:
        said.append("no client had to reconnect")
    if run.cpu > BUSY:
        said.append(
            f"the audit used {run.cpu:.0%} of a core, and came up to {1000 * run.lag:.0f} ms late itself:"
            " fewer clients, or a faster machine for them, would measure better"
        )
    return said


def as_json(run: Run, verdict: Verdict, bounds: Bounds | None = None) -> str:
    """The same for programs. `ok` is false when a promise broke, or a bound was passed."""
    meter, figures = run.meter, figures_of(run)
    passed = (bounds or Bounds()).passed(figures)
    found: dict[str, Any] = json.loads(verdict.to_json())
    found |= {
        "ok": verdict.ok and not passed,
        "beyond_bounds": passed,
        "seed": run.load.seed,
        "seconds": round(run.talked, 3),
        "settled": run.settled,
        "ack_ms": _shares(meter.acks),
        "delivery_ms": _shares(meter.waits.deliveries),
        "reconnects": figures.reconnects,
        "reconnected_clients": figures.reconnected,
        "reconnects_per_client": {"mean": round(figures.reconnects_mean, 4), "max": figures.reconnects_max},
        "attempts_per_client": {"mean": round(figures.attempts_mean, 4), "max": figures.attempts_max},
        "longest_wait_s": round(figures.wait, 3),
        "wait_p99_s": round(figures.wait_p99, 3),
        "stalls": meter.waits.stalls,
        "longest_silence_s": round(figures.silence, 3),
        "silence_p99_s": round(figures.silence_p99, 3),
        "handshakes": {
            "peak_per_second": figures.handshakes_peak,
            "mean_per_second": round(figures.handshakes_mean, 1),
            "herd_factor": round(figures.herd, 3),
        },
        "away_s": {"p99": round(figures.away_p99, 3), "max": round(figures.away, 3), "times": meter.away.total},
        "waves": [
            {"seconds": round(wave.seconds, 2), "attempts": wave.attempts, "peak": wave.peak}
            for wave in meter.herd.waves()[-100:]
        ],
        "audit_cpu": round(run.cpu, 3),
        "audit_lag_ms": round(1000 * run.lag, 1),
        "held_back": meter.held_back,
        "refusals": dict(meter.errors),
        "stopped": meter.stopped[:20],
    }
    return json.dumps(found, ensure_ascii=False)


def _shares(found: Latencies) -> dict[str, float]:
    return {"p50": _ms(found.share(0.5)), "p99": _ms(found.share(0.99)), "max": _ms(found.longest)}


def _ms(seconds: float) -> float:
    return round(1000 * seconds, 1)


def _spread(found: Latencies) -> str:
    return " ms, ".join(
        f"{name} {1000 * seconds:.0f}"
        for name, seconds in (("p50", found.share(0.5)), ("p99", found.share(0.99)), ("longest", found.longest))
    ) + " ms"  # fmt: skip


def _share(values: Sequence[float], share: float) -> float:
    """The value that this share of all does not pass; 0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0
