"""The fold: hashed sparse features, FTRL-Proximal, deterministic to the bit, and no I/O.

Reading order: errors, limits, position, config, hashing, batch, entry, kernels, mixture, general,
coefficients, table, deduplication, metrics, model, checkpoint, loader, snapshot_file, warmup; then
interchange, synthesis, quantized for weights of other systems. The optimizer on plain arrays stands
apart: rate_kernels, schedules, optimizer_kernels, gradients, optimizer.
"""

from ftrl_core import schedules
from ftrl_core.batch import ExampleBatch
from ftrl_core.config import ModelConfig
from ftrl_core.errors import ClickfoldError
from ftrl_core.gradients import IndexedSlices
from ftrl_core.hyperparameters import Hyperparameters
from ftrl_core.limits import Limits
from ftrl_core.model import Model
from ftrl_core.optimizer import Ftrl
from ftrl_core.position import Position
from ftrl_core.warmup import warm_up

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
