"""A graph as JSON and back: nodes in the order they were made, which is also an order of execution.

    {"nodes": [{"name": "y", "op": "MatMul", "inputs": ["x:0", "W/read:0"], "attrs": {...},
                "outputs": [["float32", [32, 10]]]}, ...],
     "variables": [{"variable": "W:0", "initializer": "W/Assign", "snapshot": "W/read:0", "initial_value": "zeros:0",
                    "trainable": true}, ...],
     "collections": {"losses": [{"tensor": "loss:0"}], ...}, "seed": 1}

A node leaves out what is empty, or a version of 1: "version", "inputs", "control", "attrs", "device", "colocate" and "gradient"
(the name of a registered gradient that overrides the op's). The reader trusts nothing: it builds every node through
`Graph.create_op` and compares the inferred types with the recorded ones.
"""

from __future__ import annotations

import dataclasses
import difflib
import logging
from collections.abc import Callable, Collection
from typing import Any, NoReturn

import numpy as np

from graphflow.framework.dims import bounded_cost
from graphflow.framework.errors import CorruptFileError, FormatError, UnknownOpError, VersionError
from graphflow.framework.graph import Graph, Operation, Tensor
from graphflow.framework.kinds import Source, StateUpdate, TensorType, VariableIsInitialized
from graphflow.framework.registry import OpDef, all_ops, lookup
from graphflow.framework.shapes import Dim, Shape, SymDim
from graphflow.io.attributes import Decoder, Encoder, dtype_named, fits
from graphflow.variables.variable import Variable

_LOG = logging.getLogger("graphflow")
_NODE_KEYS = {"name", "op", "version", "inputs", "control", "attrs", "device", "colocate", "gradient", "outputs"}
_VARIABLE_KEYS = {"variable", "initializer", "snapshot", "initial_value", "trainable"}
#: What arithmetic on sizes may cost (see `bounded_cost`): some 0.1 s, and 100 times as much as any graph needs for its text.
_COST_AT_LEAST, _COST_PER_BYTE = 300_000, 20
_MIN_NODE_BYTES = 20  # of {"name":"a","op":"b",...}: bounds how many nodes a text can hold


# ---------------------------------------------------------------------------------------------- writing


def graph_to_json(graph: Graph) -> tuple[dict[str, Any], dict[str, np.ndarray[Any, Any]]]:
    """The graph as a JSON value, and the constants that it refers to by name.

    Collections keep tensors, operations, variables, strings, numbers and bools; other items are left out, with a log message.

    Raises:
        FormatError: an operation holds what no file can hold, such as the Python function of a py_func.
    """
    encoder = Encoder()
    result: dict[str, Any] = {"nodes": [_node(op, encoder) for op in graph.get_operations()]}
    variables: dict[Variable, int] = {}
    collections: dict[str, list[Any]] = {}
    for key in graph.get_all_collection_keys():
        items = [_item(item, variables) for item in graph.get_collection(key)]
        # Collections may hold anything, such as Python objects of a script: only what a file can hold is kept.
        kept = [i for i in items if i is not None]
        if len(kept) < len(items):
            _LOG.info("collection %r: %d items of types that no file can hold are not saved", key, len(items) - len(kept))
        if kept:
            collections[key] = kept
    if variables:
        result["variables"] = [_variable(v) for v in variables]
    if collections:
        result["collections"] = collections
    if graph.seed is not None:
        if not fits(int(graph.seed)):
            raise FormatError(f"the seed of the graph, {graph.seed}, does not fit into 64 bits")
        result["seed"] = int(graph.seed)
    return result, encoder.tensors


def calls_python(op: OpDef) -> bool:
    """Whether the op calls a Python function: its attribute `token` stands for one, in this process only."""
    return "token" in (f.name for f in dataclasses.fields(op.attrs))


