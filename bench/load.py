"""The load generator, as Python sees it: clients on one core, driven by c/.

One process is one generator. Between calls nobody reads the sockets, so pauses are `idle`, never sleeps.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.frames import client_frame

if TYPE_CHECKING:
    from collections.abc import Sequence

SOURCES = sorted(Path(__file__).with_name("c").iterdir())
CACHE = Path(__file__).parent.parent / ".cache" / "bench"
BUCKETS = 2048
GROUPS = 3  # in which connections are counted apart
NS = 1_000_000_000


class _Result(ctypes.Structure):
    _fields_ = [
        *[(name, ctypes.c_int64) for name in (
            "delivered", "disorder", "acks", "errors", "closed", "others", "bytes", "counted", "counted_acks",
            "sent", "sent_counted", "recvs", "cpu_ns", "wall_ns", "max_ns", "aborted", "close_code",
            "caught", "gaps", "late", "late_at_ns")],
        ("latency", ctypes.c_int64 * BUCKETS),
        ("ack_latency", ctypes.c_int64 * BUCKETS),
        ("entry", ctypes.c_int64 * BUCKETS),
        ("first_error", ctypes.c_char * 256),
    ]  # fmt: skip


class _Talk(ctypes.Structure):
    _fields_ = [
        *[(name, ctypes.c_int) for name in ("first", "n", "port", "group", "in_flight")],
        ("request", ctypes.c_char_p),
        ("texts", ctypes.POINTER(ctypes.c_char_p)),
        ("sizes", ctypes.POINTER(ctypes.c_int)),
        ("waits", ctypes.POINTER(ctypes.c_int)),
        ("positions", ctypes.POINTER(ctypes.c_int64)),
        ("at_ns", ctypes.c_int64),
    ]


class _Plan(ctypes.Structure):
    _fields_ = [
        ("publishers", ctypes.c_int),
        ("members", ctypes.c_int),
        ("connections", ctypes.POINTER(ctypes.c_int)),
        ("rooms", ctypes.POINTER(ctypes.c_char_p)),
        ("text_size", ctypes.c_int),
        ("closed_loop", ctypes.c_int),
        ("rate", ctypes.c_double),
        ("warm_ns", ctypes.c_int64),
        ("run_ns", ctypes.c_int64),
        ("drain_ns", ctypes.c_int64),
        ("tick_ns", ctypes.c_int64),
        ("abort_ns", ctypes.c_int64),
        ("late_ns", ctypes.c_int64),
        ("wave", ctypes.POINTER(_Talk)),
    ]


@dataclass(frozen=True, slots=True)
class Script:
    """What a client says once it is upgraded, and how many `joined` frames it then waits for."""

    frames: tuple[bytes, ...] = ()
    waits: int = 0
    position: int = -1  # the number that it resumes behind: it then waits for everything up to the head


@dataclass(frozen=True, slots=True)
class Wave:
    """Clients that come while a load runs: one connection a script."""

    port: int
    request: bytes
    scripts: tuple[Script, ...]
    at: float  # seconds into the run
    group: int = 1
    in_flight: int = 100_000  # at a time: all


@dataclass(frozen=True, slots=True)
class Load:
    """What publishers send: `publishers` are (connection, room); a send is to give `members` deliveries."""

    publishers: tuple[tuple[int, str], ...]
    members: int
    rate: float = 0.0  # sends a second, all publishers together; 0 is a closed loop, one in flight a publisher
    seconds: float = 3.0
    warm: float = 0.5  # of these seconds, not counted
    drain: float = 1.0  # seconds that what is under way may take after the last send
    give_up: float = 1.0  # a delivery this many seconds late ends the run
    tick: float = 0.000_5  # seconds that reading may wait, to read more at once; 0 spins, for the finest latency
    text_size: int = 60  # bytes
    late: float = 0.1  # seconds from which on a delivery is counted as late
    wave: Wave | None = None


class Buckets:
    """A histogram of nanoseconds whose buckets are 3 % wide; quantiles are a bucket's upper edge."""

    def __init__(self, counts: Sequence[int]) -> None:
        self.counts = {i: n for i, n in enumerate(counts) if n}
        self.total = sum(self.counts.values())

    @classmethod
    def together(cls, parts: Sequence[Buckets]) -> Buckets:
        """Several as one."""
        counts = [0] * BUCKETS
        for part in parts:
            for i, n in part.counts.items():
                counts[i] += n
        return cls(counts)

    def quantile(self, q: float) -> float:
        """Seconds below which the share `q` lies; infinite when nothing was measured."""
        if not self.total:
            return float("inf")
        left = q * self.total
        for i in sorted(self.counts):
            left -= self.counts[i]
            if left <= 0:
                break
        octave, part = divmod(i, 32)
        return float((33 + part) << octave) / 32 / NS


