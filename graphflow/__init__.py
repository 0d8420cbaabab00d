"""graphflow: TensorFlow 1's programming model on a compiler of its own.

    import graphflow as tf

    x = tf.placeholder(tf.float32, [None, 3])
    w = tf.Variable(tf.ones([3, 1]))
    y = tf.matmul(x, w)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        print(session.run(y, {x: [[1, 2, 3]]}))

Everything is loaded on first use: importing this package costs little more than importing numpy.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy  # noqa: F401  (the one heavy dependency that everything needs)

from graphflow._names import HOME, SUBMODULES

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    home = HOME.get(name)
    if home is not None:
        module, attribute = home
        # Ops install Tensor's operators and register themselves: whatever makes tensors needs all of them.
        importlib.import_module("graphflow.ops")
        value = getattr(importlib.import_module(module), attribute)
    elif name in SUBMODULES:
        importlib.import_module("graphflow.ops")
        value = importlib.import_module(SUBMODULES[name])
    else:
        raise AttributeError(f"module 'graphflow' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *HOME, *SUBMODULES})
