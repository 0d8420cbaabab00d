"""Finds the variables that a run reads before it assigns to them: these must have a value when it starts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphflow.framework.graph import Operation, Tensor
from graphflow.framework.kinds import StateUpdate, TensorType, VariableIsInitialized
from graphflow_compiler.frontend import is_alias_of_variable, variable_of


def variables_read(
    operations: Sequence[Operation], fetches: Sequence[Tensor | Operation], feeds: Sequence[Tensor]
) -> list[str]:
    """Names of the variables that need a value at the start, in the order in which they are first read.

    `operations` are in creation order, which is the order in which they run.
    """
    fed = set(feeds)
    found: dict[str, None] = {}
    assigned: set[str] = set()

    def read(t: Tensor) -> None:
        variable = None if t in fed else variable_of(t)
        if variable is not None and variable.outputs[0] not in fed and variable.name not in assigned:
            found[variable.name] = None

    for op in operations:
        kind = op.op_def.kind
        # To ask whether a variable has a value takes none, and an alias is read where it is used.
        if isinstance(kind, VariableIsInitialized) or is_alias_of_variable(op):
            continue
        refs = kind.refs if isinstance(kind, StateUpdate) else ()
        reads_old = isinstance(kind, StateUpdate) and depends_on_old(op, kind)
        for i, t in enumerate(op.inputs):
            if i not in refs or reads_old:
                read(t)
        for i in refs:
            variable = variable_of(op.inputs[i])
            if variable is not None:
                assigned.add(variable.name)
    for f in fetches:
        if isinstance(f, Tensor):
            read(f)
    return list(found)


def depends_on_old(op: Operation, kind: StateUpdate) -> bool:
    """Whether an update makes new values from old ones (AssignAdd) or not (Assign), found out by tracing its expansion."""
    values = [_Traced(i in kind.refs) for i in range(len(op.inputs))]
    try:
        result = kind.expand(_Trace(op), *values)
    except Exception:  # it asks for something that only the compiler knows: assume that it reads the old value
        return True
    news = result if isinstance(result, (tuple, list)) else [result]
    return any(v.old for v in news)


class _Traced:
    def __init__(self, old: bool) -> None:
        self.old = old


class _Trace:
    """An ExpandContext that only follows which values come from old ones."""

    def __init__(self, op: Operation) -> None:
        self.attrs = op.attrs
        self.inputs = tuple(t.type for t in op.inputs)
        self.outputs = tuple(t.type for t in op.outputs)

    def type(self, value: Any) -> TensorType:
        raise NotImplementedError

    def op(self, name: str, *inputs: Any, attrs: Any = None, output: int = 0) -> _Traced:
        return _Traced(any(isinstance(v, _Traced) and v.old for v in inputs))

    def const(self, value: Any, dtype: Any) -> _Traced:
        return _Traced(False)

    def broadcast_to(self, value: Any, shape: Any) -> Any:
        return value

    def reshape(self, value: Any, shape: Any) -> Any:
        return value