@dataclass(frozen=True, slots=True)
class Seen:
    """What the generator saw in one call."""

    wall: float  # seconds
    cpu: float  # seconds of the generator's own
    sent: int
    delivered: int
    counted_seconds: float
    counted: int  # deliveries of what was meant after the warm-up
    counted_acks: int
    acks: int
    disorder: int  # messages whose number was not the one after the last
    missing: int
    errors: int
    closed: int
    others: int
    reads: int
    aborted: bool
    bytes_a_delivery: float
    first_error: str
    latency: Buckets
    acks_latency: Buckets
    entry: Buckets  # from dialling to where a client's script ends
    caught: int  # messages that resumes brought
    gaps: int  # resumes that were told that messages are gone
    late: int  # deliveries that were late, of those that count
    late_until: float  # seconds into the run when the last of them came
    longest: float  # seconds that the slowest delivery took
    beside: tuple[Seen, ...] = ()  # what the other groups saw

    @property
    def clean(self) -> bool:
        """Nothing was lost, refused, closed or out of order."""
        wrong = self.missing or self.errors or self.closed or self.disorder or self.aborted or self.gaps
        return not wrong and all(other.clean for other in self.beside)


class Generator:
    """All clients of one benchmark: connections are numbered from 0."""

    def __init__(self) -> None:
        self._lib = ctypes.CDLL(str(_compiled()))
        self._lib.load_result_size.restype = ctypes.c_size_t
        if self._lib.load_result_size() != ctypes.sizeof(_Result):
            raise SystemExit("bench: c/ and load.py disagree on the shape of a result")
        if self._lib.load_start() < 0:
            raise SystemExit("bench: epoll refused; is the limit of open files reached?")
        self.opened = 0

    def open(
        self,
        port: int,
        request: bytes,
        scripts: Sequence[Script],
        *,
        in_flight: int = 64,
        timeout: float = 60.0,
        group: int = 0,
    ) -> Seen:
        """Dial one connection a script, behind those that are open, and bring each to where its script ends."""
        first = self.opened
        self.opened += len(scripts)  # also when it fails: those that got in have to be closed
        return self._talk(_talk(first, port, request, scripts, in_flight, group), timeout)

    def say(self, first: int, scripts: Sequence[Script], *, in_flight: int = 64, timeout: float = 60.0) -> Seen:
        """Let connections `first`... that are open already follow one script each."""
        return self._talk(_talk(first, 0, None, scripts, in_flight), timeout)

    def _talk(self, talk: _Talk, timeout: float) -> Seen:
        result = _Result()
        done = self._lib.load_talk(ctypes.byref(talk), ctypes.c_int64(int(timeout * NS)), ctypes.byref(result))
        seen = _seen(result, missing=talk.n - done)
        if done < talk.n:
            raise Refusal(f"{done} of {talk.n} clients got in ({seen.closed} closed) {seen.first_error}")
        return seen

    def run(self, load: Load) -> Seen:
        """Send as planned and count what comes."""
        n = len(load.publishers)
        plan = _Plan(
            publishers=n,
            members=load.members,
            connections=(ctypes.c_int * n)(*(number for number, _ in load.publishers)),
            rooms=(ctypes.c_char_p * n)(*(room.encode() for _, room in load.publishers)),
            text_size=load.text_size,
            closed_loop=int(load.rate == 0),
            rate=load.rate,
            warm_ns=int(load.warm * NS),
            run_ns=int(load.seconds * NS),
            drain_ns=int(load.drain * NS),
            tick_ns=int(load.tick * NS),
            abort_ns=int(load.give_up * NS),
            late_ns=int(load.late * NS),
        )
        if load.wave is not None:
            wave = load.wave
            talk = _talk(self.opened, wave.port, wave.request, wave.scripts, wave.in_flight, wave.group, wave.at)
            self.opened += len(wave.scripts)
            plan.wave = ctypes.pointer(talk)
        results = (_Result * GROUPS)()
        self._lib.load_run(ctypes.byref(plan), results)
        missing = max(0, results[0].sent * load.members - results[0].delivered)
        counted = load.seconds - load.warm
        beside = tuple(_seen(result, missing=0, counted_seconds=counted) for result in list(results)[1:])
        return _seen(results[0], missing=missing, counted_seconds=counted, beside=beside)

    def idle(self, seconds: float) -> Seen:
        """Read, answer pings, send nothing."""
        result = _Result()
        self._lib.load_idle(ctypes.c_int64(int(seconds * NS)), ctypes.byref(result))
        return _seen(result, missing=0)

    def close(self, first: int = 0, n: int | None = None) -> None:
        """Close connections with a reset, so that no TIME_WAIT of ours holds ports."""
        count = self.opened - first if n is None else n
        self._lib.load_close(first, count, 1)
        if first + count == self.opened:
            self.opened = first