def _node(op: Operation, encoder: Encoder) -> dict[str, Any]:
    if calls_python(op.op_def):
        raise FormatError(
            f"operation '{op.name}' ({op.type}, {op.created_at.short()}) cannot be saved: it calls a Python function, and "
            "no file can hold one. Save the variables alone (train.Saver), or a graph without it."
        )
    node: dict[str, Any] = {
        "name": op.name,
        "op": op.type,
        "outputs": [[t.base_dtype.name, encoder.shape(t.type.shape)] for t in op.outputs],
    }
    optional: dict[str, Any] = {
        "inputs": [t.name for t in op.inputs],
        "control": [c.name for c in op.control_inputs],
        "attrs": encoder.attrs(op.attrs, op.name),
        "device": op.device,
        "colocate": "" if op.colocation is None else op.colocation.name,
        "gradient": op.gradient_name or "",
    }
    # Left out where empty: most nodes have no control inputs, device or override, and files stay small.
    node.update((k, v) for k, v in optional.items() if v)
    if op.op_def.version != 1:
        node["version"] = op.op_def.version
    return node


def _variable(v: Variable) -> dict[str, Any]:
    return {
        "variable": v.name,
        "initializer": v.initializer.name,
        "snapshot": v.value().name,
        "initial_value": v.initial_value.name,
        "trainable": v.trainable,
    }


def _item(item: Any, variables: dict[Variable, int]) -> Any:
    if isinstance(item, Variable):
        return {"variable": variables.setdefault(item, len(variables))}
    if isinstance(item, Tensor):
        return {"tensor": item.name}
    if isinstance(item, Operation):
        return {"op": item.name}
    if isinstance(item, (bool, str)) or (isinstance(item, int) and fits(item)):
        return item
    if isinstance(item, float):
        return {"float": item.hex()}
    return None


# ---------------------------------------------------------------------------------------------- reading


def graph_from_json(
    raw: dict[str, Any], tensor: Callable[[str], np.ndarray[Any, Any]], names: Collection[str], text_bytes: int
) -> tuple[Graph, set[str]]:
    """The graph of a JSON value, and the names of the tensors that its constants used.

    Raises:
        FormatError: UnknownOpError, VersionError (of an op) or CorruptFileError, naming the node.
    """
    if not raw.keys() <= {"nodes", "variables", "collections", "seed"}:
        raise CorruptFileError(f"the graph has an unknown part '{min(raw.keys())[:80]}'")
    nodes = _a(raw.get("nodes"), list, "the nodes of the graph")
    # A text of so many bytes cannot hold so many nodes: no memory is taken for what a file merely claims.
    if len(nodes) * _MIN_NODE_BYTES > text_bytes:
        raise CorruptFileError(f"{len(nodes):,} nodes do not fit into {text_bytes:,} bytes")
    decoder = Decoder(tensor, names)
    graph = Graph()
    builder = _Builder(graph, decoder, nodes)
    with bounded_cost(_COST_AT_LEAST + _COST_PER_BYTE * text_bytes):
        for node in nodes:
            builder.add(node)
    _mark_scopes(graph)
    variables = [builder.variable(v) for v in _a(raw.get("variables", []), list, "the variables")]
    for key, items in _a(raw.get("collections", {}), dict, "the collections").items():
        for item in _a(items, list, f"collection '{key}'"):
            graph.add_to_collection(key, builder.item(item, variables))
    seed = raw.get("seed")
    if seed is not None and (type(seed) is not int or not fits(seed)):
        raise CorruptFileError("the seed of the graph is no integer")
    graph.seed = seed
    return graph, decoder.used


def _a(value: Any, cls: type, what: str) -> Any:
    if type(value) is not cls:
        raise CorruptFileError(f"{what}: a JSON {cls.__name__} is expected, not {str(value)[:80]}")
    return value


