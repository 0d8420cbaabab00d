"""`Operation` and `Tensor`: the nodes and values of the graph that users hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from graphflow.framework.dtypes import DType, ref_of
from graphflow.framework.errors import ShapeError
from graphflow.framework.folding import folded_value
from graphflow.framework.kinds import ShapeValue, TensorType
from graphflow.framework.provenance import Location, RawFrames
from graphflow.framework.registry import OpDef, TensorValue
from graphflow.framework.shapes import (
    GRAPH_POLICY,
    Shape,
    TensorShape,
    as_internal,
    format_shape,
    is_open,
    to_public,
)

if TYPE_CHECKING:
    from graphflow.framework.graph import Graph


class NodeDef(str):
    """An operation as text, with the fields of TensorFlow's NodeDef."""

    node: Operation

    def __reduce__(self) -> tuple[Any, ...]:
        return str, (str(self),)  # no graph goes to another process

    @property
    def name(self) -> str:
        return self.node.name

    @property
    def op(self) -> str:
        """The name of the kind of operation, such as ``MatMul``."""
        return self.node.type

    @property
    def input(self) -> list[str]:
        """The names of what it takes: tensors, and behind a ``^`` operations that must run before."""
        return _input_names(self.node)

    @property
    def device(self) -> str:
        return self.node.device

    @property
    def attr(self) -> dict[str, Any]:
        return dict(self.node._attr_items())


class Operation:
    """A node of the graph. Made by `Graph.create_op`, never directly."""

    __slots__ = (
        "__weakref__", "_control_inputs", "_device", "_frames", "_id", "_name", "_outputs", "attrs", "colocation",
        "gradient_name", "graph", "inputs", "op_def",
    )  # fmt: skip

    def __init__(
        self, graph: Graph, op_def: OpDef, name: str, inputs: tuple[Tensor, ...], attrs: Any,
        control_inputs: tuple[Operation, ...], device: str, frames: RawFrames, ident: int,
    ) -> None:  # fmt: skip
        self.graph = graph
        self.op_def = op_def
        self._name = name
        self.inputs = inputs
        self.attrs = attrs
        self._control_inputs = control_inputs
        self._device = device
        self._frames = frames
        self._id = ident
        # The tensor alone where there is one: a list around it would cost as much memory, and as much of the garbage
        # collector's time, as the tensor itself.
        self._outputs: Tensor | tuple[Tensor, ...] = ()
        self.colocation: Operation | None = None
        self.gradient_name: str | None = None  # set by Graph.gradient_override_map

    @property
    def name(self) -> str:
        return self._name

    @property
    def type(self) -> str:
        return self.op_def.name

    @property
    def outputs(self) -> list[Tensor]:
        """The tensors it makes."""
        made = self._outputs
        return [made] if isinstance(made, Tensor) else list(made)

    @property
    def device(self) -> str:
        return self._device

    @property
    def control_inputs(self) -> list[Operation]:
        return list(self._control_inputs)

    @property
    def created_at(self) -> Location:
        """The user's line that made this op."""
        return Location(self._frames)

    @property
    def traceback(self) -> list[tuple[str, int, str]]:
        """(file, line, function) of the user frames, outermost first."""
        return self.created_at.traceback

    @property
    def node_def(self) -> NodeDef:
        """The node as text, in the manner of TensorFlow's NodeDef, with its fields as attributes."""
        lines = [f'name: "{self.name}"', f'op: "{self.type}"']
        lines += [f'input: "{name}"' for name in _input_names(self)]
        if self._device:
            lines.append(f'device: "{self._device}"')
        for field, value in self._attr_items():
            lines.append(f'attr {{\n  key: "{field}"\n  value: {value!r}\n}}')
        text = NodeDef("\n".join(lines) + "\n")
        text.node = self
        return text

    def _attr_items(self) -> list[tuple[str, Any]]:
        return [(f, getattr(self.attrs, f)) for f in getattr(type(self.attrs), "__dataclass_fields__", {})]

    def get_attr(self, name: str) -> Any:
        """The attribute `name`. Raises ValueError if the op has none of that name."""
        if name in getattr(type(self.attrs), "__dataclass_fields__", {}):
            value = getattr(self.attrs, name)
            return value.array if isinstance(value, TensorValue) else value
        if name in ("T", "dtype") and self.outputs:
            return self.outputs[0].dtype.base_dtype
        raise ValueError(f"No attr named {name!r} in op {self.name!r} of type {self.type}")

    def run(self, feed_dict: Any = None, session: Any = None) -> None:
        """Runs this op in the default (or given) session."""
        _session_for(session, self.graph, "Cannot execute operation using `run()`", "run").run(self, feed_dict)

    def values(self) -> tuple[Tensor, ...]:
        return tuple(self.outputs)

    def __str__(self) -> str:
        return self.node_def

    def __repr__(self) -> str:
        return f"<tf.Operation '{self.name}' type={self.type}>"


