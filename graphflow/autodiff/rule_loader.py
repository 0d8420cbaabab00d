"""Loads the gradients of the library's ops, family by family, when they are asked for.

The gradients of the family `graphflow.ops.math.unary` are in `graphflow.autodiff.rules.math.unary`. Most programs differentiate
a few families, and programs that only infer none: loading all rules would take a tenth of what importing the op library takes.
"""

from __future__ import annotations

from importlib import import_module

from graphflow.autodiff.registry import registered_rule
from graphflow.framework.registry import GradFn, OpDef, all_ops, is_own

_OPS, _RULES = "graphflow.ops.", "graphflow.autodiff.rules."
_seen: set[str] = set()  # families whose rules have been looked for


def rule_of(op: OpDef) -> GradFn | None:
    """The rule for an op of the library; None if there is none, as for a user's op."""
    if op.module not in _seen and is_own(op) and op.module.startswith(_OPS):
        family = _RULES + op.module.removeprefix(_OPS)
        try:
            import_module(family)
        except ModuleNotFoundError as e:
            # A family whose ops all have no gradient has no file, and a room of such families no folder.
            if e.name not in (family, family.rpartition(".")[0]):
                raise
        # Only now: another thread that finds it here would not wait for the import.
        _seen.add(op.module)
    return registered_rule(op)


def ruled_ops() -> frozenset[str]:
    """The names of all ops that have a rule. Loads every rule."""
    return frozenset(op.name for op in all_ops() if rule_of(op) is not None)
