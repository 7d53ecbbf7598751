"""docs/reference/metrics.md, from chat/metrics.py."""

from __future__ import annotations

from chat.metrics import COUNTS, GAUGES, HISTOGRAMS
from docs.generate.table import table

CLOSES = ("closes", "Websockets closed, by close code: label `code`")

HEAD = """\
# Metrics

<!-- Written by `python -m docs.generate` from chat/metrics.py; a test fails when it differs. -->

`GET /metrics` answers in Prometheus' text format, without a token: let nobody but your Prometheus reach it
([behind a proxy](../how-to/run-behind-a-proxy.md) shows how). Counters begin at 0 when the server starts.
"""

READING = """
## What to look at

- **Is everything acknowledged?** `rate(belfry_acks_total)` follows `rate(belfry_sends_total)`. A growing
  `belfry_commit_queue` means that the database is slower than the senders; `belfry_store_failures_total` that it
  refuses to write, and every refused sender was told to try again.
- **Is it quick?** `belfry_commit_seconds` is the larger part of what a sender waits for an ack.
  `belfry_commit_batch_messages` growing under load is the design at work: while one commit is under way, the next
  batch gathers.
- **Is the loop held up?** `belfry_fanout_seconds` is the time in which nothing else runs; it grows with the number
  of members of the largest room.
- **Who falls behind?** `belfry_outbox_bytes` is what waits for readers; `belfry_slow_readers_total` counts those who
  were closed with 4001 for it.
- **Why do they leave?** `belfry_closes_total` by `code`; the codes are in [the wire](wire.md#close-codes). 1006 is a
  peer that vanished without a word.
- **Are resumes cheap?** `belfry_store_reads_total` stays low during a wave of `belfry_resumes_total`: the newest
  messages of a room are in memory. `belfry_gaps_total` counts the clients that had to be told that they start anew.
"""


def metrics_page() -> str:
    """The page, as Markdown."""
    counters = [(f"`belfry_{name}_total`", text) for name, text in (*COUNTS, CLOSES)]
    gauges = [(f"`belfry_{name}`", text) for name, text in GAUGES]
    histograms = [
        (f"`belfry_{name}`", text, ", ".join(f"{bound:g}" for bound in buckets)) for name, text, buckets in HISTOGRAMS
    ]
    return "".join(
        [
            HEAD,
            "\n## Counters\n\n",
            table(("Name", "What it counts"), counters),
            "\n## Gauges\n\n",
            table(("Name", "What it is now"), gauges),
            "\n## Histograms\n\nEach is three series: `_bucket` with the label `le`, `_sum` and `_count`.\n\n",
            table(("Name", "What it measures", "Buckets up to"), histograms),
            READING,
        ]
    )