def _input_names(op: Operation) -> list[str]:
    tensors = [t.name if t.value_index else t.op.name for t in op.inputs]
    return tensors + [f"^{before.name}" for before in op._control_inputs]


class Tensor:
    """One output of an Operation: a value that exists only inside a run. Equality and hash are identity.

    (Both are those of `object`, which are fast: tensors are dict keys on the path of every run.)
    """

    __slots__ = (
        "__weakref__", "_consumers", "_shape", "_shape_value", "_type", "base_dtype", "is_ref", "op", "value_index",
    )  # fmt: skip

    # So that ``np_array + t`` asks the tensor: numpy would add the tensor to each element, and give an array of objects.
    __array_priority__ = 100
    __array_ufunc__ = None

    def __init__(self, op: Operation, index: int, type_: TensorType, is_ref: bool = False) -> None:
        self.op = op
        self.value_index = index
        self.base_dtype: DType = type_.dtype
        self.is_ref = is_ref
        self._shape: Shape | None = type_.shape
        self._type = type_
        # Symbolic value, for small integer tensors. Of a vector not all may be known: `shapes.is_open` tells which entries.
        self._shape_value: ShapeValue | None = None
        self._consumers: Operation | list[Operation] | None = None  # most tensors have one

    # ------------------------------------------------------------------ what it is
    @property
    def name(self) -> str:
        return f"{self.op.name}:{self.value_index}"

    @property
    def graph(self) -> Graph:
        return self.op.graph

    @property
    def dtype(self) -> DType:
        return ref_of(self.base_dtype) if self.is_ref else self.base_dtype

    @property
    def shape(self) -> TensorShape:
        """The static shape, as far as it is known."""
        return to_public(self._shape)

    def get_shape(self) -> TensorShape:
        return self.shape

    @property
    def type(self) -> TensorType:
        """dtype and internal shape (symbolic dims included)."""
        if self._type.shape is not self._shape:  # set_shape has refined it
            self._type = TensorType(self.base_dtype, self._shape)
        return self._type

    @property
    def device(self) -> str:
        return self.op.device

    def consumers(self) -> list[Operation]:
        """The operations that take it as an input, in creation order."""
        found = self._consumers
        if found is None:
            return []
        # An op that takes the tensor twice was added twice.
        return list(dict.fromkeys(found)) if isinstance(found, list) else [found]

    def _add_consumer(self, op: Operation) -> None:
        found = self._consumers
        if found is None:
            self._consumers = op
        elif isinstance(found, list):
            found.append(op)
        else:
            self._consumers = [found, op]

    def set_shape(self, shape: Any) -> None:
        """Refines the static shape in place. Raises ValueError if it contradicts what is known."""
        new = as_internal(shape)
        if new is None:
            return
        if self._shape is None:
            self._shape = new
            return
        old = self._shape

        def message() -> str:
            return (
                f"set_shape on {self.name}: shape {format_shape(new)} contradicts {format_shape(old)}. "
                f"Shapes {format_shape(old)} and {format_shape(new)} are not compatible. Dimensions must be equal"
            )

        if len(new) != len(old):
            raise ShapeError(message())
        # A dim that the new shape leaves open keeps its old symbol, so that what was inferred from it still agrees.
        self._shape = tuple(
            o if not isinstance(n, int) and str(n).startswith("?") else GRAPH_POLICY.unify(n, o, message)
            for o, n in zip(old, new, strict=True)
        )

    def static_value(self) -> ShapeValue | None:
        """The value of a small integer tensor, in terms of sizes; None if any of it is known in a run only."""
        value = self._shape_value
        if value is None:
            return folded_value(self)
        return None if isinstance(value, tuple) and any(map(is_open, value)) else value

    def eval(self, feed_dict: Any = None, session: Any = None) -> Any:
        """The value, computed in the default (or given) session."""
        return _session_for(session, self.graph, "Cannot evaluate tensor using `eval()`", "eval").run(self, feed_dict)

    # ------------------------------------------------------------------ what it is not
    def __bool__(self) -> bool:
        raise TypeError(
            "Using a `tf.Tensor` as a Python `bool` is not allowed. Use `if t is not None:` instead of `if t:` to test "
            "if a tensor is defined, and use TensorFlow ops such as tf.cond to execute subgraphs conditioned on the "
            "value of a tensor."
        )

    def __iter__(self) -> Iterator[Tensor]:
        # Without this method Python would iterate by `__getitem__`, which never ends where the size is unknown.
        if self._shape is None or not self._shape or not isinstance(self._shape[0], int):
            raise TypeError(
                f"Tensor {self.name} cannot be iterated: its first dimension is not known while the graph is built. "
                "`Tensor` objects are only iterable when it is; use tf.map_fn, tf.while_loop or tf.unstack."
            )
        return iter([self[i] for i in range(self._shape[0])])

    def __len__(self) -> int:
        raise TypeError(
            f"len is not well defined for a symbolic Tensor ({self.name}). Call `x.shape` rather than `len(x)` for shape "
            "information."
        )

    def __float__(self) -> float:
        raise TypeError(f"Tensor {self.name} has no value yet: run it in a Session, then float() the result.")

    def __int__(self) -> int:
        raise TypeError(f"Tensor {self.name} has no value yet: run it in a Session, then int() the result.")

    def __index__(self) -> int:
        raise TypeError(f"Tensor {self.name} has no value yet, so it cannot be used as a Python index.")

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(
            f"Cannot convert a symbolic Tensor ({self.name}) to a numpy array: it has no value until "
            "Session.run(tensor) computes it."
        )

    if TYPE_CHECKING:  # given by install_operators when graphflow.ops is imported

        def __add__(self, other: Any) -> Tensor: ...
        def __neg__(self) -> Tensor: ...
        def __getitem__(self, key: Any) -> Tensor: ...

        __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = __add__
        __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = __pow__ = __rpow__ = __matmul__ = __rmatmul__ = __add__
        __lt__ = __le__ = __gt__ = __ge__ = __and__ = __rand__ = __or__ = __ror__ = __xor__ = __rxor__ = __add__
        __invert__ = __abs__ = __neg__

    def __copy__(self) -> Tensor:
        return self

    def __str__(self) -> str:
        shape = "" if self._shape is None else f", shape={self.shape}"
        device = f", device={self.device}" if self.device else ""
        return f'Tensor("{self.name}"{shape}, dtype={self.dtype.name}{device})'

    def __repr__(self) -> str:
        return f"<tf.Tensor '{self.name}' shape={self.shape} dtype={self.dtype.name}>"


def _session_for(session: Any, graph: Graph, what: str, verb: str) -> Any:
    from graphflow.framework.context import get_default_session

    # The default session is compared with the graph, since a session left open by
    # earlier code is easily the wrong one.
    if session is None:
        session = get_default_session()
        if session is None:
            raise ValueError(
                f"{what}: No default session is registered. Use `with sess.as_default()` or pass an explicit session to "
                f"`{verb}(session=sess)`"
            )
        if session.graph is not graph:
            raise ValueError(
                f"{what}: the default session's graph is different from the tensor's graph. Pass an explicit session "
                f"to `{verb}(session=sess)`."
            )
    return session


def install_operators(table: dict[str, Callable[..., Any]]) -> None:
    """Gives Tensor its Python operators (``__add__`` ...). The op library calls it, which this module must not import."""
    for name, function in table.items():
        setattr(Tensor, name, function)
