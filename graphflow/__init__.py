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
import sys
import types
from typing import Any

import numpy  # noqa: F401  # loaded with the package, so that its time counts as import time

from graphflow.api import module_aliases as _module_aliases
from graphflow.framework.op_libraries import add_op_library, load_op_libraries
from graphflow.namespace import near, resolve
from graphflow.public_names import NAMESPACES, homes
from graphflow.version import __version__ as __version__

_HOMES = homes("")
_module_aliases.install()
add_op_library(lambda: importlib.import_module("graphflow.ops"))


class _Package(types.ModuleType):
    """Python binds a submodule to its package when it loads it. A module must not hide a function of its name."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOMES and isinstance(value, types.ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    value: Any
    if name in _HOMES:
        value = resolve(*_HOMES[name])
    elif name in NAMESPACES:
        load_op_libraries()
        value = importlib.import_module(NAMESPACES[name])
    else:
        raise AttributeError(f"module 'graphflow' has no attribute {name!r}{near(name, [*_HOMES, *NAMESPACES])}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, *NAMESPACES})
