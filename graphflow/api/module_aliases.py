"""Names under which modules are imported though they stand elsewhere: ``import graphflow.nn``, and old paths.

Namespaces live in `graphflow.api`, but users import them as TensorFlow's: ``from graphflow.nn import relu``.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import CodeType, ModuleType

from graphflow.public_names import NAMESPACES

_FRAMEWORK = ("build", "context", "graph", "indexed_slices", "kinds", "numpy_builder", "philox", "registry", "tensor")
_ROOT = ("default_graph", "dims", "graph_keys", "provenance", "records", "sparse_tensor")
#: Paths of version 0.1 before its rooms. They warn, and are gone in 0.2.
MOVED = {
    "graphflow.core": "graphflow.framework",
    "graphflow.core.emit": "graphflow.framework.scalar_builder",
    **{f"graphflow.core.{name}": f"graphflow.framework.{name}" for name in _FRAMEWORK},
    **{f"graphflow.{name}": f"graphflow.framework.{name}" for name in _ROOT},
    "graphflow.gradients": "graphflow.autodiff.gradients",
    "graphflow.explaining": "graphflow.tools.explain",
    "graphflow.tf_logging": "graphflow.platform.logging",
    "graphflow.variable_scope": "graphflow.variables.scope",
    "graphflow.template": "graphflow.variables.template",
    "graphflow.cli": "graphflow.tools.cli",
}
#: What people imported who wrote ops of their own: they are told of the module that is made for them.
_OF_OPS = frozenset(f"graphflow.core{name}" for name in ("", ".build", ".emit", ".kinds", ".registry"))
ALIASES = {f"graphflow.{name}": module for name, module in NAMESPACES.items() if module != f"graphflow.{name}"}


# Finder and loader are not derived from the classes of `importlib.abc`: importing that takes longer than all of this package.
class _Alias:
    """A loader that gives the module that stands elsewhere, under a second name."""

    def __init__(self, module: str) -> None:
        self.module = module
        self.spec: ModuleSpec | None = None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        found = importlib.import_module(self.module)
        self.spec = found.__spec__
        return found

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.spec  # the import system has just put the alias's spec there

    def get_code(self, fullname: str) -> CodeType | None:
        """For ``python -m``."""
        spec = importlib.import_module(self.module).__spec__
        code: CodeType | None = getattr(spec.loader, "get_code")(spec.name) if spec is not None else None  # noqa: B009
        return code


class _Finder:
    @staticmethod
    def find_spec(fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        module = ALIASES.get(fullname)
        if module is None:
            module = MOVED.get(fullname)
            if module is None:
                return None
            import warnings

            place = "graphflow.custom_ops has what ops of your own need" if fullname in _OF_OPS else f"import {module}"
            warnings.warn(f"{fullname} has moved: {place}", DeprecationWarning, stacklevel=2)
        # Without is_package the import system would refuse to look for `graphflow.core.build` below it.
        return ModuleSpec(fullname, _Alias(module), is_package=fullname == "graphflow.core")  # type: ignore[arg-type]


def install() -> None:
    """Lets the import system find them.

    Before files: `graphflow.core` is the package `graphflow.framework`, in whose folder Python would find a file for
    `graphflow.core.build` and load it a second time.
    """
    if _Finder not in sys.meta_path:
        sys.meta_path.insert(0, _Finder)
