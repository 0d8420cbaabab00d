"""The op library: one `OpDef` per op, in rooms for each kind of work; families are loaded when one of their ops is wanted.

Most programs use a third of the library, and loading all of it would take a fifth of a short process. A function that users
call loads its family by being imported; an op that is asked for by its name is found in `op_families.FAMILIES`.
"""

from __future__ import annotations

from importlib import import_module

from graphflow.ops import operators
from graphflow.ops.op_families import FAMILIES

_family_of = {op: family for family, ops in FAMILIES.items() for op in ops.split()}


def family_of(op: str) -> str | None:
    """The module that registers the op of the library called `op`; None if there is none."""
    family = _family_of.get(op)
    return None if family is None else f"{__name__}.{family}"


def load(op: str) -> None:
    """Has the op of the library called `op` registered, if there is one."""
    family = family_of(op)
    if family is not None:
        import_module(family)


def load_all() -> None:
    """Has every op of the library registered."""
    for family in FAMILIES:
        import_module(f"{__name__}.{family}")
