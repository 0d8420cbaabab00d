"""Level 0 to level 1: prunes the user's graph to one (fetches, feeds) signature and makes a Program of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from graphflow.framework.deferred import NotKnownYet, expansion
from graphflow.framework.dtypes import DType, bool_, int64
from graphflow.framework.errors import BuildError, InvalidArgumentError, UninitializedVariableError
from graphflow.framework.folding import PURE
from graphflow.framework.graph import Operation, Tensor
from graphflow.framework.kinds import (
    Assertion,
    Composite,
    Deferred,
    Gather,
    Host,
    NoOp,
    Random,
    ShapeOf,
    Source,
    StateUpdate,
    TensorType,
    VariableIsInitialized,
    View,
)
from graphflow.framework.records import record
from graphflow.framework.registry import TensorValue
from graphflow.framework.shapes import Dim, DimPolicy, Shape, SymDim, never_negative, size, substitute
from graphflow_compiler.ir.program import (
    FEED,
    IS_INITIALIZED,
    VARIABLE_STATE,
    CannotCompile,
    Constraint,
    LeafAttrs,
    Node,
    Program,
    ProgramBuilder,
    Value,
    folded_array,
    live_nodes,
    resolve_shape_value,
    shape_value_of,
)


class DependsOnData(CannotCompile):
    """Sizes, or what an operation is to do, follow from values that the signature does not tell."""


@record(frozen=True)
class Signature:
    """What a program is made for: the fetches, the fed tensors and what is known of the fed arrays' shapes.

    `feed_shapes[i]` has ints where the size is fixed for this program (static dims, and sizes that are 1: a size of 1
    broadcasts, so it is never shared with others) and SymDims where any size other than 1 will do.
    """

    fetches: tuple[Tensor | Operation, ...]
    feeds: tuple[Tensor, ...]
    feed_shapes: tuple[Shape, ...]
    variable_shapes: Mapping[str, tuple[int, ...]]  # of variables whose static shape is open
    feed_values: tuple[TensorValue | None, ...] = ()  # of feeds for whose values this program is made; () is none


def symbolize_shapes(feeds: Sequence[Tensor], shapes: Sequence[tuple[int, ...]]) -> tuple[Shape, ...]:
    """The signature's feed shapes for arrays of the given shapes: open dims become symbols unless their size is 1."""
    result: list[Shape] = []
    for i, (tensor, shape) in enumerate(zip(feeds, shapes, strict=True)):
        static = tensor.type.shape
        dims: list[Dim] = []
        for axis, actual in enumerate(shape):
            declared = static[axis] if static is not None else None
            if isinstance(declared, int) or actual == 1:
                dims.append(actual)
            elif isinstance(declared, SymDim) and not str(declared).startswith("?"):
                dims.append(declared)  # a size the user named
            else:
                dims.append(size(f"n{i}_{axis}"))
        result.append(tuple(dims))
    return tuple(result)


class ProgramPolicy(DimPolicy):
    """Requires sizes that meet to be equal, unless one is the constant 1: a constraint that binding a plan checks.

    Equalities of plain sizes are found out in one build and substituted in the next, so the final program speaks of one
    size where the graph implies one.
    """

    final = True

    def __init__(self) -> None:
        self.constraints: list[Constraint] = []
        self.equal: dict[str, Constraint] = {}  # size -> the constraint that fixes it, as (size, what it equals)
        self.current_op = ""

    def unify(self, a: Dim, b: Dim, message: object) -> Dim:
        if a == b:
            return a
        if isinstance(a, int) and isinstance(b, int):
            return super().unify(a, b, message)  # type: ignore[arg-type]
        self.constraints.append(Constraint(a, b, message(), self.current_op))  # type: ignore[operator]
        for x, y in ((b, a), (a, b)):
            name = _plain_name(x)
            # A size that only the run gives has another name in each build, so it cannot be substituted in the next.
            if name and not name.startswith("?") and not (isinstance(y, SymDim) and name in y.names()):
                self.equal.setdefault(name, Constraint(x, y, message(), self.current_op))  # type: ignore[operator]
                break
        # Of two sizes that must be equal the known one is the better name: code is made for it.
        return a if isinstance(a, int) else b if isinstance(b, int) else a

    def at_least(self, a: Dim, least: Dim, message: Callable[[], str]) -> None:
        super().at_least(a, least, message)
        difference = a - least
        if not isinstance(difference, int) and not never_negative(difference):
            self.constraints.append(Constraint(a, least, message(), self.current_op, ">="))

    def fits(self, a: SymDim, dtype: DType, message: Callable[[], str]) -> None:
        if dtype is int64 and a.is_size():
            return
        self.at_least(int(dtype.max), a, message)
        self.at_least(a, int(dtype.min), message)

    def broadcast(self, a: Dim, b: Dim, message: object) -> Dim:
        if a == b or b == 1:
            return a
        if a == 1:
            return b
        return self.unify(a, b, message)


