"""`save` and `load`: a graph with the values of its variables in one ``.safetensors`` file.

__metadata__  graphflow.graph      the graph as canonical JSON (`graphflow.io.graph_json`)
              graphflow.variables  {name in the file: name of the variable's operation}
              graphflow.signature  {"inputs": {name: tensor}, "outputs": {name: tensor}}
              graphflow.slices     parts of partitioned variables (`graphflow.io.slices`)
tensors       var/<name>, const/<node>
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import field
from typing import Any

import numpy as np

from graphflow.framework.context import get_default_graph, get_default_session
from graphflow.framework.errors import ArgumentError, CorruptFileError, FormatError
from graphflow.framework.graph import Graph, Operation, Tensor
from graphflow.framework.late_bindings import new_session
from graphflow.framework.records import record
from graphflow.framework.shapes import format_shape
from graphflow.io.attributes import fits
from graphflow.io.container import Container, bad, canonical_json, parse_json, read_container, write_container
from graphflow.io.graph_json import graph_from_json, graph_to_json, is_variable
from graphflow.io.slices import Slice, slices_of, slices_text


def _producer() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"graphflow {version('graphflow')}"
    except PackageNotFoundError:  # imported from a checkout that is not installed
        return "graphflow"


@record(frozen=True)
class Signature:
    """Names for the tensors that a caller feeds and fetches."""

    inputs: dict[str, Tensor] = field(default_factory=dict)
    outputs: dict[str, Tensor] = field(default_factory=dict)


@record(frozen=True)
class Loaded:
    """What a file held. `variables` maps the name of each variable's operation to its value (see `load` on mapped files)."""

    path: str
    graph: Graph
    variables: dict[str, np.ndarray[Any, Any]] = field(repr=False)
    signature: Signature
    step: int | None
    metadata: dict[str, str] = field(repr=False)

    def session(self, **options: Any) -> Any:
        """A new Session on the graph whose variables have the values of the file; `options` go to Session."""
        session = new_session(graph=self.graph, **options)
        session._load_variables({self.graph.get_operation_by_name(name): value for name, value in self.variables.items()})
        return session


def save(
    path: str | os.PathLike[str],
    session: Any = None,
    graph: Graph | None = None,
    inputs: Mapping[str, Any] | None = None,
    outputs: Mapping[str, Any] | None = None,
    step: int | None = None,
) -> str:
    """Writes a graph, and with a session the values of its variables, to one file. Returns the path.

    The write is atomic: a crash leaves the old file or the new one. Missing folders are made.

    Args:
        path: of the file; ``.safetensors`` is the customary ending.
        session: whose variables are saved; by default the default session, if its graph is the one saved.
        graph: by default the session's, else the default graph.
        inputs, outputs: names for tensors (or their names) that callers feed and fetch.
        step: a number to keep with the file.

    Raises:
        FailedPreconditionError: a variable has no value in the session.
        FormatError: the graph holds what no file can hold, such as a py_func.
        ValueError: a tensor of another graph.
        OSError: the file cannot be written.
    """
    if session is None:
        current = get_default_session()
        session = current if current is not None and (graph is None or current.graph is graph) else None
    if graph is None:
        graph = get_default_graph() if session is None else session.graph
    if session is not None and session.graph is not graph:
        raise ArgumentError("save: the session runs another graph than the one to be saved")
    signature = {
        "inputs": {_key(k): _tensor_name(graph, v) for k, v in (inputs or {}).items()},
        "outputs": {_key(k): _tensor_name(graph, v) for k, v in (outputs or {}).items()},
    }
    operations = [op for op in graph.get_operations() if is_variable(op)] if session is not None else []
    # In one run, so that all values are of the same moment.
    values = session.run([op.outputs[0] for op in operations]) if operations else []
    write_model(path, graph, {op.name: (op, v) for op, v in zip(operations, values, strict=True)}, signature, step)
    return os.fspath(path)


def _key(name: Any) -> str:
    if not isinstance(name, str):
        raise TypeError(f"save: the name of an input or output is a text, not {name!r}")
    return name


def _tensor_name(graph: Graph, value: Any) -> str:
    element = graph.as_graph_element(value, allow_operation=False)
    return str(element.name)


def write_model(
    path: str | os.PathLike[str],
    graph: Graph | None,
    variables: Mapping[str, tuple[Operation, Any]],
    signature: Mapping[str, Mapping[str, str]] | None = None,
    step: int | None = None,
    slices: Mapping[str, Slice] | None = None,
) -> None:
    """Writes values under names of the caller's choice, and the graph if one is given. `slices` says which are parts."""
    metadata = {"graphflow.producer": _producer()}
    tensors: dict[str, np.ndarray[Any, Any]] = {}
    if graph is not None:
        raw, tensors = graph_to_json(graph)
        text = canonical_json(raw)
        metadata["graphflow.graph"] = text
        metadata["graphflow.graph_sha256"] = hashlib.sha256(text.encode()).hexdigest()
    if signature and any(signature.values()):
        metadata["graphflow.signature"] = canonical_json({k: dict(v) for k, v in signature.items()})
    if step is not None:
        if not fits(int(step)):
            raise ArgumentError(f"the step {step} does not fit into 64 bits")
        metadata["graphflow.step"] = str(int(step))
    if slices:
        metadata["graphflow.slices"] = slices_text(slices)
    metadata["graphflow.variables"] = canonical_json({name: op.name for name, (op, _) in variables.items()})
    for name, (op, value) in variables.items():
        tensors[f"var/{name}"] = np.asarray(value, op.outputs[0].base_dtype.numpy_dtype)
    write_container(path, tensors, metadata)


