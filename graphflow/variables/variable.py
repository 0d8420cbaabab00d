"""`Variable`, a value that lives in the session from run to run, and the functions on collections of variables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from graphflow.framework import context
from graphflow.framework.build import convert_to_tensor, name_scope, register_tensor_conversion
from graphflow.framework.dtypes import DType, as_dtype, ref_of
from graphflow.framework.errors import ArgumentError, ConversionError
from graphflow.framework.graph import Graph, Operation, Tensor
from graphflow.framework.graph_keys import GraphKeys
from graphflow.framework.records import record
from graphflow.framework.shapes import TensorShape
from graphflow.framework.tensor import _session_for
from graphflow.ops.array.identity import identity
from graphflow.ops.state import rows as state_rows
from graphflow.ops.state import variable as state

__all__ = [
    "Variable", "VariableAggregation", "VariableSynchronization", "all_variables", "global_variables",
    "global_variables_initializer", "initialize_all_variables", "initialize_local_variables", "initialize_variables",
    "init_scope", "is_variable_initialized", "local_variables", "local_variables_initializer", "model_variables",
    "moving_average_variables", "report_uninitialized_variables", "trainable_variables", "variables_initializer",
]  # fmt: skip


class VariableSynchronization:
    """Accepted by variables for TensorFlow's sake; there is one copy of each variable. ON_READ makes it not trainable."""

    AUTO, NONE, ON_WRITE, ON_READ = range(4)


def may_train(trainable: bool | None, synchronization: Any) -> bool:
    """Whether a variable is trainable: by default it is, unless it is to be summed up when it is read.

    Raises:
        ArgumentError: one that is to be summed up when it is read is said to be trainable.
    """
    if synchronization != VariableSynchronization.ON_READ:
        return trainable is not False
    if trainable:
        raise ArgumentError(
            "Synchronization value can be set to VariableSynchronization.ON_READ only for non-trainable variables. You have "
            "specified trainable=True and synchronization=VariableSynchronization.ON_READ."
        )
    return False


class VariableAggregation:
    """Accepted by variables for TensorFlow's sake; there is one copy of each variable."""

    NONE, SUM, MEAN, ONLY_FIRST_REPLICA = range(4)


@contextmanager
def init_scope(graph: Graph | None = None) -> Iterator[None]:
    """Ops made inside have no control dependencies, for the initial values of variables; name scopes stay."""
    with (graph or context.get_default_graph()).control_dependencies(None):
        yield


@record(frozen=True)
class VariableDef:
    """The names of a variable's ops, as TensorFlow's protocol buffer has them."""

    variable_name: str
    initializer_name: str
    snapshot_name: str
    initial_value_name: str
    trainable: bool = True
    is_resource: bool = False
    save_slice_info_def: Any = None


