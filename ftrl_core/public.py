"""What `import ftrl_core` offers; loaded when one of the names is first used."""

from ftrl_core import schedules as schedules
from ftrl_core.batch import ExampleBatch as ExampleBatch
from ftrl_core.config import ModelConfig as ModelConfig
from ftrl_core.errors import ClickfoldError as ClickfoldError
from ftrl_core.gradients import IndexedSlices as IndexedSlices
from ftrl_core.hyperparameters import Hyperparameters as Hyperparameters
from ftrl_core.limits import Limits as Limits
from ftrl_core.model import Model as Model
from ftrl_core.optimizer import Ftrl as Ftrl
from ftrl_core.position import Position as Position
from ftrl_core.warmup import warm_up as warm_up
