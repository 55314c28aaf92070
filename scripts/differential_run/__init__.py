"""The differential run: our FTRL beside TensorFlow's and Vowpal Wabbit's own, on the same streams.

Run by `scripts/differential`, in an environment that holds the two libraries and is none of the
project's. What is compared, how, and what the figures were: docs/differential.md.
"""
