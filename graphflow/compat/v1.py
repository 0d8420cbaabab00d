"""``import graphflow.compat.v1 as tf``: the package itself, for scripts written against TensorFlow 2's `compat.v1`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import graphflow

if TYPE_CHECKING:
    from graphflow import *  # noqa: F403

__version__ = graphflow.__version__


def __getattr__(name: str) -> Any:
    # Kept, so that each name is looked up once.
    value = getattr(graphflow, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return dir(graphflow)