def load(path: str | os.PathLike[str], verify: bool = True, memory_map: bool | None = None) -> Loaded:
    """Reads a file that `save` wrote into a new graph.

    Everything a file claims is checked before anything is built from it; no content is ever evaluated as code.

    Args:
        path: of the file.
        verify: False leaves out the checksums of the tensors' bytes, so that a large file opens at once. (The header's
            is always checked.)
        memory_map: True leaves the values of variables in the file, which is mapped, until a session or somebody else copies
            them; False reads it at once. None maps files of this user. Whoever overwrites or cuts a mapped file (instead of
            replacing it, as `save` does) makes its arrays unreadable: sessions raise FormatError then, as far as they can
            know before they read; other readers, and those that are at it, may end with the signal SIGBUS.

    Raises:
        FormatError: not a graphflow file, or damaged (CorruptFileError), or of a newer graphflow (VersionError,
            UnknownOpError).
        OSError: it cannot be read.
    """
    container = read_container(path, verify, memory_map)
    text = container.metadata.get("graphflow.graph")
    if text is None:
        raise FormatError(f"{container.path}: holds values of variables but no graph; restore them with train.Saver")
    if hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest() != container.metadata.get("graphflow.graph_sha256"):
        bad(container.path, "the graph does not have the recorded checksum")
    raw = parse_json(container.path, text, "the graph")
    try:
        graph, used = graph_from_json(raw, container.tensor, container.entries.keys(), len(text))
        slices_of(container)  # for what it checks: the graph has the parts
        values = _variable_values(container, graph)
        signature = _signature(container, graph)
    except FormatError as e:
        # The errors of the graph's parts do not know the file.
        raise type(e)(f"{container.path}: {e}") from e.__cause__
    # A tensor that nothing refers to would be unseen content in a file that is called sound.
    unused = container.entries.keys() - used - {f"var/{n}" for n in variable_names(container)}
    if unused:
        bad(container.path, f"nothing refers to tensor '{min(unused)[:200]}'")
    return Loaded(container.path, graph, values, signature, step_of(container), container.metadata)


def variable_names(container: Container) -> dict[str, str]:
    """{name in the file: name of the variable's operation}, each with its tensor ``var/<name>``."""
    names = parse_json(container.path, container.metadata.get("graphflow.variables", "{}"), "graphflow.variables")
    for name, op in names.items():
        if not isinstance(op, str) or f"var/{name}" not in container.entries:
            bad(container.path, f"variable '{name[:200]}' has no value in the file")
    return names


def step_of(container: Container) -> int | None:
    """The step number kept with the file."""
    text = container.metadata.get("graphflow.step")
    if text is None:
        return None
    if len(text) > 20 or not text.removeprefix("-").isdecimal():
        bad(container.path, f"the step {text[:40]!r} is no integer")
    return int(text)


def _variable_values(container: Container, graph: Graph) -> dict[str, np.ndarray[Any, Any]]:
    values: dict[str, np.ndarray[Any, Any]] = {}
    operations = {op.name: op for op in graph.get_operations() if is_variable(op)}
    for name, op_name in variable_names(container).items():
        op = operations.get(op_name)
        if op is None or op_name in values:
            raise CorruptFileError(f"the value '{name[:200]}' belongs to no variable of the graph, or is there twice")
        entry, type_ = container.entries[f"var/{name}"], op.outputs[0].type
        fits = type_.shape is None or (
            len(type_.shape) == len(entry.shape)
            and all(not isinstance(d, int) or d == n for d, n in zip(type_.shape, entry.shape, strict=True))
        )
        # Here, and not when the session is made: a file that loads can be run.
        if entry.dtype is not type_.dtype or not fits:
            raise CorruptFileError(
                f"variable '{op_name}' is {type_}, its value is {entry.dtype.name}{format_shape(entry.shape)}"
            )
        values[op_name] = container.tensor(f"var/{name}")
    return values


def _signature(container: Container, graph: Graph) -> Signature:
    raw = parse_json(container.path, container.metadata.get("graphflow.signature", "{}"), "graphflow.signature")
    if not raw.keys() <= {"inputs", "outputs"} or not all(isinstance(part, dict) for part in raw.values()):
        raise CorruptFileError("the signature must hold inputs and outputs")
    parts: dict[str, dict[str, Tensor]] = {"inputs": {}, "outputs": {}}
    for part, names in raw.items():
        for key, name in names.items():
            try:
                parts[part][key] = graph.as_graph_element(name, allow_operation=False)
            except (KeyError, ValueError, TypeError):
                raise CorruptFileError(f"signature: {part} '{key[:80]}' is no tensor of the graph") from None
    return Signature(parts["inputs"], parts["outputs"])
