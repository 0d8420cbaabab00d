"""Colours of ops in pictures: by family where the family says more than the kind, else by kind."""

from __future__ import annotations

from typing import NamedTuple

from graphflow.framework.kinds import (
    ArgReduction,
    Assertion,
    Composite,
    Contraction,
    Deferred,
    Elementwise,
    Gather,
    Generate,
    Host,
    IndexMap,
    NoOp,
    Random,
    Reduction,
    Scatter,
    ShapeOf,
    Source,
    StateUpdate,
    VariableIsInitialized,
    View,
)
from graphflow.framework.registry import OpDef


class Look(NamedTuple):
    """How ops of one group are drawn, and what the legend calls them."""

    group: str
    fill: str
    line: str


_LOOKS = {
    look.group: look
    for look in (
        Look("input", "#d3e8fb", "#3477b5"),
        Look("constant", "#f1f1f1", "#9a9a9a"),
        Look("variable", "#ffe5b8", "#c27c0e"),
        Look("update", "#fbd0b0", "#c2560e"),
        Look("product", "#cdebc5", "#3f8f3a"),
        Look("elementwise", "#e6e4f7", "#6b62b3"),
        Look("reduction", "#f9d5e0", "#b8446c"),
        Look("movement", "#d9eeee", "#3d8a8a"),
        Look("network", "#fdf3b5", "#a8901a"),
        Look("random", "#efd9f5", "#8e4aa6"),
        Look("host", "#e3d6cf", "#7a5a48"),
        Look("control", "#ffffff", "#7a7a7a"),
        Look("other", "#ffffff", "#555555"),
    )
}
_FAMILIES = {
    "bias": "elementwise",
    "sigmoid_cross_entropy": "network",
    "softmax": "network",
    "cross_entropy": "network",
    "statistics": "reduction",
    "sum_to_like": "reduction",
    "matmul": "product",
    "sampling": "random",
    "orthogonal": "random",
    "control": "control",
}


def look_of(op: OpDef) -> Look:
    """The look of an op."""
    kind = op.kind
    if isinstance(kind, Source):
        return _LOOKS[{"constant": "constant", "placeholder": "input", "variable": "variable"}[kind.what]]
    # Before the families: the ops of an optimizer's family should look like updates.
    if isinstance(kind, StateUpdate):
        return _LOOKS["update"]
    if op.family in _FAMILIES:
        return _LOOKS[_FAMILIES[op.family]]
    if isinstance(kind, Contraction):
        return _LOOKS["product"]
    if isinstance(kind, Elementwise):
        return _LOOKS["elementwise"]
    if isinstance(kind, (Reduction, ArgReduction)):
        return _LOOKS["reduction"]
    if isinstance(kind, (View, IndexMap, Gather, Scatter, ShapeOf)):
        return _LOOKS["movement"]
    if isinstance(kind, (Random, Generate)):
        return _LOOKS["random"]
    if isinstance(kind, Host):
        return _LOOKS["host"]
    if isinstance(kind, (NoOp, Assertion, VariableIsInitialized)):
        return _LOOKS["control"]
    if isinstance(kind, (Composite, Deferred)):
        return _LOOKS["network"]
    return _LOOKS["other"]


def looks() -> list[Look]:
    """All looks, in the order of the legend."""
    return list(_LOOKS.values())
