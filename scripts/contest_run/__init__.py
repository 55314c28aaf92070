"""The untouched defaults against peers that were tuned in hindsight: `scripts/contest`.

A default is worth its name if nobody who tunes does much better. So each stream is learned once by
`Model()` as it comes, and by each peer with its own defaults and at every point of a grid of at
most 60 that stands in the peer's file; the peer's best point, chosen after the fact, is what the
default is held against. Every figure is progressive log loss in nats: each example is scored
before it is learned, one pass, in the order of the stream.
"""