class _Builder:
    """Adds the nodes of a file to a graph, one after the other."""

    def __init__(self, graph: Graph, decoder: Decoder, nodes: list[Any]) -> None:
        self.graph = graph
        self.decoder = decoder
        self._operations: dict[str, Operation] = {}
        self._ops: dict[str, OpDef] = {}
        self._all_names: set[Any] = {n.get("name") for n in nodes if isinstance(n, dict) and isinstance(n.get("name"), str)}

    def add(self, raw: Any) -> None:
        node = _a(raw, dict, "a node")
        name = _a(node.get("name"), str, "the name of a node")
        if not node.keys() <= _NODE_KEYS:
            raise CorruptFileError(f"node '{name[:200]}' has an unknown part '{min(node.keys() - _NODE_KEYS)[:80]}'")
        if name in self._operations:
            raise CorruptFileError(f"two nodes are called '{name[:200]}'")
        # `create_op` reads such a name as "exactly this name, without the slash".
        if name.endswith("/"):
            raise CorruptFileError(f"'{name[:200]}' is no name of a node")
        try:
            self._add(name, node)
        except (UnknownOpError, VersionError):
            raise
        except FormatError as e:
            raise CorruptFileError(f"node '{name[:200]}': {e}") from None
        except Exception as e:
            # An op's inference trusts its attributes; those of a file may be anything of the right type.
            raise CorruptFileError(f"node '{name[:200]}' cannot be built: {type(e).__name__}: {e}") from e

    def _add(self, name: str, node: dict[str, Any]) -> None:
        op = self._op_def(name, _a(node.get("op"), str, "op"), node.get("version", 1))
        # A file must not choose a function of the process that reads it.
        if calls_python(op):
            raise CorruptFileError(f"a {op.name} would call a Python function of this process")
        inputs = [self.tensor(t) for t in _a(node.get("inputs", []), list, "inputs")]
        controls = [self.operation(c) for c in _a(node.get("control", []), list, "control")]
        attrs = self.decoder.attrs(op.attrs, node.get("attrs", {}))
        recorded = [self._type(t) for t in _a(node.get("outputs"), list, "outputs")]
        _check_refs(op, inputs)
        device = _a(node.get("device", ""), str, "device")
        # The trailing slash keeps the name as it is. It comes out different only if the file is wrong.
        with self.graph.device(device or None):
            operation = self.graph.create_op(op, inputs, attrs, name + "/", controls)
        if operation.name != name:
            raise CorruptFileError(f"the name became '{operation.name}'")
        if len(recorded) != len(operation.outputs):
            raise CorruptFileError(f"{len(recorded)} outputs are recorded, {len(operation.outputs)} inferred")
        for output, found in zip(operation.outputs, recorded, strict=True):
            _refine(output, found)
        if "colocate" in node:
            operation.colocation = self.operation(node["colocate"])
        operation.gradient_name = _a(node.get("gradient", ""), str, "gradient") or None
        self._operations[name] = operation

    def _op_def(self, node: str, name: str, version: Any) -> OpDef:
        op = self._ops.get(name)
        if op is None:
            try:
                op = self._ops[name] = lookup(name)
            except KeyError:
                # Bounded, as everything that an error shows of a file.
                near = difflib.get_close_matches(name[:200], [o.name for o in all_ops()], 3)
                hint = f"; close matches: {', '.join(near)}" if near else ""
                raise UnknownOpError(
                    f"node '{node[:200]}' is a '{name[:200]}', which this graphflow does not have{hint}"
                ) from None
        # The version of an op changes when its meaning does, so neither an older nor a newer one is read.
        if type(version) is not int or version != op.version:
            raise VersionError(
                f"node '{node[:200]}': version {str(version)[:20]} of {name} is not readable here (this graphflow has "
                f"version {op.version})"
            )
        return op

    def operation(self, name: Any) -> Operation:
        found = self._operations.get(_a(name, str, "a reference to an operation"))
        return found if found is not None else self._dangling(name)

    def tensor(self, name: Any) -> Tensor:
        op, colon, index = _a(name, str, "a reference to a tensor").rpartition(":")
        if not colon or not index.isdecimal() or len(index) > 9:
            raise CorruptFileError(f"'{name[:200]}' is no name of a tensor")
        outputs = self.operation(op).outputs
        if int(index) >= len(outputs):
            raise CorruptFileError(f"'{name[:200]}': that operation has {len(outputs)} outputs")
        return outputs[int(index)]

    def _dangling(self, name: str) -> NoReturn:
        if name in self._all_names:
            raise CorruptFileError(f"uses '{name[:200]}', which comes later: a cycle, or nodes out of order")
        raise CorruptFileError(f"uses '{name[:200]}', which is not in the file")

    def _type(self, raw: Any) -> TensorType:
        if not isinstance(raw, list) or len(raw) != 2 or not isinstance(raw[0], str):
            raise CorruptFileError(f"{str(raw)[:80]} is no type of a tensor")
        return TensorType(dtype_named(raw[0]), self.decoder.shape(raw[1]))

    def variable(self, raw: Any) -> Variable:
        if not isinstance(raw, dict) or raw.keys() != _VARIABLE_KEYS or not isinstance(raw["trainable"], bool):
            raise CorruptFileError(f"{str(raw)[:80]} is no variable")
        ref, snapshot, initial = (self.tensor(raw[k]) for k in ("variable", "snapshot", "initial_value"))
        initializer = self.operation(raw["initializer"])
        if not is_variable(ref.op) or not isinstance(initializer.op_def.kind, StateUpdate) or ref not in initializer.inputs:
            raise CorruptFileError(f"variable '{ref.name}': its operations are not those of a variable")
        # What reads the variable must be an op on it alone: everything that uses the variable uses this tensor.
        if snapshot.base_dtype is not ref.base_dtype or snapshot.op.inputs != (ref,):
            raise CorruptFileError(f"variable '{ref.name}': '{snapshot.name}' does not read it")
        return Variable.from_ops(ref, initializer, snapshot, initial, raw["trainable"])

    def item(self, raw: Any, variables: list[Variable]) -> Any:
        if isinstance(raw, (bool, str)) or (isinstance(raw, int) and fits(raw)):
            return raw
        if isinstance(raw, dict) and len(raw) == 1:
            ((tag, value),) = raw.items()
            if tag == "variable" and type(value) is int and 0 <= value < len(variables):
                return variables[value]
            if tag == "tensor":
                return self.tensor(value)
            if tag == "op":
                return self.operation(value)
            if tag == "float":
                return self.decoder.value(raw)
        raise CorruptFileError(f"{str(raw)[:80]} is no item of a collection")


