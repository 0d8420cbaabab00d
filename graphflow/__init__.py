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

import importlib as _importlib
import sys as _sys
import types as _types
from typing import Any as _Any

import numpy as _numpy  # noqa: F401  # every program needs it: so its time counts as import time, where people look for it

from graphflow import namespace as _namespace
from graphflow.api import module_aliases as _module_aliases
from graphflow.framework import late_bindings as _late_bindings
from graphflow.public_names import NAMESPACES as _NAMESPACES
from graphflow.public_names import homes as _homes
from graphflow.version import __version__ as __version__

_HOMES = _homes("")
__all__ = sorted({*_HOMES, *_NAMESPACES})
_module_aliases.install()
_late_bindings.bind_op_library(lambda: _importlib.import_module("graphflow.ops"))
_late_bindings.bind_rules(lambda: _load_rules())
_late_bindings.bind_gradients(lambda: _importlib.import_module("graphflow.autodiff.gradients").dense_gradients)
_late_bindings.bind_session(lambda: _importlib.import_module("graphflow_runtime.session.session").Session)


def _load_rules() -> None:
    # The losses, too, have a function that may be put off, so that files name it.
    _importlib.import_module("graphflow.losses.weighted")
    _importlib.import_module("graphflow.autodiff.rule_loader").ruled_ops()


class _Package(_types.ModuleType):
    """Python binds a submodule to its package when it loads it. A module must not hide a function of its name."""

    def __setattr__(self, name: str, value: _Any) -> None:
        if not (name in _HOMES and isinstance(value, _types.ModuleType)):
            super().__setattr__(name, value)


_sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> _Any:
    value: _Any
    if name in _HOMES:
        value = _namespace.resolve(*_HOMES[name])
    elif name in _NAMESPACES:
        _late_bindings.op_library()
        value = _importlib.import_module(_NAMESPACES[name])
    else:
        raise AttributeError(f"module 'graphflow' has no attribute {name!r}{_namespace.near(name, __all__)}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
