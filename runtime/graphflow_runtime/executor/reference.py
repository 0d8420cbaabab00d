"""The reference back end: runs the user's graph op by op in numpy. It is the oracle of every test, and serves without LLVM."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from graphflow.framework import philox
from graphflow.framework.dtypes import as_dtype
from graphflow.framework.errors import (
    GraphFlowError,
    InvalidArgumentError,
    OpError,
    OutOfMemoryError,
    OutOfRangeError,
    ShapeError,
    UnimplementedError,
    UninitializedVariableError,
    UnknownError,
)
from graphflow.framework.graph import Graph, Operation, Tensor
from graphflow.framework.kinds import (
    Contraction,
    Elementwise,
    Host,
    LowerContext,
    NoOp,
    Random,
    ShapeValue,
    Source,
    StateUpdate,
    TensorType,
    VariableIsInitialized,
    does_not_fit,
    overflows,
)
from graphflow.framework.numpy_builder import NumpyBuilder
from graphflow.framework.registry import InferContext
from graphflow.framework.shapes import RUN_POLICY, static_shape
from graphflow_compiler.frontend import (
    is_alias_of_variable,
    needed_operations,
    random_operations,
    size_expressions,
    variable_behind,
    variable_of,
)
from graphflow_runtime.executor.failures import describe, unfed, uninitialized
from graphflow_runtime.executor.numpy_blas import one_blas_thread
from graphflow_runtime.executor.read_before_write import variables_read
from graphflow_runtime.executor.threads import has_pool
from graphflow_runtime.store import VariableStore

if TYPE_CHECKING:
    from graphflow_compiler.planning.plan import Plan
    from graphflow_runtime.executor.tracing import Trace

Array = np.ndarray[Any, Any]


class ReferenceExecutable:
    """One (fetches, feeds) pair. Assignments become visible in the session only when the whole run has succeeded."""

    def __init__(
        self, graph: Graph, fetches: tuple[Tensor | Operation, ...], feeds: tuple[Tensor, ...], store: VariableStore
    ) -> None:
        self.graph = graph
        self.fetches = fetches
        self.feeds = feeds
        self.store = store
        self.operations = needed_operations(fetches, feeds)
        self.random_ops = random_operations(self.operations)
        self.reads = variables_read(self.operations, fetches, feeds)
        self.sizes = size_expressions(self.operations, feeds)
        #: What `explain` says since the last profile.
        self.profile: Callable[[], str] | None = None

    def fast(self, values: Sequence[object]) -> None:
        """There is no fast path here."""

    def shortcut(self) -> None:
        """Nor is there a native one."""

    def failed(self, control: object, status: int, values: object) -> Exception:
        raise AssertionError("no native run of this")

    def run(self, feeds: Sequence[Array], trace: Trace | None = None) -> list[Array]:
        """Values of the tensors among the fetches."""
        self.store.begin_run(self.random_ops)
        return _Run(self, dict(zip(self.feeds, feeds, strict=True)), trace).result()

    def error(self, feeds: Sequence[Array]) -> OpError | None:
        """How the last run fails if it is done once more; None if it does not, or has effects that must not be repeated.

        It counts as no run, draws the same random numbers again, and changes nothing.
        """
        if any(isinstance(op.op_def.kind, Host) and op.op_def.kind.stateful for op in self.operations):
            return None
        try:
            _Run(self, dict(zip(self.feeds, feeds, strict=True))).compute_all()
        except OpError as e:
            return e
        return None

    def prepare(self, shapes: tuple[tuple[int, ...], ...], feeds: Sequence[Array] | None) -> None:
        """There is nothing to compile."""

    def after_fork(self) -> None:
        """There are no locks."""

    def explanation(self) -> str:
        if self.profile is not None:
            return self.profile()
        return f"reference backend (numpy): {len(self.operations)} operations, one by one\n"

    def profiled(self, plan: Plan | None, explain: Callable[[], str]) -> None:
        self.profile = explain


class _Run:
    def __init__(self, executable: ReferenceExecutable, values: dict[Tensor, Array], trace: Trace | None = None) -> None:
        self.executable = executable
        self.store = executable.store
        self.values = values
        self.trace = trace
        self.assigned: dict[str, Array] = {}
        # Now, because a run within this one (of a py_func) may execute the same ops.
        self.counts = {name: self.store.random[name] for name in executable.random_ops}

    def compute_all(self) -> None:
        missing = [name for name in self.executable.reads if not self.store.is_initialized(name)]
        if missing:
            raise uninitialized(missing)
        for op in self.executable.operations:
            self.step(op)

    def result(self) -> list[Array]:
        self.compute_all()
        # Copies, made before variables are written: a fetch may be a variable's own array, which the store updates in place.
        results = [self.value(f).copy() for f in self.executable.fetches if isinstance(f, Tensor)]
        self.store.set(self.assigned)
        return results

    def value(self, t: Tensor) -> Array:
        found = self.values.get(t)
        if found is not None:
            return found
        variable = variable_of(t)
        if variable is None:
            raise InvalidArgumentError(op=t.op, node_def=t.op, message=f"{t.name} was not computed in this run")
        return self.read(variable)

    def read(self, variable: Operation) -> Array:
        fed = self.values.get(variable.outputs[0])
        if fed is not None:
            return fed
        name = variable.name
        if name in self.assigned:
            return self.assigned[name]
        array = self.store.array(name)
        if array is None or not self.store.is_initialized(name):
            raise uninitialized([name])
        return array

    def step(self, op: Operation) -> None:
        kind = op.op_def.kind
        if isinstance(kind, NoOp) or is_alias_of_variable(op):
            return
        if isinstance(kind, Source) and kind.what == "variable":
            return
        if isinstance(kind, Source) and kind.what == "placeholder":
            raise unfed([op])
        if isinstance(kind, VariableIsInitialized):
            variable = variable_of(op.inputs[0])
            known = variable is not None and (variable.name in self.assigned or self.store.is_initialized(variable.name))
            self.values.setdefault(op.outputs[0], np.asarray(known))
            return
        try:
            # Infinities and NaNs are results, as in native code, and nothing to warn of.
            with np.errstate(all="ignore"):
                results = self.compute(op, kind) if self.trace is None else self.trace.operation(op, kind, self)
        except OpError as e:
            if e.op is not None or isinstance(e, UninitializedVariableError):
                raise
            raise type(e)(op=op, node_def=op, message=describe(op, e.message)) from None  # the op's own, which knows no place
        except Exception as e:
            raise _run_error(op, kind, e) from (e if isinstance(kind, Host) else None)
        for t, r in zip(op.outputs, results, strict=True):
            if t not in self.values:  # it may be fed
                self.values[t] = np.asarray(r, dtype=t.base_dtype.numpy_dtype)

    def compute(self, op: Operation, kind: object) -> Sequence[Array]:
        if isinstance(kind, StateUpdate):
            return self.update(op, kind)
        inputs = [self.value(t) for t in op.inputs]
        _check_types(op, inputs)
        if isinstance(kind, Random):
            return [self.random(op, kind, inputs)]
        if op in self.executable.sizes:
            _check_size(op, inputs)
        assert op.op_def.reference is not None, f"{op.type} has no reference"
        # Products, and host functions of ours that may multiply: not the user's own functions, whose BLAS is theirs to set.
        ours = isinstance(kind, Contraction) or (isinstance(kind, Host) and not kind.stateful)
        with one_blas_thread() if ours and has_pool() else nullcontext():
            result = op.op_def.reference(op.attrs, *inputs)
        # After the reference, which may itself refuse its operands, and say which of their elements.
        if isinstance(kind, Elementwise) and kind.check is not None and _is_refused(op, kind.check, inputs):
            raise InvalidArgumentError(op=op, node_def=op, message=describe(op, kind.failure(op.attrs)))
        return list(result) if isinstance(result, (tuple, list)) else [result]

    def update(self, op: Operation, kind: StateUpdate) -> Sequence[Array]:
        inputs: list[Array] = []
        targets: list[Operation] = []
        for i, t in enumerate(op.inputs):
            if i not in kind.refs:
                inputs.append(self.value(t))
                continue
            variable = variable_behind(t)
            assert variable is not None, f"{t.name} is no variable"
            targets.append(variable)
            known = variable.name in self.assigned or self.store.is_initialized(variable.name)
            # A variable without a value is about to get its first, which cannot depend on an old one (see `variables_read`).
            inputs.append(
                self.read(variable) if known else np.zeros(static_shape(t._shape or ()) or (), t.base_dtype.numpy_dtype)
            )
        _check_types(op, inputs)
        assert op.op_def.reference is not None
        result = op.op_def.reference(op.attrs, *inputs)
        news = list(result) if isinstance(result, (tuple, list)) else [result]
        for variable, new in zip(targets, news, strict=True):
            self.assigned[variable.name] = np.array(new, dtype=variable.outputs[0].base_dtype.numpy_dtype, copy=True)
        return [self.assigned[v.name] for v in targets][: len(op.outputs)]

    def random(self, op: Operation, kind: Random, inputs: list[Array]) -> Array:
        b = NumpyBuilder()
        types = tuple(TensorType(t.base_dtype, a.shape) for t, a in zip(op.inputs, inputs, strict=True))
        operands = op.op_def.shape_operands
        shape = tuple(int(d) for d in np.asarray(inputs[operands[0]]).ravel()) if operands else inputs[0].shape
        if min(shape, default=0) < 0:
            raise ShapeError(f"{op.type}: Dimension {min(shape)} must be >= 0 in shape {list(shape)}")
        out = TensorType(op.outputs[0].base_dtype, shape)
        values = tuple(
            tuple(int(d) for d in a.ravel()) if i in operands and a.ndim else int(a) if i in operands else None
            for i, a in enumerate(inputs)
        )
        # The same counters as in native code: both back ends draw the same numbers.
        element = np.arange(int(np.prod(shape, dtype=np.int64)), dtype=np.uint64).reshape(shape)
        count = np.asarray(self.counts[op.name], np.uint64)
        draw = philox.draws(b, element, np.broadcast_to(count, shape), op.attrs.seed, op.attrs.seed2)
        scalars = [a for i, a in enumerate(inputs) if i not in operands]
        result: Array = np.broadcast_to(kind.rule(b, LowerContext(op.attrs, types, (out,), values), draw, *scalars), shape)
        return result


def _is_refused(op: Operation, check: Callable[..., Any], inputs: Sequence[Array]) -> bool:
    return bool(np.any(check(NumpyBuilder(), op.attrs, *np.broadcast_arrays(*inputs))))


def _check_types(op: Operation, inputs: Sequence[Array]) -> None:
    """Runs the op's inference on the actual inputs, because its errors are in the user's terms and numpy's are not."""
    static = all(t._shape is not None and static_shape(t._shape) is not None for t in op.inputs)
    if static and all(op.inputs[i]._shape_value is not None for i in op.op_def.shape_operands if i < len(op.inputs)):
        return  # it has been checked when the graph was built

    types = [TensorType(as_dtype(a.dtype), a.shape) for a in inputs]
    op.op_def.infer(InferContext(op.op_def.name, RUN_POLICY, lambda i: _shape_value(inputs[i])), op.attrs, *types)


