"""Run the contest and print its tables in Markdown.

    scripts/contest                 all streams
    scripts/contest avazu drift     these streams

A ratio is our loss over the peer's, on the same rows. What is claimed: at most 1.005 against every
peer's best point, and below 1 against every peer's defaults.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from scripts.contest_run import ours, river_ftrl, sklearn_sgd, vowpal_wabbit
from scripts.contest_run.ours import F64
from scripts.contest_run.peer import Example, Peer, worth_measuring, written
from scripts.contest_run.sources import STREAMS, Stream

CLAIM = 1.005
PEERS: tuple[Peer, ...] = (*vowpal_wabbit.PEERS, *river_ftrl.PEERS, *sklearn_sgd.PEERS)


@dataclass(frozen=True, slots=True)
class Result:
    """A peer on a stream, and our loss on the same rows."""

    peer: Peer
    rows: int
    ours: float
    default: float
    best: float
    point: str


def meet(peer: Peer, examples: Sequence[Example], dense: bool, mine: F64) -> Result:
    """Measure the peer's defaults and its grid."""
    examples = examples[: peer.rows]
    loss = peer.prepare(examples, dense)
    default = loss(peer.default)
    points = worth_measuring(peer, examples, dense)
    figures = [(loss(point), written(point)) for point in points]
    best, point = min([*figures, (default, written(peer.default))])
    return Result(peer, len(examples), float(mine[: len(examples)].mean()), default, best, point)


def measure(stream: Stream) -> tuple[list[Result], float]:
    """All peers on one stream, and our loss on the whole of it."""
    examples = list(stream.read())
    mine = ours.losses(examples)
    results = []
    for peer in PEERS:
        began = time.monotonic()
        results.append(meet(peer, examples, stream.dense, mine))
        seconds = time.monotonic() - began
        print(f"{stream.name}: {peer.name} took {seconds:.0f} s", file=sys.stderr, flush=True)
    return results, float(mine.mean())


def details(stream: Stream, results: Sequence[Result], rows: int) -> list[str]:
    """The table of one stream."""
    lines = [
        f"### {stream.name}: {stream.what}",
        "",
        "| peer | rows | ours | its defaults | ours / them | its best point | best | ours / it |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for r in results:
        shown = f"first {r.rows:,}" if r.rows < rows else f"{r.rows:,}"
        lines.append(
            f"| {r.peer.name} | {shown} | {r.ours:.5f} | {r.default:.5f} "
            f"| {r.ours / r.default:.4f} | `{r.point}` | {r.best:.5f} | {r.ours / r.best:.4f} |"
        )
    return [*lines, ""]


def summary(stream: Stream, results: Sequence[Result], mean: float, rows: int) -> str:
    """The row of one stream in the first table."""
    best = max(results, key=lambda r: r.ours / r.best)
    default = max(results, key=lambda r: r.ours / r.default)
    tuned, untouched = best.ours / best.best, default.ours / default.default
    verdict = "yes" if tuned <= CLAIM and untouched < 1.0 else "no"
    return (
        f"| {stream.name} | {rows:,} | {mean:.5f} | {best.peer.name} {best.best:.5f} "
        f"| {tuned:.4f} | {default.peer.name} {default.default:.5f} | {untouched:.4f} "
        f"| {verdict} |"
    )


def main(names: Sequence[str]) -> None:
    """Print the tables."""
    warnings.simplefilter("ignore")  # a learner that diverges at a point of its grid says so
    known = {stream.name: stream for stream in STREAMS}
    if unknown := [name for name in names if name not in known]:
        sys.exit(f"no stream is called {', '.join(unknown)}; there are {', '.join(known)}")
    table, parts = [], []
    for stream in [known[name] for name in names] or STREAMS:
        if stream.missing():
            print(f"{stream.name}: the log is not beside the checkout", file=sys.stderr)
            continue
        results, mean = measure(stream)
        rows = max(r.rows for r in results)
        table.append(summary(stream, results, mean, rows))
        parts += details(stream, results, rows)
    print(
        "| stream | rows | ours, untouched | hardest tuned peer | ours / it "
        "| hardest default | ours / it | both hold |"
    )
    print("|---|---|---|---|---|---|---|---|")
    print("\n".join([*table, "", *parts]))


if __name__ == "__main__":
    main(sys.argv[1:])