def _plain_name(d: Dim) -> str:
    """The name of a size that is nothing but a name; empty for anything else."""
    names = d.names() if isinstance(d, SymDim) else set()
    name = next(iter(names)) if len(names) == 1 else ""
    return name if name and d == size(name) else ""


def needed_operations(fetches: Sequence[Tensor | Operation], feeds: Sequence[Tensor]) -> list[Operation]:
    """The operations that the fetches need, in creation order; nothing upstream of a fed tensor unless otherwise needed.

    As in TensorFlow a control edge makes an operation run even if its output is fed, unless that is a placeholder.
    """
    fed = set(feeds)
    todo = [f if isinstance(f, Operation) else f.op for f in fetches if f not in fed]
    found: set[Operation] = set()
    while todo:
        op = todo.pop()
        if op in found:
            continue
        found.add(op)
        todo += [t.op for t in op.inputs if t not in fed and t.op not in found]
        todo += [c for c in op.control_inputs if c not in found and not (is_placeholder(c) and c.outputs[0] in fed)]
    # Creation order respects every data and control edge, and it decides what a read of a variable sees.
    return sorted(found, key=lambda op: op._id)


def is_placeholder(op: Operation) -> bool:
    return isinstance(op.op_def.kind, Source) and op.op_def.kind.what == "placeholder"


def steering_feeds(fetches: Sequence[Tensor | Operation], feeds: Sequence[Tensor]) -> tuple[int, ...]:
    """Which feeds have values that sizes may follow from, or what an operation is to do: a shape, an axis, paddings."""
    position = {t: i for i, t in enumerate(feeds)}
    todo: list[Tensor] = []
    for op in needed_operations(fetches, feeds):
        steering = op.attrs.steering if isinstance(op.op_def.kind, Deferred) else op.op_def.shape_operands
        todo += [op.inputs[i] for i in steering if i < len(op.inputs)]
    seen: set[Tensor] = set()
    while todo:
        t = todo.pop()
        if t not in seen:
            seen.add(t)
            if t not in position and isinstance(t.op.op_def.kind, PURE):
                todo += t.op.inputs
    # Integers alone: numbers with a fraction are data, of which no two runs have the same.
    return tuple(sorted([position[t] for t in seen if t in position and t.base_dtype.is_integer]))


def random_operations(needed: Iterable[Operation]) -> tuple[str, ...]:
    """Names of the random ops that a run executes: those among the needed operations.

    Whether or not the compiler finds that it can do without their numbers (a shape is known without them): so every backend
    executes the same.
    """
    return tuple([op.name for op in needed if isinstance(op.op_def.kind, Random)])


def size_expressions(operations: Iterable[Operation], feeds: Iterable[Tensor]) -> frozenset[Operation]:
    """The operations, given in creation order, that compute integers from sizes and constants alone, as sizes are computed."""
    fed = set(feeds)
    known: dict[Operation, bool] = {}  # whether a size is in it
    for op in operations:
        if isinstance(op.op_def.kind, ShapeOf):
            known[op] = True
        elif op.op_def.shape_value is not None and all(t.op in known and t not in fed for t in op.inputs):
            known[op] = any(known[t.op] for t in op.inputs)
    return frozenset([op for op, is_size in known.items() if is_size])


def is_alias_of_variable(op: Operation) -> bool:
    """An Identity of a variable (``W/read``): it stands for whatever value the variable has where it is used.

    An Identity of what an assignment yields is no alias: that is a value, fixed where the assignment is.
    """
    if op.op_def.name != "Identity" or not isinstance(op.op_def.kind, View):
        return False
    source = op.inputs[0].op.op_def.kind
    return isinstance(source, Source) and source.what == "variable"


def variable_of(t: Tensor) -> Operation | None:
    """The variable that a ref tensor, or an alias of one, stands for."""
    op = t.op
    if is_alias_of_variable(op):
        t = op.inputs[0]
        op = t.op
    if isinstance(op.op_def.kind, Source) and op.op_def.kind.what == "variable":
        return op
    return None


