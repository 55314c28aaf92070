"""TensorFlow's sparse FTRL op: the cheapest training step around ResourceSparseApplyFtrlV2.

A step gathers the weights of a batch, sums each row, and hands one gradient a feature to the op. As
it is (`op`), a slot that comes twice in a batch is handed over twice; TensorFlow's own optimizers
sum these first, as the op's definition wants it (`summed`), which costs more. The step is a
tf.function; data are tensors beforehand; threads as TensorFlow chooses.

    tensorflow_op FILE.npz SLOTS [BATCH ...]     slots int32[examples, fields], labels float32

Prints one JSON line: the figures of each batch size, best first.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import numpy as np
import tensorflow as tf


def training_step(slots: int, *, summed: bool) -> Callable[[Any, Any], None]:
    """The step on fresh variables."""
    weights = tf.Variable(tf.zeros([slots]))
    linear = tf.Variable(tf.zeros([slots]))
    accumulator = tf.Variable(tf.fill([slots], 0.1))

    @tf.function
    def step(indices: Any, labels: Any) -> None:
        logits = tf.reduce_sum(tf.gather(weights, indices), axis=1)
        gradient = tf.repeat(tf.sigmoid(logits) - labels, tf.shape(indices)[1])
        indices = tf.reshape(indices, [-1])
        if summed:
            indices, places = tf.unique(indices)
            gradient = tf.math.unsorted_segment_sum(gradient, places, tf.shape(indices)[0])
        tf.raw_ops.ResourceSparseApplyFtrlV2(
            var=weights.handle,
            accum=accumulator.handle,
            linear=linear.handle,
            grad=gradient,
            indices=indices,
            lr=0.1,
            l1=0.0,
            l2=0.0,
            l2_shrinkage=0.0,
            lr_power=-0.5,
        )

    return step


def measure(indices: Any, labels: Any, slots: int, batch: int, *, summed: bool) -> dict[str, Any]:
    """One pass over all whole batches."""
    step = training_step(slots, summed=summed)
    ends = range(batch, len(labels) + 1, batch)
    batches = [
        (tf.constant(indices[e - batch : e]), tf.constant(labels[e - batch : e])) for e in ends
    ]
    step(*batches[0])  # traces
    began, worked = time.perf_counter(), time.process_time()
    for given in batches:
        step(*given)
    seconds = time.perf_counter() - began
    examples = len(batches) * batch
    return {
        "name": f"{'summed' if summed else 'op'}, batches of {batch}",
        "examples": examples,
        "seconds": seconds,
        "processor_seconds": time.process_time() - worked,
        "examples_per_second": examples / seconds,
    }


if __name__ == "__main__":
    with np.load(sys.argv[1]) as given:
        found = [
            measure(given["slots"], given["labels"], int(sys.argv[2]), int(batch), summed=summed)
            for summed in (False, True)
            for batch in sys.argv[3:]
        ]
    print(json.dumps(sorted(found, key=lambda f: -f["examples_per_second"])))
