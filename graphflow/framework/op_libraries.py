"""Op libraries: loaded when ops are asked for, by whoever put them on the list.

The table of ops (`registry`) is below the op library, and must not know it. So the package says, when it is imported, how its
library is loaded.
"""

from __future__ import annotations

from collections.abc import Callable

_loaders: list[Callable[[], object]] = []


def add_op_library(load: Callable[[], object]) -> None:
    """Puts a library on the list. `load` registers its ops; it is called often, and does nothing after the first time."""
    _loaders.append(load)


def load_op_libraries() -> None:
    """Has every op of every library registered."""
    for load in _loaders:
        load()
