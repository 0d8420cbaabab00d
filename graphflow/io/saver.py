"""`train.Saver`: saves the variables of a session as checkpoints, and restores them."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from graphflow.framework.context import get_default_graph
from graphflow.framework.errors import ArgumentError, FormatError, InvalidArgumentError, NotFoundError
from graphflow.framework.graph import Graph, Operation
from graphflow.framework.graph_keys import GraphKeys
from graphflow.io.checkpoint_state import (
    checkpoint_exists,
    checkpoint_file,
    get_checkpoint_mtimes,
    remove_checkpoint,
    update_checkpoint_state,
)
from graphflow.io.graph_json import is_variable
from graphflow.io.native import write_model
from graphflow.io.reader import CheckpointReader
from graphflow.io.slices import Slice

__all__ = ["Saver"]

_LOG = logging.getLogger("graphflow")
_FAILED = (
    "Restoring from checkpoint failed. This is most likely due to a {what}. Please ensure that you have not altered "
    "the graph expected based on the checkpoint. Original error:\n\n{error}"
)


class Saver:
    """Saves the variables of a session to checkpoints and restores them.

    A checkpoint ``model-3`` is the file ``model-3.safetensors``, which also holds the graph; a text file ``checkpoint``
    in the same folder names the last ones. It adds no ops to the graph.

    Args:
        var_list: variables, or {name in the checkpoint: variable}; by default the default graph's global variables. Of a
            partitioned variable a checkpoint holds the whole: it can be restored in other parts, or in one.
        reshape: lets a value of another shape but as many elements be restored.
        max_to_keep: older checkpoints of this Saver are deleted; None or 0 keeps all.
        keep_checkpoint_every_n_hours: of the checkpoints to be deleted, one is kept for every period of this length.
        defer_build: chooses the variables only when `build` is called.
        allow_empty: accepts that there is nothing to save.
        pad_step_number: ``model-00000003``.
        save_relative_paths: the file ``checkpoint`` holds paths relative to its folder.
        sharded, name, restore_sequentially, saver_def, builder, write_version, filename: accepted, without effect.

    Raises:
        ValueError: no variables to save, or two of one name.
        TypeError: something else than variables.
    """

    def __init__(
        self,
        var_list: Any = None,
        reshape: bool = False,
        sharded: bool = False,
        max_to_keep: int | None = 5,
        keep_checkpoint_every_n_hours: float = 10000.0,
        name: str | None = None,
        restore_sequentially: bool = False,
        saver_def: Any = None,
        builder: Any = None,
        defer_build: bool = False,
        allow_empty: bool = False,
        write_version: Any = 2,
        pad_step_number: bool = False,
        save_relative_paths: bool = False,
        filename: str | None = None,
    ) -> None:
        if defer_build and var_list:
            raise ValueError(
                "If `var_list` is provided then build cannot be deferred. Either set defer_build=False or var_list=None."
            )
        self._var_list = var_list
        self._reshape = reshape
        self._max_to_keep = max_to_keep or 0
        self._keep_seconds = keep_checkpoint_every_n_hours * 3600
        self._next_checkpoint_time = time.time() + self._keep_seconds
        self._allow_empty = allow_empty
        self._pad_step_number = pad_step_number
        self._save_relative_paths = save_relative_paths
        self._last_checkpoints: list[tuple[str, float]] = []
        self._to_be_deleted: list[tuple[str, float]] = []
        self._variables: dict[str, Operation] | None = None
        self._slices: dict[str, Slice] = {}
        if not defer_build:
            self.build()

    def build(self) -> None:
        """Chooses the variables, if `defer_build` has put that off."""
        if self._variables is not None:
            return
        chosen = self._var_list
        if chosen is None:
            graph = get_default_graph()
            chosen = graph.get_collection(GraphKeys.GLOBAL_VARIABLES) + graph.get_collection(GraphKeys.SAVEABLE_OBJECTS)
        if not chosen and not self._allow_empty:
            raise ValueError("No variables to save")
        self._variables, self._slices = _by_name(chosen)

    def _built(self, verb: str) -> dict[str, Operation]:
        if self._variables is None:
            raise RuntimeError(f"`build()` should be called before {verb} if defer_build==True")
        return self._variables

    # ------------------------------------------------------------------ saving
    def save(
        self,
        sess: Any,
        save_path: str | os.PathLike[str],
        global_step: Any = None,
        latest_filename: str | None = None,
        meta_graph_suffix: str = "meta",
        write_meta_graph: bool = True,
        write_state: bool = True,
        strip_default_attrs: bool = False,
        save_debug_info: bool = False,
    ) -> str | None:
        """Saves the variables and returns the checkpoint's name (``save_path`` or ``save_path-<global_step>``).

        Args:
            sess: whose values are saved.
            save_path: name of the checkpoint, with its folder, which is made if it is missing.
            global_step: a number, tensor or variable that becomes part of the name.
            latest_filename: the state file, ``checkpoint`` by default.
            write_meta_graph: False leaves the graph out of the file.
            write_state: False leaves the state file and older checkpoints alone.

        Raises:
            FailedPreconditionError: a variable has no value.
            ValueError: `latest_filename` cannot be.
            OSError: the file cannot be written; older checkpoints are untouched.
        """
        variables = self._built("save")
        latest_filename = latest_filename or "checkpoint"
        if os.path.split(latest_filename)[0]:
            raise ValueError("'latest_filename' must not contain path components")
        if not hasattr(sess, "run") or not hasattr(sess, "graph"):
            raise TypeError(f"'sess' must be a Session; {sess}")
        prefix = os.fspath(save_path)
        step: int | None = None
        if global_step is not None:
            step = int(global_step if isinstance(global_step, (int, np.integer)) else sess.run(global_step))
            prefix = f"{prefix}-{step:08d}" if self._pad_step_number else f"{prefix}-{step}"
        elif os.path.basename(prefix) == latest_filename:
            raise ValueError(f"'latest_filename' collides with 'save_path': '{latest_filename}' and '{prefix}'")
        if not variables:
            return None
        # In one run, so that all values are of the same moment.
        values = sess.run([op.outputs[0] for op in variables.values()])
        stored = {name: (op, value) for (name, op), value in zip(variables.items(), values, strict=True)}
        self._write(prefix, sess.graph if write_meta_graph else None, stored, step)
        # The checkpoint first, then the file that names it, then the old ones: a crash in
        # between leaves every name valid.
        if write_state:
            self._record(prefix)
            update_checkpoint_state(
                os.path.dirname(prefix),
                prefix,
                self.last_checkpoints,
                latest_filename,
                save_relative_paths=self._save_relative_paths,
            )
            self._delete_old()
        return prefix

    def _write(self, prefix: str, graph: Graph | None, stored: Mapping[str, tuple[Operation, Any]], step: int | None) -> None:
        path = checkpoint_file(prefix)
        if graph is not None:
            try:
                write_model(path, graph, stored, step=step, slices=self._slices)
                return
            except FormatError as e:
                # A graph with a py_func cannot be saved, but its weights can: who restores them builds the graph anyway.
                _LOG.warning("%s: saved without its graph: %s", path, e)
        write_model(path, None, stored, step=step, slices=self._slices)

    def _record(self, prefix: str) -> None:
        if not self._max_to_keep:
            return
        # A name that is saved again is the newest.
        self._last_checkpoints = [c for c in self._last_checkpoints if c[0] != prefix]
        self._last_checkpoints.append((prefix, time.time()))
        if len(self._last_checkpoints) > self._max_to_keep:
            self._to_be_deleted.append(self._last_checkpoints.pop(0))

    def _delete_old(self) -> None:
        while self._to_be_deleted:
            prefix, saved = self._to_be_deleted.pop(0)
            # As TensorFlow: the first one after each period stays for good.
            if saved > self._next_checkpoint_time:
                self._next_checkpoint_time += self._keep_seconds
                continue
            try:
                remove_checkpoint(prefix)
            except OSError as e:
                # The new checkpoint is safe; a file that cannot be deleted must not end the training.
                _LOG.warning("Ignoring: %s", e)

    # ------------------------------------------------------------------ restoring
    def restore(self, sess: Any, save_path: str | os.PathLike[str] | None) -> None:
        """Gives the variables the values of a checkpoint, so that they need no initialisation. All of them change, or none.

        Raises:
            ValueError: there is no such checkpoint.
            NotFoundError: a variable is not in it.
            InvalidArgumentError: a value is of another shape or type than its variable.
            FormatError: the file is damaged.
        """
        variables = self._built("restore")
        if not variables:
            return
        if save_path is None:
            raise ValueError("Can't load save_path when it is None.")
        prefix = os.fspath(save_path)
        if not checkpoint_exists(prefix):
            raise ValueError(f"The passed save_path is not a valid checkpoint: {prefix}")
        _LOG.info("Restoring parameters from %s", prefix)
        reader = CheckpointReader(prefix)
        wholes: dict[str, Any] = {}  # those of which other parts are wanted than are stored
        missing, values = [], {}
        for name, op in variables.items():
            part = self._slices.get(name)
            if part is not None and not reader.is_part(name, part, _dims(op)):
                key, value = part.whole, self._cut(reader, part, op, wholes)
            else:
                key, value = name, reader.view(name) if reader.has_tensor(name) else None
            if value is None:
                missing.append((key, op))
            else:
                # All values are checked before the first variable changes.
                values[op] = self._fitting(key, op, value)
        if missing:
            (key, op), rest = missing[0], list(dict.fromkeys(k for k, _ in missing[1:] if k != missing[0][0]))
            error = f"Key {key} not found in checkpoint" + (f" (nor {', '.join(rest)})" if rest else "")
            what = "Variable name or other graph key that is missing from the checkpoint"
            raise NotFoundError(op=op, message=_FAILED.format(what=what, error=error))
        sess._load_variables(values)

    def _cut(self, reader: CheckpointReader, part: Slice, op: Operation, wholes: dict[str, Any]) -> Any:
        """The value of a part, cut out of the whole; None if the whole is not in the checkpoint."""
        if part.whole not in wholes:
            wholes[part.whole] = reader.view(part.whole) if reader.has_tensor(part.whole) else None
        whole = wholes[part.whole]
        if whole is not None and whole.shape != part.full_shape:
            what = "mismatch between the current graph and the graph from the checkpoint"
            error = (
                f"Shape in shape_and_slice spec {list(part.full_shape)} does not match the shape stored in checkpoint: "
                f"{list(whole.shape)} (variable '{op.name}', '{part.whole}' in the checkpoint)"
            )
            raise InvalidArgumentError(op=op, message=_FAILED.format(what=what, error=error))
        return None if whole is None else part.of(whole, _dims(op))

    def _fitting(self, name: str, op: Operation, value: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        type_ = op.outputs[0].type
        what = "mismatch between the current graph and the graph from the checkpoint"
        if value.dtype != type_.dtype.numpy_dtype:
            found, expected = value.dtype.name, type_.dtype.name
            error = f"tensor_name = {name}; expected dtype {expected} does not equal original dtype {found}"
            raise InvalidArgumentError(op=op, message=_FAILED.format(what=what, error=error))
        if type_.shape is None:
            return value
        wanted = [d if isinstance(d, int) else None for d in type_.shape]
        if len(wanted) == value.ndim and all(w in (None, n) for w, n in zip(wanted, value.shape, strict=True)):
            return value
        known = [w for w in wanted if w is not None]
        # Only where the shape of the variable is known: otherwise nothing says what to reshape to.
        if self._reshape and len(known) == len(wanted) and math.prod(known) == value.size:
            return value.reshape(known)
        shown = ",".join("?" if w is None else str(w) for w in wanted)
        error = (
            f"Assign requires shapes of both tensors to match. lhs shape= [{shown}] rhs shape= "
            f"[{','.join(map(str, value.shape))}] (variable '{op.name}', '{name}' in the checkpoint)"
        )
        raise InvalidArgumentError(op=op, message=_FAILED.format(what=what, error=error))

    # ------------------------------------------------------------------ the list of checkpoints
    @property
    def last_checkpoints(self) -> list[str]:
        """The names of the checkpoints that this Saver keeps, oldest first."""
        return [prefix for prefix, _ in self._last_checkpoints]

    def set_last_checkpoints(self, last_checkpoints: Sequence[str]) -> None:
        """Takes over checkpoints whose age is unknown."""
        if not isinstance(last_checkpoints, (list, tuple)):
            raise AssertionError(f"a list of names is expected, not {last_checkpoints!r}")
        # An age that is unknown counts as new, so that `keep_checkpoint_every_n_hours` keeps them.
        self._last_checkpoints = [(prefix, float("inf")) for prefix in last_checkpoints]

    def set_last_checkpoints_with_time(self, last_checkpoints_with_time: Sequence[tuple[str, float]]) -> None:
        """Takes over (name, seconds since the epoch) pairs."""
        self._last_checkpoints = [(str(prefix), float(saved)) for prefix, saved in last_checkpoints_with_time]

    def recover_last_checkpoints(self, checkpoint_paths: Sequence[str]) -> None:
        """Takes over the checkpoints of an earlier process that still exist, so that they are deleted in turn."""
        existing = [p for p in checkpoint_paths if checkpoint_exists(p)]
        self.set_last_checkpoints_with_time(list(zip(existing, get_checkpoint_mtimes(existing), strict=True)))


def _by_name(chosen: Any) -> tuple[dict[str, Operation], dict[str, Slice]]:
    """The operations of variables by their names in the checkpoint, and which of them are parts."""
    if not isinstance(chosen, Iterable) or isinstance(chosen, (str, bytes)):
        raise TypeError(f"Variables to save should be passed in a dict or a list: {chosen!r}")
    found: dict[str, Operation] = {}
    slices: dict[str, Slice] = {}
    for given, v in chosen.items() if isinstance(chosen, Mapping) else [(None, v) for v in chosen]:
        for variable in v if hasattr(v, "_get_variable_list") or isinstance(v, (list, tuple)) else [v]:
            op, part = _operation(variable), getattr(variable, "_save_slice_info", None)
            name = str(given) if given is not None else op.name if part is None else part.full_name
            if part is not None:
                whole, name = name, f"{name}/{op.name.rsplit('/', 1)[-1]}"
                slices[name] = Slice(whole, tuple(part.full_shape), tuple(part.var_offset))
            if found.setdefault(name, op) is not op:
                raise ArgumentError(f"At least two variables have the same name in the checkpoint: {name}")
    for name in {part.whole for part in slices.values()} & found.keys():
        raise ArgumentError(f"At least two variables have the same name in the checkpoint: {name}")
    return found, slices


def _dims(op: Operation) -> tuple[int, ...]:
    """The shape of a part, which is known."""
    return tuple(d for d in op.outputs[0]._shape or () if isinstance(d, int))


def _operation(variable: Any) -> Operation:
    convert = getattr(variable, "_as_graph_element", None)
    element = variable if convert is None else convert()
    op = getattr(element, "op", None)
    if not isinstance(op, Operation) or not is_variable(op):
        raise TypeError(f"Variable to save is not a Variable: {variable}")
    return op