class Variable:
    """A tensor whose value stays from run to run, each session having its own.

    It acts as a tensor wherever one is expected. Reads and assignments of one run happen in the order in which the ops
    were made. ``v += 1`` makes a tensor and rebinds the name; `assign_add` changes the variable.

    Args:
        initial_value: a value or tensor, or a function of no arguments that makes one (then `dtype` may say its type).
        trainable: whether optimizers change it by default (collection TRAINABLE_VARIABLES).
        collections: the collections it is put in; GLOBAL_VARIABLES by default.
        validate_shape: False leaves the shape open, so that `assign` may change it.
        caching_device: the device of the op that reads it.
        name: made unique in the current name scope.
        variable_def: what `to_proto` gave: then this is the variable of ops that are in the default graph, with
            `import_scope` before their names.
        dtype: what the initial value is converted to.
        constraint: a function of the value, applied by optimizers after each step.

    Raises:
        ValueError: no initial value, or one of unknown shape while `validate_shape` holds.
    """

    # As for Tensor: numpy must leave ``array + variable`` to the variable.
    __array_priority__ = 100
    __array_ufunc__ = None

    def __init__(
        self,
        initial_value: Any = None,
        trainable: bool | None = None,
        collections: Iterable[Any] | None = None,
        validate_shape: bool = True,
        caching_device: Any = None,
        name: str | None = None,
        variable_def: Any = None,
        dtype: Any = None,
        expected_shape: Any = None,
        import_scope: str | None = None,
        constraint: Callable[[Tensor], Tensor] | None = None,
        use_resource: bool | None = None,
        synchronization: Any = None,
        aggregation: Any = None,
        shape: Any = None,
    ) -> None:
        if variable_def is not None:
            if initial_value is not None:
                raise ArgumentError("variable_def and initial_value are mutually exclusive.")
            self._find_ops(variable_def, import_scope)
            return
        if initial_value is None:
            raise ArgumentError("initial_value must be specified.")
        if constraint is not None and not callable(constraint):
            raise ArgumentError("The `constraint` argument must be a callable.")
        if isinstance(collections, str):
            raise ArgumentError(
                f"collections argument to Variable constructor must be a list, tuple, or set. Got {collections!r} of "
                "type <class 'str'>"
            )
        keys = [GraphKeys.GLOBAL_VARIABLES] if collections is None else list(collections)
        self._trainable = may_train(trainable, synchronization)
        self._constraint = constraint
        self._save_slice_info: Any = None
        # As TensorFlow: a trainable variable is in that collection even if other collections were given.
        if self._trainable and GraphKeys.TRAINABLE_VARIABLES not in keys:
            keys.append(GraphKeys.TRAINABLE_VARIABLES)
        want = None if dtype is None else as_dtype(dtype).base_dtype
        # The name scope belongs to the graph of the initial value, where that is a tensor.
        values = () if callable(initial_value) else (initial_value,)
        with init_scope(), name_scope(name, "Variable", values) as scope:
            self._make_ops(initial_value, want, validate_shape, shape, caching_device, scope)
        self.graph.add_to_collections(keys, self)

    def _make_ops(
        self, initial_value: Any, dtype: DType | None, validate_shape: bool, shape: Any, caching_device: Any, scope: str
    ) -> None:
        if callable(initial_value):
            with name_scope("Initializer"):
                value = convert_to_tensor(initial_value(), dtype, name="initial_value")
        else:
            value = convert_to_tensor(initial_value, dtype, name="initial_value")
        # Optimizers and savers need the shape before there is a value.
        if validate_shape and not value.shape.is_fully_defined():
            raise ArgumentError(f"initial_value must have a shape specified: {value}")
        self._initial_value = value
        static = (TensorShape(shape) if shape is not None else value.shape) if validate_shape else None
        self._variable = state.variable_op(static, value.base_dtype, name=scope)
        self._initializer_op = state.assign(self._variable, value, validate_shape=validate_shape, name=state.ASSIGN.name).op
        if caching_device is None:
            self._snapshot = identity(self._variable, name="read")
        else:
            with self.graph.device(caching_device):
                self._snapshot = identity(self._variable, name="read")

    @classmethod
    def from_ops(
        cls, variable: Tensor, initializer: Operation, snapshot: Tensor, initial_value: Tensor | None, trainable: bool
    ) -> Variable:
        """The Variable of ops that exist already (an imported graph). It is put into no collection."""
        self = cls.__new__(cls)
        self._variable, self._initializer_op, self._snapshot = variable, initializer, snapshot
        self._initial_value = initializer.inputs[1] if initial_value is None else initial_value
        self._trainable, self._constraint, self._save_slice_info = trainable, None, None
        return self

    def _find_ops(self, variable_def: Any, import_scope: str | None) -> None:
        graph, prefix = context.get_default_graph(), f"{import_scope}/" if import_scope else ""
        self._variable = graph.as_graph_element(prefix + variable_def.variable_name, allow_operation=False)
        self._initializer_op = graph.as_graph_element(prefix + variable_def.initializer_name)
        self._snapshot = graph.as_graph_element(prefix + variable_def.snapshot_name, allow_operation=False)
        self._initial_value = graph.as_graph_element(prefix + variable_def.initial_value_name, allow_operation=False)
        self._trainable, self._constraint = variable_def.trainable, None
        self._save_slice_info = variable_def.save_slice_info_def

    def to_proto(self, export_scope: str | None = None) -> VariableDef | None:
        """The names of its ops without the scope `export_scope`; None if it is not in that scope."""
        prefix = f"{export_scope}/" if export_scope else ""
        if not self.name.startswith(prefix):
            return None
        parts = (self._variable, self._initializer_op, self._snapshot, self._initial_value)
        variable, initializer, snapshot, value = [p.name.removeprefix(prefix) for p in parts]
        return VariableDef(variable, initializer, snapshot, value, self._trainable, False, self._save_slice_info)

    @staticmethod
    def from_proto(variable_def: VariableDef, import_scope: str | None = None) -> Variable:
        """The variable whose ops have these names in the default graph, with `import_scope` before them."""
        return Variable(variable_def=variable_def, import_scope=import_scope)

    def __deepcopy__(self, memo: Any) -> Variable:
        raise NotImplementedError("A variable is part of a graph and has no copy; copies are for eager execution only.")

    # ------------------------------------------------------------------ what it is
    @property
    def name(self) -> str:
        return self._variable.name

    @property
    def _shared_name(self) -> str:
        return self.op.name

    @property
    def op(self) -> Operation:
        return self._variable.op

    @property
    def graph(self) -> Graph:
        return self._variable.graph

    @property
    def device(self) -> str:
        return self._variable.device

    @property
    def dtype(self) -> DType:
        return ref_of(self._variable.base_dtype)

    @property
    def shape(self) -> TensorShape:
        return self._variable.shape

    def get_shape(self) -> TensorShape:
        return self.shape

    def set_shape(self, shape: Any) -> None:
        """Refines the static shape of the variable and of what reads it."""
        self._variable.set_shape(shape)
        self._snapshot.set_shape(shape)

    @property
    def trainable(self) -> bool:
        return self._trainable

    @property
    def constraint(self) -> Callable[[Tensor], Tensor] | None:
        return self._constraint

    @property
    def initializer(self) -> Operation:
        """The op that gives the variable its initial value."""
        return self._initializer_op

    @property
    def initial_value(self) -> Tensor:
        return self._initial_value

    def _as_graph_element(self) -> Tensor:
        return self._variable

    def _ref(self) -> Tensor:
        return self._variable

    def __repr__(self) -> str:
        return f"<tf.Variable '{self.name}' shape={self.shape} dtype={self.dtype.name}>"

    def _set_save_slice_info(self, info: Any) -> None:
        """Makes it a part of a partitioned variable, in checkpoints."""
        self._save_slice_info = info

    def _get_save_slice_info(self) -> Any:
        return self._save_slice_info

    # ------------------------------------------------------------------ reading
    def value(self) -> Tensor:
        """The tensor ``W/read``: whoever uses it gets the value the variable has at that point of the run."""
        return self._snapshot

    def read_value(self) -> Tensor:
        """A new op that takes the value here, after what it is control-dependent on."""
        return identity(self._snapshot, name="read")

    def initialized_value(self) -> Tensor:
        """The value, for the initial value of another variable.

        Ops run in the order they were made, so one run that initialises both has initialised this one by then.
        """
        return self.read_value()

    def sparse_read(self, indices: Any, name: str | None = None) -> Tensor:
        """The rows with these numbers."""
        from graphflow.ops.array.gather import gather

        return gather(self._snapshot, indices, name=name)

    def gather_nd(self, indices: Any, name: str | None = None) -> Tensor:
        """The elements or slices at these positions."""
        from graphflow.ops.array.gather import gather_nd

        return gather_nd(self._snapshot, indices, name=name)

    def eval(self, session: Any = None) -> Any:
        """The value in the default (or given) session."""
        return self._variable.eval(session=session)

    def load(self, value: Any, session: Any = None) -> None:
        """Sets the value in the default (or given) session, without an op."""
        chosen = _session_for(session, self.graph, "Cannot load a value into a variable with `load()`", "load")
        chosen._load_variables({self: value})

    # ------------------------------------------------------------------ changing
    def assign(self, value: Any, use_locking: bool = False, name: str | None = None, read_value: bool = True) -> Any:
        """Assigns `value`; yields the new value (the Operation if `read_value` is False)."""
        new = state.assign(self._variable, value, use_locking=use_locking, name=name)
        return new if read_value else new.op

    def assign_add(self, delta: Any, use_locking: bool = False, name: str | None = None, read_value: bool = True) -> Any:
        new = state.assign_add(self._variable, delta, use_locking, name)
        return new if read_value else new.op

    def assign_sub(self, delta: Any, use_locking: bool = False, name: str | None = None, read_value: bool = True) -> Any:
        new = state.assign_sub(self._variable, delta, use_locking, name)
        return new if read_value else new.op

    def count_up_to(self, limit: int) -> Tensor:
        return state.count_up_to(self, limit)

    def scatter_sub(self, sparse_delta: Any, use_locking: bool = False, name: str | None = None) -> Tensor:
        """Subtracts an IndexedSlices from its rows; so with scatter_add, scatter_update ..."""
        return state_rows.scatter_sub(self, sparse_delta.indices, sparse_delta.values, use_locking, name)

    def scatter_add(self, sparse_delta: Any, use_locking: bool = False, name: str | None = None) -> Tensor:
        return state_rows.scatter_add(self, sparse_delta.indices, sparse_delta.values, use_locking, name)

    def scatter_update(self, sparse_delta: Any, use_locking: bool = False, name: str | None = None) -> Tensor:
        return state_rows.scatter_update(self, sparse_delta.indices, sparse_delta.values, use_locking, name)

    def scatter_mul(self, sparse_delta: Any, use_locking: bool = False, name: str | None = None) -> Tensor:
        return state_rows.scatter_mul(self, sparse_delta.indices, sparse_delta.values, use_locking, name)

    def scatter_div(self, sparse_delta: Any, use_locking: bool = False, name: str | None = None) -> Tensor:
        return state_rows.scatter_div(self, sparse_delta.indices, sparse_delta.values, use_locking, name)

    def scatter_min(self, sparse_delta: Any, use_locking: bool = False, name: str | None = None) -> Tensor:
        return state_rows.scatter_min(self, sparse_delta.indices, sparse_delta.values, use_locking, name)

    def scatter_max(self, sparse_delta: Any, use_locking: bool = False, name: str | None = None) -> Tensor:
        return state_rows.scatter_max(self, sparse_delta.indices, sparse_delta.values, use_locking, name)

    def scatter_nd_update(self, indices: Any, updates: Any, name: str | None = None) -> Tensor:
        return state_rows.scatter_nd_update(self, indices, updates, name=name)

    def scatter_nd_add(self, indices: Any, updates: Any, name: str | None = None) -> Tensor:
        return state_rows.scatter_nd_add(self, indices, updates, name=name)

    def scatter_nd_sub(self, indices: Any, updates: Any, name: str | None = None) -> Tensor:
        return state_rows.scatter_nd_sub(self, indices, updates, name=name)

    def __getitem__(self, key: Any) -> Tensor:
        """A slice of the value, as of a tensor, with a method ``assign`` that changes this part of the variable."""
        from graphflow.ops.state.slices import VariableSlice  # loaded by programs that take slices

        return VariableSlice.of(self._variable, key, self._snapshot[key])

    # ------------------------------------------------------------------ what it is not
    def __iter__(self) -> Iterator[Tensor]:
        raise TypeError("'Variable' object is not iterable.")

    def __bool__(self) -> bool:
        # Raises the tensor's TypeError, with its advice.
        return bool(self._snapshot)

    if TYPE_CHECKING:  # at run time the loop below gives the class these operators

        def __add__(self, other: Any) -> Tensor: ...
        def __neg__(self) -> Tensor: ...

        __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = __add__
        __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = __pow__ = __rpow__ = __matmul__ = __rmatmul__ = __add__
        __lt__ = __le__ = __gt__ = __ge__ = __and__ = __rand__ = __or__ = __ror__ = __xor__ = __rxor__ = __add__
        __invert__ = __abs__ = __neg__


