"""Names under which modules are imported though they stand elsewhere: ``import graphflow.nn``, and old paths.

Namespaces live in `graphflow.api`, but users import them as TensorFlow's: ``from graphflow.nn import relu``.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

from graphflow.public_names import NAMESPACES

#: Paths that people who write ops of their own used in version 0.1. They warn, and are gone in 0.3.
MOVED = {
    "graphflow.core.emit": "graphflow.framework.scalar_builder",
    **{
        f"graphflow.core.{name}": f"graphflow.framework.{name}"
        for name in ("build", "context", "graph", "indexed_slices", "kinds", "numpy_builder", "philox", "registry", "tensor")
    },
    **{
        f"graphflow.{name}": f"graphflow.framework.{name}"
        for name in ("default_graph", "dims", "graph_keys", "provenance", "records", "sparse_tensor")
    },
    "graphflow.core": "graphflow.framework",
    "graphflow.tf_logging": "graphflow.platform.logging",
    "graphflow.variable_scope": "graphflow.variables.scope",
    "graphflow.template": "graphflow.variables.template",
    "graphflow.cli": "graphflow.tools.cli",
}
ALIASES = {f"graphflow.{name}": module for name, module in NAMESPACES.items() if module != f"graphflow.{name}"}


class _Alias(Loader):
    """Gives the module that stands elsewhere, under a second name."""

    def __init__(self, module: str) -> None:
        self.module = module
        self.spec: ModuleSpec | None = None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        found = importlib.import_module(self.module)
        self.spec = found.__spec__
        return found

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.spec  # the import system has just put the alias's spec there


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        module = ALIASES.get(fullname)
        if module is None:
            module = MOVED.get(fullname)
            if module is None:
                return None
            if module == "graphflow.framework":  # the module in it that is wanted warns
                return ModuleSpec(fullname, _Alias(module), is_package=True)
            advice = "graphflow.custom_ops has what ops of your own need" if ".core" in fullname else f"import {module}"
            warnings.warn(f"{fullname} has moved: {advice}", DeprecationWarning, stacklevel=2)
        return ModuleSpec(fullname, _Alias(module))


def install() -> None:
    """Lets the import system find them.

    Before files: `graphflow.core` is the package `graphflow.framework`, in whose folder Python would find a file for
    `graphflow.core.build` and load it a second time.
    """
    if not any(type(finder) is _Finder for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