class Refusal(Exception):
    """The server did not let the clients in."""


def _talk(
    first: int,
    port: int,
    request: bytes | None,
    scripts: Sequence[Script],
    in_flight: int,
    group: int = 0,
    at: float = 0.0,
) -> _Talk:
    n = len(scripts)
    texts = [b"".join(client_frame(frame) for frame in script.frames) for script in scripts]
    return _Talk(
        first, n, port, group, in_flight, request,
        (ctypes.c_char_p * n)(*texts),
        (ctypes.c_int * n)(*map(len, texts)),
        (ctypes.c_int * n)(*(script.waits for script in scripts)),
        (ctypes.c_int64 * n)(*(script.position for script in scripts)),
        int(at * NS),
    )  # fmt: skip


def _seen(result: _Result, *, missing: int, counted_seconds: float = 0.0, beside: tuple[Seen, ...] = ()) -> Seen:
    return Seen(
        wall=result.wall_ns / NS,
        cpu=result.cpu_ns / NS,
        sent=result.sent,
        delivered=result.delivered,
        counted_seconds=counted_seconds,
        counted=result.counted,
        counted_acks=result.counted_acks,
        acks=result.acks,
        disorder=result.disorder,
        missing=missing,
        errors=result.errors,
        closed=result.closed,
        others=result.others,
        reads=result.recvs,
        aborted=bool(result.aborted),
        bytes_a_delivery=result.bytes / result.delivered if result.delivered else 0.0,
        first_error=result.first_error.decode(errors="replace"),
        latency=Buckets(result.latency),
        acks_latency=Buckets(result.ack_latency),
        entry=Buckets(result.entry),
        caught=result.caught,
        gaps=result.gaps,
        late=result.late,
        late_until=result.late_at_ns / NS,
        longest=result.max_ns / NS,
        beside=beside,
    )


def _compiled() -> Path:
    """The shared library of c/, compiled when a source is new."""
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in SOURCES)).hexdigest()[:16]
    library = CACHE / f"load-{digest}.so"
    if not library.exists():
        compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            sys.exit("bench: the load generator needs a C compiler (`cc`): on Debian, apt-get install gcc libc6-dev")
        CACHE.mkdir(parents=True, exist_ok=True)
        fresh = library.with_suffix(f".{os.getpid()}")
        units = [source for source in SOURCES if source.suffix == ".c"]
        subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", fresh, *units], check=True)
        fresh.replace(library)
    return library