_OPERATORS = (
    "add", "radd", "sub", "rsub", "mul", "rmul", "div", "rdiv", "truediv", "rtruediv", "floordiv", "rfloordiv", "mod",
    "rmod", "lt", "le", "gt", "ge", "and", "rand", "or", "ror", "xor", "rxor", "pow", "rpow", "invert",
    "neg", "abs", "matmul", "rmatmul",
)  # fmt: skip


def _forwarded(name: str) -> Callable[..., Any]:
    def operator(self: Variable, *args: Any) -> Any:
        return getattr(Tensor, name)(self._snapshot, *args)

    operator.__name__ = name
    return operator


for _name in _OPERATORS:
    setattr(Variable, f"__{_name}__", _forwarded(f"__{_name}__"))


def _convert(value: Variable, dtype: DType | None, name: str | None) -> Tensor:
    # No implicit casts, as for tensors.
    if dtype is not None and value.dtype.base_dtype is not dtype:
        raise ConversionError(
            f"Incompatible type conversion requested to type '{dtype.name}' for variable of type "
            f"'{value.dtype.base_dtype.name}'"
        )
    return value.value()


register_tensor_conversion(Variable, _convert)


# ---------------------------------------------------------------------------------------------- sets of variables


def _collection(key: str, scope: str | None) -> list[Any]:
    return context.get_default_graph().get_collection(key, scope)


