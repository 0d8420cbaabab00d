"""The gradients of the library's own ops, by the name of the op.

An op of a user carries its gradient in `OpDef.grad`. The gradients of the library's ops need functions of many op families,
which must not import one another in circles, so they stand apart in `graphflow/autodiff/rules/`, and `rule_loader` loads them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from graphflow.framework.registry import GradFn, OpDef, is_own, lookup

_F = TypeVar("_F", bound=GradFn)
_rules: dict[str, GradFn] = {}


def gradient_of(*names: str) -> Callable[[_F], _F]:
    """``@gradient_of("Mul")`` makes a function ``(op, *grads) -> one gradient or None per input`` the gradient of that op.

    Raises:
        KeyError: no op has that name.
        ValueError: the op has a gradient already, or is said to have none.
    """
    # Checked when the rule is registered, so that a wrong name fails at import, not at somebody's first gradient.
    for name in names:
        if lookup(name).grad is not None or name in _rules:
            raise ValueError(f"op {name!r} has a gradient, or a reason to have none, already")

    def register(function: _F) -> _F:
        _rules.update(dict.fromkeys(names, function))
        return function

    return register


def registered_rule(op: OpDef) -> GradFn | None:
    """The rule for an op of the library, if its file is loaded; None if there is none, as for a user's op."""
    return _rules.get(op.name) if is_own(op) else None
