"""The fold: hashed sparse features, FTRL-Proximal, deterministic to the bit, and no I/O.

Reading order: errors, limits, position, config, hashing, batch, entry, kernels, mixture, general,
coefficients, table, deduplication, metrics, model, checkpoint, loader, snapshot_file, warmup; then
interchange, synthesis, quantized for weights of other systems. The optimizer on plain arrays stands
apart: rate_kernels, schedules, optimizer_kernels, gradients, optimizer.

Numba takes most of a second to import, and who starts the service wants a module or two without it
first: so the names are fetched (public.py) when they are used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ftrl_core import schedules
    from ftrl_core.public import (
        ClickfoldError,
        ExampleBatch,
        Ftrl,
        Hyperparameters,
        IndexedSlices,
        Limits,
        Model,
        ModelConfig,
        Position,
        warm_up,
    )

__all__ = [
    "ClickfoldError",
    "ExampleBatch",
    "Ftrl",
    "Hyperparameters",
    "IndexedSlices",
    "Limits",
    "Model",
    "ModelConfig",
    "Position",
    "schedules",
    "warm_up",
]


def __getattr__(name: str) -> Any:
    """One of the names above, at its first use."""
    if name not in __all__:
        raise AttributeError(f"module 'ftrl_core' has no attribute {name!r}")
    from ftrl_core import public

    return getattr(public, name)