def global_variables(scope: str | None = None) -> list[Any]:
    """The default graph's variables that a checkpoint holds; `scope` keeps those whose names match (``re.match``)."""
    return _collection(GraphKeys.GLOBAL_VARIABLES, scope)


all_variables = global_variables


def trainable_variables(scope: str | None = None) -> list[Any]:
    """The variables that optimizers change by default."""
    return _collection(GraphKeys.TRAINABLE_VARIABLES, scope)


def local_variables(scope: str | None = None) -> list[Any]:
    """Variables that no checkpoint holds, such as the counters of tf.metrics."""
    return _collection(GraphKeys.LOCAL_VARIABLES, scope)


def model_variables(scope: str | None = None) -> list[Any]:
    return _collection(GraphKeys.MODEL_VARIABLES, scope)


def moving_average_variables(scope: str | None = None) -> list[Any]:
    return _collection(GraphKeys.MOVING_AVERAGE_VARIABLES, scope)


def variables_initializer(var_list: Iterable[Variable], name: str = "init") -> Operation:
    """An op that initialises the given variables."""
    from graphflow.ops.control_flow.control import group

    return group(*[v.initializer for v in var_list or ()], name=name)


def global_variables_initializer() -> Operation:
    """An op that initialises the global variables that exist now."""
    return variables_initializer(global_variables())


def local_variables_initializer() -> Operation:
    """An op that initialises the local variables that exist now."""
    return variables_initializer(local_variables())


initialize_variables = variables_initializer
initialize_all_variables = global_variables_initializer
initialize_local_variables = local_variables_initializer


def is_variable_initialized(variable: Any) -> Tensor:
    """A bool scalar: whether the variable has a value in the session."""
    return state.is_variable_initialized(variable)


def report_uninitialized_variables(var_list: Any = None, name: str = "report_uninitialized_variables") -> Tensor:
    """A string vector: the names of the variables (global and local ones by default) without a value yet."""
    from graphflow.framework.build import constant
    from graphflow.ops.array.concat import stack
    from graphflow.ops.array.gather import boolean_mask
    from graphflow.ops.math.compare import logical_not

    variables = global_variables() + local_variables() if var_list is None else list(var_list)
    with name_scope(name):
        if not variables:
            return constant([], "string")
        names = constant([v.op.name for v in variables], "string")
        return boolean_mask(names, logical_not(stack([is_variable_initialized(v) for v in variables])))
