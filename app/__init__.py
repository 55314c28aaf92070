"""The shell around ftrl_core: HTTP, Redis, files, clocks and settings.

Importing it does one thing, which must come before numba is imported anywhere: it chooses where
compiled kernels are cached (app/kernel_cache.py says why numba's own choice is not enough).
"""

import os
from pathlib import Path

from app import kernel_cache

kernel_cache.choose(os.environ, Path(__file__).parent.parent)