def variable_behind(t: Tensor) -> Operation | None:
    """The variable that a ref stands for; the output of an assignment stands for the variable assigned to."""
    while True:
        found = variable_of(t)
        if found is not None:
            return found
        kind = t.op.op_def.kind
        if not isinstance(kind, StateUpdate):
            return None
        t = t.op.inputs[kind.refs[t.value_index]]


def build_program(signature: Signature) -> Program:
    """The Program of a signature. Raises InvalidArgumentError where shapes of feeds cannot go together."""
    merged: dict[str, Constraint] = {}
    while True:  # each round merges at least one of finitely many sizes
        policy = ProgramPolicy()
        program = _Build(signature, policy, merged).run()
        new = {k: v for k, v in policy.equal.items() if k not in merged}
        if not new:
            return program
        merged = {**merged, **new}


class _Build:
    def __init__(self, signature: Signature, policy: ProgramPolicy, merged: Mapping[str, Constraint]) -> None:
        self.signature = signature
        self.policy = policy
        self.merged = merged
        self.builder = ProgramBuilder(policy)
        self.values: dict[Tensor, Value] = {}
        self.state: dict[str, Value] = {}
        self.updated: dict[str, None] = {}
        self.assigned: dict[Tensor, Operation] = {}  # what assignments yield -> the variable behind it
        self.effects: list[Node] = []
        self.sizes: frozenset[Operation] = frozenset()

    def run(self) -> Program:
        feeds: list[Node] = []
        symbols: dict[str, None] = {}
        replaced: dict[str, Dim] = {}
        for name, c in self.merged.items():
            replaced[name] = substitute(c.b, replaced)
        for i, (t, shape) in enumerate(zip(self.signature.feeds, self.signature.feed_shapes, strict=True)):
            for d in shape:
                if isinstance(d, SymDim):
                    symbols.update(dict.fromkeys(sorted(d.names())))
            final = shape
            for _ in self.merged:  # a size may lead to another one: follow the chain
                before, final = final, tuple(substitute(d, replaced) for d in final)
                if final == before:
                    break
            node = self.builder.add(FEED, LeafAttrs(i, TensorType(t.base_dtype, final)), origin=(t.op.name,))
            feeds.append(node)
            value = self.signature.feed_values[i] if self.signature.feed_values else None
            self.values[t] = node.out() if value is None else self.builder.constant(value.array, (t.op.name,))
        operations = needed_operations(self.signature.fetches, self.signature.feeds)
        self.sizes = size_expressions(operations, self.signature.feeds)
        for op in operations:
            self.add(op)
        outputs = [self.fetch(f) for f in self.signature.fetches if isinstance(f, Tensor)]
        updates = tuple((name, self.state[name]) for name in self.updated)
        effects = tuple(dict.fromkeys(self.effects))
        roots = [*outputs, *(v for _, v in updates)]
        nodes = live_nodes(self.builder.nodes, roots, [*effects, *feeds])
        constraints = tuple(dict.fromkeys([*self.merged.values(), *self.policy.constraints]))
        return Program(nodes, tuple(feeds), tuple(outputs), updates, effects, constraints, tuple(symbols))

    def fetch(self, t: Tensor) -> Value:
        if t in self.values:
            return self.values[t]
        return self.value(t)

    def value(self, t: Tensor) -> Value:
        found = self.values.get(t)
        if found is not None:
            return found
        variable = variable_of(t)
        if variable is None:
            raise InvalidArgumentError(message=f"{t.name} is not available to the program", op=t.op)
        return self.read(variable)

    def read(self, variable: Operation, first_shape: Shape | None = None) -> Value:
        """The variable's value at this point of the program.

        `first_shape`: what its first assignment gives a variable that has no shape yet.
        """
        fed = self.values.get(variable.outputs[0])
        if fed is not None:
            return fed
        name = variable.name
        if name not in self.state:
            t = variable.outputs[0]
            shape = self.signature.variable_shapes.get(name, t.type.shape)
            if shape is None:
                shape = first_shape
            if shape is None:
                raise UninitializedVariableError(op=variable, message=f"Attempting to use uninitialized value {name}")
            type_ = TensorType(t.base_dtype, shape)
            self.state[name] = self.builder.add(VARIABLE_STATE, LeafAttrs(name, type_), origin=(name,)).out()
        return self.state[name]

    def add(self, op: Operation, user: Operation | None = None) -> None:
        """Adds an operation; `user`: the one of the user's graph that it is part of, if it is not one itself."""
        kind = op.op_def.kind
        user = user or op
        if isinstance(kind, Source) and kind.what == "variable":
            return
        if isinstance(kind, NoOp) or is_alias_of_variable(op):
            return
        if is_placeholder(op):
            raise InvalidArgumentError(
                op=op,
                node_def=op,
                message=f"You must feed a value for placeholder tensor '{op.name}' with dtype {op.outputs[0].dtype.name}",
            )
        if isinstance(kind, Deferred):
            self.expand(op, kind)
            return
        origin = (user.name,)
        self.policy.current_op = user.name
        if isinstance(kind, VariableIsInitialized):
            variable = variable_of(op.inputs[0])
            assert variable is not None
            type_ = TensorType(bool_, ())
            known = self.builder.add(IS_INITIALIZED, LeafAttrs(variable.name, type_), origin=origin)
            self.values.setdefault(op.outputs[0], known.out())  # it may be fed
            return
        refs = kind.refs if isinstance(kind, StateUpdate) else ()
        variables: list[Operation] = []
        inputs: list[Value] = [] if refs else [self.value(t) for t in op.inputs]
        for i, t in enumerate(op.inputs if refs else ()):
            variable = variable_of(t) if i in refs else None
            if i in refs and variable is None:  # the output of an assign: the variable behind it
                variable = self.assigned.get(t) or variable_behind(t)
            if variable is not None:
                variables.append(variable)
                assigned = next((self.value(x).shape for j, x in enumerate(op.inputs) if j not in refs), None)
                inputs.append(self.read(variable, assigned))
            else:
                inputs.append(self.value(t))
        # How often the op has been executed makes what is drawn differ from run to run.
        if isinstance(kind, Random):
            inputs.append(self.builder.random_count(op.name))
        try:
            node = self.builder.add(op.op_def, op.attrs, inputs, None, origin)
            if any(t.shape is None for t in node.types):
                raise DependsOnData(f"the rank of {node.op.name} ({user.name}) depends on data")
            sizes = [resolve_shape_value(self.builder, node, i, op in self.sizes) for i in range(len(op.outputs))]
        except BuildError as e:
            raise _refused(user, e) from None
        for i, (t, resolved) in enumerate(zip(op.outputs, sizes, strict=True)):
            self.values.setdefault(t, node.out(i) if resolved is None else resolved)
            if resolved is not None and len(op.outputs) == 1:
                return
        if isinstance(kind, StateUpdate):
            for i, variable in enumerate(variables):
                self.state[variable.name] = node.out(i)
                self.updated[variable.name] = None
            self.assigned.update(zip(op.outputs, variables, strict=False))  # updates of optimizers have no outputs
        if _must_run(node) or (not op.outputs and not isinstance(kind, StateUpdate)):
            self.effects.append(node)

    def expand(self, op: Operation, kind: Deferred) -> None:
        """Adds what a deferred operation becomes, now that the types of its operands are known."""
        inputs = [self.value(t) for t in op.inputs]
        steering = op.attrs.steering
        arrays = [folded_array(v) if i in steering else None for i, v in enumerate(inputs)]
        values = tuple([shape_value_of(v) if a is None else TensorValue(a) for v, a in zip(inputs, arrays, strict=True)])
        try:
            made = expansion(kind.build, op.attrs, tuple([v.type for v in inputs]), values)
        except NotKnownYet as e:
            raise DependsOnData(f"{op.type} ({op.name}) depends on data: {e}") from None
        except BuildError as e:
            raise _refused(op, e) from None
        # An expansion may serve several operations, so its tensors mean something here only.
        outer, self.values = self.values, {t: v for t, v in zip(made.inputs, inputs, strict=True) if t is not None}
        try:
            for inner in made.operations:
                self.add(inner, op)
            results = [self.value(t) for t in made.outputs]
        finally:
            self.values = outer
        for t, v in zip(op.outputs, results, strict=True):
            self.values.setdefault(t, v)


def _refused(op: Operation, e: BuildError) -> InvalidArgumentError:
    return InvalidArgumentError(op=op, node_def=op, message=f"{e}\n  created at {op.created_at}\n\t [[{{{{node {op.name}}}}}]]")


def _must_run(node: Node) -> bool:
    """Whether a node must run even if nothing uses its value: it is an assertion, has a side effect, or checks something."""
    kind = node.op.kind
    return (
        node.has_check
        or isinstance(kind, (Assertion, Gather))
        or (isinstance(kind, Host) and kind.stateful)
        or (isinstance(kind, (Composite, StateUpdate)) and kind.checks)
    )
