"""Benchmarks: contenders in processes of their own, in turn, in one run, reported as ratios.

The machine is shared with the load generator and with Redis, and its speed drifts, so an absolute
figure proves nothing. Each round measures every line once, one after the other; a ratio is taken
inside a round, and what is reported is the median of the rounds with the least and the greatest.
"""
