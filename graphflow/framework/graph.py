"""`Graph`: the append-only list of operations that users build, with its names, scopes and collections."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

from graphflow.framework import context, provenance
from graphflow.framework.errors import (
    ArgumentError,
    BuildError,
    DTypeError,
    GraphFinalizedError,
    NameCollisionError,
    WrongGraphError,
)
from graphflow.framework.folding import MOST_ENTRIES, folded_value
from graphflow.framework.kinds import ShapeValue, TensorType, overflows
from graphflow.framework.registry import NO_ATTRS, InferContext, OpDef, lookup
from graphflow.framework.shapes import GRAPH_POLICY, fresh_number, is_open
from graphflow.framework.tensor import Operation, Tensor

__all__ = ["Graph", "Operation", "Tensor"]

_VALID_NAME = re.compile(r"^[A-Za-z0-9.][A-Za-z0-9_.\\/>-]*\Z")
_VALID_SCOPE = re.compile(r"^[A-Za-z0-9_.\\/>-]*\Z")
_MAX_NAME = 4096


class _NameScope(threading.local):
    """The name scope in which a thread makes ops. Threads that build one graph are in scopes of their own."""

    name = ""


class Graph:
    """A TensorFlow-style graph. Thread-safe for building; `finalize` makes it read-only."""

    def __init__(self) -> None:
        self._operations: list[Operation] = []
        self._by_name: dict[str, Operation] = {}
        # Lower-case name -> the first suffix that is not yet known to be taken.
        self._names_in_use: dict[str, int] = {}
        self._collections: dict[Any, list[Any]] = {}
        self._finalized = False
        self._lock = threading.RLock()
        self._scope = _NameScope()
        self._control_stack: list[tuple[Operation, ...] | None] = []
        self._device_stack: list[Any] = []
        self._colocation: list[Operation] = []
        self._gradient_overrides: dict[str, str] = {}
        self.seed: int | None = None
        self.is_expansion = False  # whether it is made for one op, when a run knows what that needs (`framework.deferred`)
        self.scope_state: dict[str, Any] = {}  # what graphflow.variables.scope keeps for each graph

    # ------------------------------------------------------------------ building
    def create_op(
        self,
        op: OpDef | str,
        inputs: Sequence[Tensor] = (),
        attrs: Any = NO_ATTRS,
        name: str | None = None,
        control_inputs: Iterable[Operation] = (),
        frames: provenance.RawFrames | None = None,
    ) -> Operation:
        """Adds one operation and infers its outputs' types.

        Args:
            op: the definition, or its name in the table of ops.
            inputs: tensors of this graph.
            attrs: an instance of the op's class of attributes.
            name: put into the current scope and made unique; a name that ends in ``/`` is taken as it is.
            control_inputs: operations that must run before, besides those of `control_dependencies` blocks.
            frames: the user's line, where the caller has captured it already.

        Raises:
            ShapeError, DTypeError: the inputs do not go together.
            WrongGraphError: an input belongs to another graph.
            GraphFinalizedError: the graph is read-only.
        """
        op_def = lookup(op) if isinstance(op, str) else op
        if frames is None:
            frames = provenance.capture()
        with self._lock:
            if self._finalized:
                raise GraphFinalizedError("Graph is finalized and cannot be modified.")
            inputs = tuple(inputs)
            for t in inputs:
                if t.op.graph is not self:
                    raise WrongGraphError(
                        f"{op_def.name}: {t!r} must be from the same graph as the other inputs "
                        f"({inputs[0]!r}); it belongs to another Graph.\n"
                        f"  created at {provenance.Location(frames)}"
                    )
            types = tuple([t.type for t in inputs])
            values = tuple([t._shape_value for t in inputs])
            value_of = partial(_value_of, inputs) if op_def.shape_operands else values.__getitem__
            # Inference comes before the name is taken: an op that fails leaves no gap in the names.
            try:
                outputs = op_def.infer(InferContext(op_def.name, GRAPH_POLICY, value_of), attrs, *types)
            except BuildError as e:
                raise type(e)(self._describe(str(e), inputs, frames)) from None
            full_name = self._op_name(name or op_def.name)
            controls = self._controls_for(inputs, control_inputs) if self._control_stack or control_inputs else ()
            device = self._current_device() if self._device_stack else ""
            operation = Operation(self, op_def, full_name, inputs, attrs, controls, device, frames, len(self._operations))
            is_ref = op_def.makes_ref
            if len(outputs) == 1:
                operation._outputs = made = Tensor(operation, 0, outputs[0], is_ref)
                # Only integers can be shapes or sizes.
                if op_def.shape_value is not None and outputs[0].dtype.kind in "iu":
                    made._shape_value = _shape_value(op_def, attrs, types, values, outputs[0])
            else:
                operation._outputs = tuple([Tensor(operation, i, t, is_ref) for i, t in enumerate(outputs)])
                if op_def.shape_value is not None and outputs and outputs[0].dtype.kind in "iu":
                    for i, t in enumerate(operation._outputs):
                        t._shape_value = _shape_value(op_def, attrs, types, values, outputs[i], i)
            if self._colocation:
                operation.colocation = self._colocation[-1]
            if self._gradient_overrides:
                operation.gradient_name = self._gradient_overrides.get(op_def.name)
            # Registered last, so that an op that could not be made leaves no trace.
            for t in inputs:
                t._add_consumer(operation)
            self._operations.append(operation)
            self._by_name[full_name] = operation
            return operation

    def _describe(self, what: str, inputs: Sequence[Tensor], frames: provenance.RawFrames) -> str:
        lines = [what, f"  created at {provenance.Location(frames)}"]
        for t in inputs:
            lines.append(f"  {t.op.type} '{t.op.name}' {t.type} ({t.op.created_at.short()})")
        return "\n".join(lines)

    def _controls_for(self, inputs: Sequence[Tensor], extra: Iterable[Operation]) -> tuple[Operation, ...]:
        controls: dict[Operation, None] = dict.fromkeys(extra)
        for group in reversed(self._control_stack):
            if group is None:
                break
            controls.update(dict.fromkeys(group))
        for t in inputs:
            controls.pop(t.op, None)  # a data edge already orders them
        return tuple(controls)

    # ------------------------------------------------------------------ names and scopes
    def unique_name(self, name: str, mark_as_used: bool = True) -> str:
        """`name` in the current scope, made unique (case-insensitively) with ``_1``, ``_2`` ..."""
        # As in TensorFlow, names that differ only in case are the same: "X" after "x" becomes "X_1".
        with self._lock:
            if self._scope.name:
                name = self._scope.name + "/" + name
            key = name.lower()
            i = self._names_in_use.get(key, 0)
            if mark_as_used:
                self._names_in_use[key] = i + 1
            if i > 0:
                base = key
                while key in self._names_in_use:
                    key = f"{base}_{i}"
                    i += 1
                # The generated name is taken, too: whoever asks for "x_1" itself later gets "x_1_1".
                if mark_as_used:
                    self._names_in_use[key] = 1
                name = f"{name}_{i - 1}"
            return name

    def _op_name(self, name: str) -> str:
        # One that is taken as it is may hold scopes, and any number of them.
        if not _VALID_NAME.match(name) or (len(name) > _MAX_NAME and not name.endswith("/")):
            shown = name if len(name) < 80 else name[:77] + "..."
            raise NameCollisionError(
                f"'{shown}' is not a valid node name: it must match [A-Za-z0-9.][A-Za-z0-9_.\\/>-]* and be at most "
                f"{_MAX_NAME} long"
            )
        # The exact name, which a scope has reserved. It is marked as used, and must not be there twice.
        if name.endswith("/"):
            taken = name[:-1]
            if taken in self._by_name:
                raise NameCollisionError(f"an operation named '{taken}' exists already in this graph")
            self._names_in_use.setdefault(taken.lower(), 1)
            return taken
        return self.unique_name(name)

    @contextmanager
    def name_scope(self, name: str | None) -> Iterator[str]:
        """Prefixes the names of ops made inside. Yields the scope with its ``/``; None resets to the root."""
        if name is not None and not isinstance(name, str):
            raise TypeError(f"name for name_scope must be a string, got {name!r}")
        if name:
            # As in TensorFlow: only below another scope may a name start with "_" or another sign.
            pattern = _VALID_SCOPE if self._scope.name else _VALID_NAME
            if not pattern.match(name):
                raise NameCollisionError(f"'{name}' is not a valid scope name")
        old = self._scope.name
        if not name:
            new = ""
        elif name.endswith("/"):
            new = name[:-1]
        else:
            new = self.unique_name(name)
        self._scope.name = new
        try:
            yield "" if not new else new + "/"
        finally:
            self._scope.name = old

    def get_name_scope(self) -> str:
        return self._scope.name

    @contextmanager
    def control_dependencies(self, control_inputs: Iterable[Any] | None) -> Iterator[None]:
        """Ops made inside run after `control_inputs` (operations or tensors). None drops those of the blocks around it."""
        # A new stack and not an empty entry, so that blocks opened inside start from nothing.
        if control_inputs is None:
            old, self._control_stack = self._control_stack, []
            try:
                yield
            finally:
                self._control_stack = old
            return
        group: list[Operation] = []
        for item in control_inputs:
            element = self.as_graph_element(item)
            group.append(element.op if isinstance(element, Tensor) else element)
        self._control_stack.append(tuple(group))
        try:
            yield
        finally:
            self._control_stack.pop()

    @contextmanager
    def device(self, device: Any) -> Iterator[None]:
        """A device request (string, function of the operation's name, or None) for the ops made inside."""
        self._device_stack.append(device)
        try:
            yield
        finally:
            self._device_stack.pop()

    def _current_device(self) -> str:
        for device in reversed(self._device_stack):
            if device is None:
                return ""
            if isinstance(device, str):
                return canonical_device(device)
        return ""

    @contextmanager
    def colocate_with(self, op: Any, ignore_existing: bool = False) -> Iterator[None]:
        self._colocation.append(op.op if isinstance(op, Tensor) else op)
        try:
            yield
        finally:
            self._colocation.pop()

    @contextmanager
    def gradient_override_map(self, overrides: dict[str, str]) -> Iterator[None]:
        """Ops of the given types made inside use the gradient registered under the mapped name."""
        old, self._gradient_overrides = self._gradient_overrides, {**self._gradient_overrides, **overrides}
        try:
            yield
        finally:
            self._gradient_overrides = old

    def as_default(self) -> AbstractContextManager[Graph]:
        """``with g.as_default():`` makes g this thread's default graph."""
        return context.graphs.entered(self)

    # ------------------------------------------------------------------ looking up
    def get_operations(self) -> list[Operation]:
        """All operations in creation order."""
        return list(self._operations)

    @property
    def version(self) -> int:
        """Grows with every op added."""
        return len(self._operations)

    def as_graph_element(self, obj: Any, allow_tensor: bool = True, allow_operation: bool = True) -> Any:
        """The Tensor or Operation that `obj` (a name, Tensor, Operation, Variable ...) stands for.

        Raises KeyError (no such name), ValueError (malformed, or of another graph), TypeError (not convertible).
        """
        types = " or ".join(k for k, on in (("Tensor", allow_tensor), ("Operation", allow_operation)) if on)
        # How a Variable, which this module must not know, says what it stands for.
        convert = getattr(obj, "_as_graph_element", None)
        if convert is not None:
            obj = convert()
        if isinstance(obj, bytes):
            obj = obj.decode()
        if isinstance(obj, str):
            return self._element_by_name(obj, allow_tensor, allow_operation)
        if isinstance(obj, Tensor) and allow_tensor:
            if obj.graph is not self:
                raise WrongGraphError(f"Tensor {obj} is not an element of this graph.")
            return obj
        if isinstance(obj, Operation) and allow_operation:
            if obj.graph is not self:
                raise WrongGraphError(f"Operation {obj!r} is not an element of this graph.")
            return obj
        raise TypeError(f"Can not convert a {type(obj).__name__} into a {types}.")

    def _element_by_name(self, name: str, allow_tensor: bool, allow_operation: bool) -> Any:
        # The texts are TensorFlow's, with close matches added: scripts and their authors look for these words.
        if ":" in name and allow_tensor:
            op_name, _, index = name.rpartition(":")
            if not index.isdigit():
                raise ArgumentError(f"The name {name!r} looks like a Tensor name, but is not a valid one: 'op:index'.")
            op = self._by_name.get(op_name)
            if op is None:
                raise KeyError(
                    f"The name {name!r} refers to a Tensor which does not exist. The operation, {op_name!r}, does not "
                    f"exist in the graph.{self._near(op_name)}"
                )
            if int(index) >= len(op.outputs):
                raise KeyError(
                    f"The name {name!r} refers to a Tensor which does not exist. The operation, {op_name!r}, exists but "
                    f"only has {len(op.outputs)} outputs."
                )
            return op.outputs[int(index)]
        if ":" in name:
            raise ArgumentError(f"The name {name!r} appears to refer to a Tensor, not an Operation.")
        if not allow_operation:
            if name in self._by_name:
                raise ArgumentError(
                    f"The name {name!r} refers to an Operation, not a Tensor. Tensor names must be of the form "
                    '"<op_name>:<output_index>".'
                )
            raise ArgumentError(
                f"The name {name!r} looks like an (invalid) Operation name, not a Tensor. Tensor names must be of the form "
                '"<op_name>:<output_index>".'
            )
        found = self._by_name.get(name)
        if found is None:
            raise KeyError(f"The name {name!r} refers to an Operation not in the graph.{self._near(name)}")
        return found

    def _near(self, name: str) -> str:
        # Loaded for errors only. In larger graphs the search ends at a number of names that takes no noticeable time.
        import difflib

        near = difflib.get_close_matches(name, list(self._by_name)[:20000], 3)
        return f" Close matches: {', '.join(near)}." if near else ""

    def get_operation_by_name(self, name: str) -> Operation:
        if not isinstance(name, str):
            raise TypeError(f"Operation names are strings (or similar), not {type(name).__name__}.")
        found: Operation = self.as_graph_element(name, allow_tensor=False)
        return found

    def get_tensor_by_name(self, name: str) -> Tensor:
        if not isinstance(name, str):
            raise TypeError(f"Tensor names are strings (or similar), not {type(name).__name__}.")
        found: Tensor = self.as_graph_element(name, allow_operation=False)
        return found

    def is_fetchable(self, element: Any) -> bool:
        return True

    def is_feedable(self, tensor: Any) -> bool:
        return isinstance(self.as_graph_element(tensor), Tensor)

    # ------------------------------------------------------------------ collections, finalize, seed
    def add_to_collection(self, name: Any, value: Any) -> None:
        self._check_not_finalized()
        self._collections.setdefault(name, []).append(value)

    def add_to_collections(self, names: Any, value: Any) -> None:
        for name in (names,) if isinstance(names, str) else tuple(dict.fromkeys(names)):
            self.add_to_collection(name, value)

    def get_collection(self, name: Any, scope: str | None = None) -> list[Any]:
        """A copy of the collection; `scope` keeps the items whose name matches it from the start (``re.match``)."""
        items = self._collections.get(name, [])
        if scope is None:
            return list(items)
        pattern = re.compile(scope)
        # As in TensorFlow: items without a name belong to no scope.
        return [i for i in items if hasattr(i, "name") and pattern.match(i.name)]

    def get_collection_ref(self, name: Any) -> list[Any]:
        return self._collections.setdefault(name, [])

    def get_all_collection_keys(self) -> list[Any]:
        return [k for k, v in self._collections.items() if v and isinstance(k, str)]

    def clear_collection(self, name: Any) -> None:
        self._check_not_finalized()
        self._collections.pop(name, None)

    def finalize(self) -> None:
        self._finalized = True

    @property
    def finalized(self) -> bool:
        return self._finalized

    def _unsafe_unfinalize(self) -> None:
        self._finalized = False

    def _check_not_finalized(self) -> None:
        if self._finalized:
            raise GraphFinalizedError("Graph is finalized and cannot be modified.")

    def to_networkx(self) -> Any:
        """A networkx.MultiDiGraph: a node per operation (attributes type, device, shapes), an edge per input."""
        # networkx takes longer to load than all of graphflow.
        import networkx

        g = networkx.MultiDiGraph()
        for op in self._operations:
            g.add_node(op.name, type=op.type, device=op.device, outputs=[str(t.type) for t in op.outputs])
        for op in self._operations:
            for slot, t in enumerate(op.inputs):
                g.add_edge(t.op.name, op.name, tensor=t.name, slot=slot, control=False)
            for before in op._control_inputs:
                g.add_edge(before.name, op.name, tensor=None, slot=-1, control=True)
        return g


def _value_of(inputs: Sequence[Tensor], i: int) -> ShapeValue | None:
    t = inputs[i]
    return folded_value(t) if t._shape_value is None else t._shape_value


def _shape_value(
    op: OpDef, attrs: Any, types: Sequence[TensorType], values: Sequence[ShapeValue | None], out: TensorType, index: int = 0
) -> ShapeValue | None:
    assert op.shape_value is not None
    vector = out.shape is not None and len(out.shape) == 1 and isinstance(out.shape[0], int) and out.shape[0] <= MOST_ENTRIES
    if vector and None in values:
        # In [n, 3] the 3 is known whatever n is: what is not known stands for itself.
        scalars = any(t.shape == () for t in types)
        values = tuple([_open(t, scalars) if v is None else v for v, t in zip(values, types, strict=True)])
    found = op.shape_value(attrs, types, values)
    value = found[index] if isinstance(found, list) else found
    if value is not None and overflows(value, out.dtype):
        return None  # what becomes of it is left to the run
    if isinstance(value, tuple):
        # Following the values of data would be work for nothing.
        return None if len(value) > MOST_ENTRIES or (vector and value and all(map(is_open, value))) else value
    return None if value is None or is_open(value) else value


def _open(t: TensorType, beside_scalars: bool) -> ShapeValue | None:
    """The value of an operand that only a run knows, entry by entry; None if it is no small vector of integers.

    What makes a vector of scalars is given scalars alone.
    """
    if t.dtype.kind not in "iu" or (t.shape is None and not beside_scalars) or (t.shape is not None and len(t.shape) > 1):
        return None
    if not t.shape:
        return fresh_number()
    count = t.shape[0]
    return tuple([fresh_number() for _ in range(count)]) if isinstance(count, int) and count <= MOST_ENTRIES else None


def canonical_device(device: str) -> str:
    """``/cpu:0`` -> ``/device:CPU:0``; jobs and tasks are kept."""
    parts = []
    for part in device.strip("/").split("/"):
        m = re.fullmatch(r"(?:device:)?(cpu|gpu|CPU|GPU):(\d+|\*)", part)
        parts.append(f"device:{m[1].upper()}:{m[2]}" if m else part)
    return "/" + "/".join(parts) if device else ""


def check_same_dtype(op_name: str, **inputs: Tensor) -> None:
    """DTypeError, in TensorFlow's words, unless all inputs have one dtype."""
    items = list(inputs.items())
    first_name, first = items[0]
    for name, t in items[1:]:
        if t.base_dtype is not first.base_dtype:
            raise DTypeError(
                f"Input '{name}' of '{op_name}' Op has type {t.base_dtype.name} that does not match type "
                f"{first.base_dtype.name} of argument '{first_name}'."
            )