def _shape_value(a: Array) -> ShapeValue | None:
    if a.dtype.kind not in "iu" or a.ndim > 1 or a.size > 64:
        return None
    return int(a) if a.ndim == 0 else tuple(int(v) for v in a)


def _check_size(op: Operation, inputs: Sequence[Array]) -> None:
    """Fails where an integer made of sizes does not fit its type: numpy would wrap it."""
    assert op.op_def.shape_value is not None
    types = tuple(TensorType(as_dtype(a.dtype), a.shape) for a in inputs)
    found = op.op_def.shape_value(op.attrs, types, tuple(map(_shape_value, inputs)))
    for value in found if isinstance(found, list) else [found]:
        dtype = op.outputs[0].base_dtype
        if value is not None and overflows(value, dtype):
            raise InvalidArgumentError(message=does_not_fit(op.type, value, dtype))


def _run_error(op: Operation, kind: object, e: Exception) -> OpError:
    """TensorFlow's error for an exception in numpy, or in a user's function (Host)."""
    cause = e.__cause__ if isinstance(kind, Host) and isinstance(e.__cause__, Exception) else e
    if isinstance(cause, OpError):
        return type(cause)(op=op, node_def=op, message=describe(op, str(e)))
    found = next((ours for theirs, ours in _ERRORS if isinstance(cause, theirs)), UnknownError)
    # Of a function of the user's own the class tells something; our texts tell all.
    what = f"{type(e).__name__}: {e}" if isinstance(kind, Host) and cause is e and not isinstance(e, GraphFlowError) else str(e)
    return found(op=op, node_def=op, message=describe(op, what))


_ERRORS: tuple[tuple[type[Exception], type[OpError]], ...] = (
    (StopIteration, OutOfRangeError),
    (NotImplementedError, UnimplementedError),
    (MemoryError, OutOfMemoryError),
    (GraphFlowError, InvalidArgumentError),
    (ValueError, InvalidArgumentError),
    (TypeError, InvalidArgumentError),
    (LookupError, InvalidArgumentError),
    (ArithmeticError, InvalidArgumentError),
)
