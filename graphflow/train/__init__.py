"""`tf.train`: optimizers, learning rates, the global step, moving averages; checkpoints come from `graphflow.io`."""

from __future__ import annotations

import importlib
from typing import Any

from graphflow.train.learning_rate_decay import (
    cosine_decay,
    cosine_decay_restarts,
    exponential_decay,
    inverse_time_decay,
    linear_cosine_decay,
    natural_exp_decay,
    piecewise_constant,
    polynomial_decay,
)
from graphflow.train.moving_averages import ExponentialMovingAverage
from graphflow.train.optimizer import Optimizer
from graphflow.train.optimizers import (
    AdadeltaOptimizer,
    AdagradOptimizer,
    AdamOptimizer,
    FtrlOptimizer,
    GradientDescentOptimizer,
    MomentumOptimizer,
    RMSPropOptimizer,
)
from graphflow.train.training_util import (
    assert_global_step,
    create_global_step,
    get_global_step,
    get_or_create_global_step,
    global_step,
)

__all__ = [
    "AdadeltaOptimizer", "AdagradOptimizer", "AdamOptimizer", "ExponentialMovingAverage", "FtrlOptimizer",
    "GradientDescentOptimizer", "MomentumOptimizer", "Optimizer", "RMSPropOptimizer", "assert_global_step",
    "cosine_decay", "cosine_decay_restarts", "create_global_step", "exponential_decay", "get_global_step",
    "get_or_create_global_step", "global_step", "inverse_time_decay", "linear_cosine_decay",
    "natural_exp_decay", "piecewise_constant", "polynomial_decay",
]  # fmt: skip

# Loaded on first use: most programs that train do not save, and the other way round.
_ELSEWHERE = {
    "graphflow.io.saver": ("Saver", "export_meta_graph", "import_meta_graph", "init_from_checkpoint", "write_graph"),
    "graphflow.io.reader": ("NewCheckpointReader", "list_variables", "load_checkpoint", "load_variable"),
    "graphflow.io.checkpoint_state": (
        "checkpoint_exists", "generate_checkpoint_state_proto", "get_checkpoint_mtimes", "get_checkpoint_state",
        "latest_checkpoint", "remove_checkpoint", "update_checkpoint_state",
    ),
}  # fmt: skip
_MODULE_OF = {name: module for module, names in _ELSEWHERE.items() for name in names}


def __getattr__(name: str) -> Any:
    module = _MODULE_OF.get(name)
    if module is not None:
        found = getattr(importlib.import_module(module), name, None)
        if found is not None:
            return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
