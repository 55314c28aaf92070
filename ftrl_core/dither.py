"""The dither: the deterministic noise that rounds n, and other dice of the fold.

A hot coordinate's n grows until g^2 is below half its last bit, and then rounding to nearest would
stop it for ever, with the learning rate too high from then on. n' is therefore rounded up or down
with the probability that its remainder asks for (exact in expectation); the "random" bits are a
hash of (hash seed, number of examples folded, slot, place in the example), so they are the same on
every replica, and no random source is part of a model.
"""

from __future__ import annotations

import numpy as np

from ftrl_core.bits import bits_of_f32, f32_of_bits
from ftrl_core.jit import inner_kernel

N_MAX = np.float32(1e38)
ZERO = np.float32(0.0)
TWO_TO_MINUS_24 = np.float32(2.0**-24)


@inner_kernel
def example_seed(seed: int, examples: int) -> np.uint32:
    """The dither's seed for an example: splitmix64 of the model's seed and its number."""
    x = np.uint64(examples) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.uint32((x ^ (x >> np.uint64(31))) & np.uint64(0xFFFFFFFF))


@inner_kernel
def dither(seed: np.uint32, slot: int, place: int) -> np.float32:
    """A number in [0, 1) with 24 bits, a hash of its arguments (murmur3's finaliser)."""
    h = np.uint32((seed ^ np.uint32(slot)) + np.uint32(place) * np.uint32(0x9E3779B1))
    h = np.uint32((h ^ (h >> np.uint32(16))) * np.uint32(0x85EBCA6B))
    h = np.uint32((h ^ (h >> np.uint32(13))) * np.uint32(0xC2B2AE35))
    h = np.uint32(h ^ (h >> np.uint32(16)))  # each step cut to 32 bits: Numba would widen it
    return np.float32(h >> np.uint32(8)) * TWO_TO_MINUS_24


@inner_kernel
def dithered_sum(n: np.float32, g2: np.float32, u: np.float32) -> np.float32:
    """n + g2 rounded up or down with the probability of its remainder; u in [0, 1) decides."""
    s = np.float32(n + g2)
    b = np.float32(s - n)
    remainder = np.float32(np.float32(n - np.float32(s - b)) + np.float32(g2 - b))  # Knuth: exact
    step = np.uint32(1) if remainder > ZERO else np.uint32(0xFFFFFFFF)
    neighbour = f32_of_bits(np.uint32(bits_of_f32(s) + step))
    moves = abs(remainder) > u * abs(np.float32(neighbour - s))  # never when remainder is 0
    return min(neighbour if moves else s, N_MAX)
