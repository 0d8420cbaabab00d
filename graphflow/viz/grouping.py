"""Grouping of ops into the nodes of a picture: a variable with its helpers, an optimizer, a folded scope, or one op."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field

from graphflow.framework.graph import Operation
from graphflow.framework.kinds import NoOp, Source, StateUpdate
from graphflow.framework.records import record

MAX_NODES = 300  # Graphviz needs a second for 1,000 nodes and minutes for 3,000; nobody reads 300


@record
class Box:
    """One node of the picture: an op, a variable with its helpers, an optimizer, or a folded scope."""

    name: str  # of the op or scope
    operations: list[Operation] = field(default_factory=list)
    folded: bool = False
    gradient: bool = False
    updates: list[str] | None = None  # of an optimizer: the variables it changes, without its own

    @property
    def main(self) -> Operation:
        """The op whose look the box has."""
        return self.operations[0]


def is_gradient(name: str) -> bool:
    """Whether an op was made by `gradients`: below a scope ``gradients`` or ``..._grad``."""
    parts = name.split("/")[:-1]
    return any(p == "gradients" or p.startswith("gradients_") or p.endswith("_grad") for p in parts)


def is_variable(op: Operation) -> bool:
    return isinstance(op.op_def.kind, Source) and op.op_def.kind.what == "variable"


def boxes(
    operations: Iterable[Operation], variables: bool, optimizers: bool, gradients: str, limit: int | None
) -> dict[Operation, Box]:
    """Which box each op is drawn in; ops that are hidden are missing.

    Args:
        operations: in creation order.
        variables: whether a variable is one box with its helpers.
        optimizers: whether an optimizer is one box with the variables that only it uses.
        gradients: "full", "folded" (a box for each outermost gradient scope) or "hidden".
        limit: scopes are folded, the innermost first, until there are no more boxes; None folds none.
    """
    ops = list(operations)
    result: dict[Operation, Box] = {}
    hidden: set[Operation] = set()
    if variables:
        # Variables first, because an optimizer takes whole boxes of its slots, and then scopes take what is left.
        helpers, hidden = _helpers(ops)
        for helper, variable in helpers.items():
            result[helper] = result.setdefault(variable, Box(variable.name, [variable]))
            if helper is not variable:
                result[helper].operations.append(helper)
    if optimizers:
        _gather_optimizers(ops, result)
    scopes: dict[str, Box] = {}
    for op in ops:
        if op in result or op in hidden:
            continue
        gradient = is_gradient(op.name)
        if gradient and gradients == "hidden":
            continue
        if gradient and gradients == "folded":
            scope = _outermost_gradient_scope(op.name)
            result[op] = scopes.setdefault(scope, Box(scope, folded=True, gradient=True))
            result[op].operations.append(op)
        else:
            result[op] = Box(op.name, [op], gradient=gradient)
    return result if limit is None else _folded(result, limit)


def _outermost_gradient_scope(name: str) -> str:
    parts = name.split("/")
    for i, p in enumerate(parts[:-1]):
        if p == "gradients" or p.startswith("gradients_") or p.endswith("_grad"):
            return "/".join(parts[: i + 1])
    return name


def _gather_optimizers(ops: list[Operation], result: dict[Operation, Box]) -> None:
    """Puts the ops of each optimizer into one box: those of its scope, which contains ``update_<variable>``, and its slots."""
    scopes: dict[str, Box] = {}
    for op in ops:
        if isinstance(op.op_def.kind, StateUpdate):
            before, found, _ = op.name.partition("/update_")
            if found and not is_gradient(op.name):
                scopes.setdefault(before, Box(before, folded=True, updates=[]))
    if not scopes:
        return
    for op in ops:
        scope = op.name
        while scope and scope not in scopes:
            scope = scope.rpartition("/")[0]
        if scope and op not in result:
            scopes[scope].operations.append(op)
            result[op] = scopes[scope]
    for box in {id(b): b for b in result.values() if is_variable(b.operations[0])}.values():
        # The variable's own helpers do not count as users.
        users = {id(result.get(c)): result.get(c) for op in box.operations for t in op.outputs for c in t.consumers()}
        users.pop(id(box), None)
        # A slot: a variable that nothing but the optimizer uses.
        others = list(users.values())
        if len(others) == 1 and others[0] is not None and others[0].updates is not None:
            others[0].operations += box.operations
            result.update(dict.fromkeys(box.operations, others[0]))
    for box in scopes.values():
        changed = {
            op.inputs[i].op for op in box.operations if isinstance(op.op_def.kind, StateUpdate) for i in op.op_def.kind.refs
        }
        box.updates = sorted(v.name for v in changed if result.get(v) is not box)


def _helpers(ops: list[Operation]) -> tuple[dict[Operation, Operation], set[Operation]]:
    """({op: variable} for ops that only hold, read or initialise a variable, ops that only start initialisers).

    The second are no-ops such as ``init``, which depend on every initialiser and would draw an edge to each.
    """
    shown = set(ops)
    found: dict[Operation, Operation] = {}
    started: set[Operation] = set()
    initializers: set[Operation] = set()
    reads: set[Operation] = set()
    for op in ops:
        if is_variable(op):
            found[op] = op
            continue
        # ``W/Assign`` and ``W/read`` of W, as the class Variable makes them.
        variable = op.inputs[0].op if op.inputs else None
        if variable is None or not is_variable(variable) or op.name.rpartition("/")[0] != variable.name:
            continue
        if isinstance(op.op_def.kind, StateUpdate) and len(op.inputs) == 2 and variable not in started:
            started.add(variable)
            initializers.add(op)
        # The dtype tells a read from ops such as IsVariableInitialized.
        elif len(op.inputs) == 1 and op.outputs and op.outputs[0].base_dtype is variable.outputs[0].base_dtype:
            reads.add(op)
        else:
            continue
        found[op] = variable
    starters: set[Operation] = set()
    for op in ops:
        before = op.control_inputs
        if isinstance(op.op_def.kind, NoOp) and before and all(b in initializers or b in starters for b in before):
            starters.add(op)
    # Backwards, so that users are judged first: an op whose every user belongs to initialisation is part of an initial value.
    for op in reversed(ops):
        users = [c for t in op.outputs for c in t.consumers() if c in shown]
        fed = isinstance(op.op_def.kind, Source) and op.op_def.kind.what == "placeholder"
        if op not in found and not fed and users and all(u in found and u not in reads for u in users):
            found[op] = found[users[0]]
    return found, starters


def _folded(result: dict[Operation, Box], limit: int) -> dict[Operation, Box]:
    """Folds the deepest scopes, level by level, until the picture is small enough."""
    while len({id(b) for b in result.values()}) > limit:
        # Level by level from the inside, so that the outline of the model stays longest.
        depth = max(b.name.count("/") for b in result.values())
        if depth == 0:
            break
        scopes: dict[str, Box] = {}
        changed: dict[int, Box] = {}
        for box in {id(b): b for b in result.values()}.values():
            if box.name.count("/") == depth:
                scope = box.name.rpartition("/")[0]
                into = scopes.setdefault(scope, Box(scope, folded=True, gradient=True))
                into.operations += box.operations
                into.gradient = into.gradient and box.gradient
                changed[id(box)] = into
        # A scope may be called like an op: they become one box.
        for box in {id(b): b for b in result.values()}.values():
            if box.name in scopes and id(box) not in changed:
                scopes[box.name].operations[:0] = box.operations
                scopes[box.name].gradient = box.gradient
                changed[id(box)] = scopes[box.name]
        result = {op: changed.get(id(box), box) for op, box in result.items()}
    return result