def is_variable(op: Operation) -> bool:
    """Whether the operation holds a variable's value."""
    return isinstance(op.op_def.kind, Source) and op.op_def.kind.what == "variable"


def _check_refs(op: OpDef, inputs: list[Tensor]) -> None:
    """Checks that updates change variables only: user-level functions check that, but a file may say anything."""
    refs = op.kind.refs if isinstance(op.kind, StateUpdate) else (0,) if isinstance(op.kind, VariableIsInitialized) else ()
    for i in refs:
        if i >= len(inputs) or not inputs[i].is_ref:
            raise CorruptFileError(f"input {i} of a {op.name} must be a variable")


def _refine(output: Tensor, recorded: TensorType) -> None:
    """Compares a recorded type with the inferred one, and takes over what `set_shape` had added to the shape."""
    if output.base_dtype is not recorded.dtype:
        raise CorruptFileError(
            f"output {output.name} is recorded as {recorded.dtype.name}, inferred as {output.base_dtype.name}"
        )
    inferred = output.type.shape
    if recorded.shape is None:
        return
    if inferred is not None:
        if len(inferred) != len(recorded.shape) or any(
            isinstance(a, int) and isinstance(b, int) and a != b for a, b in zip(inferred, recorded.shape, strict=True)
        ):
            raise CorruptFileError(f"output {output.name} is recorded as {recorded}, inferred as {output.type}")
        # `set_shape` may have said more than inference knows, and a newer graphflow may
        # infer more than the old one recorded.
        recorded_shape: Shape = tuple(map(_sharper, inferred, recorded.shape))
    else:
        recorded_shape = recorded.shape
    if any(isinstance(d, int) and d < 0 for d in recorded_shape):
        raise CorruptFileError(f"output {output.name} has a negative dimension")
    output._shape = recorded_shape


def _sharper(inferred: Dim, recorded: Dim) -> Dim:
    """The dim that says more: an int says more than a named size, and that more than an unknown one."""

    def rank(d: Dim) -> int:
        return 0 if isinstance(d, int) else 1 if not any(n.startswith("?") for n in d.names()) else 2

    return recorded if isinstance(inferred, SymDim) and rank(recorded) < rank(inferred) else inferred


def _mark_scopes(graph: Graph) -> None:
    """Marks the scopes of all names as used, as they were in the saved graph: ``name_scope("a")`` gives ``a_1`` next."""
    names = [op.name for op in graph.get_operations()]
    taken = set(names)
    scopes: dict[str, None] = {}
    for name in names:
        while name := name.rpartition("/")[0]:
            # The scopes above it are there already: each scope is visited once, however many ops it has.
            if name in scopes:
                break
            scopes[name] = None
    for scope in scopes:
        if scope not in taken:
            graph.unique_name(scope)
