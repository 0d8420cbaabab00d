"""`CheckpointReader`: the values of a checkpoint, read without a graph."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from graphflow.framework.dtypes import DType
from graphflow.framework.errors import NotFoundError
from graphflow.io.checkpoint_state import checkpoint_exists, checkpoint_file, latest_checkpoint
from graphflow.io.container import read_container
from graphflow.io.native import step_of, variable_names
from graphflow.io.slices import Slice, slices_of, wholes_of


class CheckpointReader:
    """The values in a checkpoint, by name.

    Raises:
        NotFoundError: there is no such checkpoint.
        FormatError: the file is damaged or something else.
    """

    def __init__(self, filepattern: str | os.PathLike[str]) -> None:
        prefix = os.fspath(filepattern)
        if not checkpoint_exists(prefix):
            raise NotFoundError(
                message=f"Unsuccessful TensorSliceReader constructor: Failed to find any matching files for {prefix}"
            )
        self.path = checkpoint_file(prefix)
        self._container = read_container(self.path)
        self._slices = slices_of(self._container)
        self._wholes = wholes_of(self._container, self._slices)
        hidden = {part for whole in self._wholes.values() for part in whole.parts}
        self._names = variable_names(self._container)
        # What is listed, with its shape and dtype: a partitioned variable is one value.
        self._entries: dict[str, Any] = {n: self._container.entries[f"var/{n}"] for n in self._names if n not in hidden}
        self._entries |= self._wholes

    def has_tensor(self, tensor_str: str) -> bool:
        return tensor_str in self._entries or tensor_str in self._names

    def get_variable_to_shape_map(self) -> dict[str, list[int]]:
        return {name: list(entry.shape) for name, entry in self._entries.items()}

    def get_variable_to_dtype_map(self) -> dict[str, DType]:
        return {name: entry.dtype for name, entry in self._entries.items()}

    def get_tensor(self, tensor_str: str) -> np.ndarray[Any, Any]:
        """A copy of the value `tensor_str`. NotFoundError if there is none."""
        return np.array(self.view(tensor_str))

    def view(self, name: str) -> np.ndarray[Any, Any]:
        """The value `name` as a view of the mapped file, which may be unaligned, or put together from its parts."""
        whole = self._wholes.get(name)
        if whole is not None:
            return np.concatenate([self._container.tensor(f"var/{part}") for part in whole.parts], whole.axis)
        if name not in self._names:
            raise NotFoundError(message=f"Key {name} not found in checkpoint")
        return self._container.tensor(f"var/{name}")

    def is_part(self, name: str, part: Slice, shape: tuple[int, ...]) -> bool:
        """Whether the value `name` is stored as it is, and is this part."""
        return self._slices.get(name) == part and self._container.entries[f"var/{name}"].shape == shape

    @property
    def step(self) -> int | None:
        """The global step that the checkpoint was saved with."""
        return step_of(self._container)

    def debug_string(self) -> str:
        """A line per value: name, type and shape."""
        return "\n".join(f"{n} ({e.dtype.name}) {list(e.shape)}" for n, e in sorted(self._entries.items()))


def NewCheckpointReader(filepattern: str | os.PathLike[str]) -> CheckpointReader:
    """TensorFlow's name for `CheckpointReader`."""
    return CheckpointReader(filepattern)


def load_checkpoint(ckpt_dir_or_file: str | os.PathLike[str]) -> CheckpointReader:
    """The reader of a checkpoint, or of the newest one in a folder. ValueError if the folder has none."""
    path = os.fspath(ckpt_dir_or_file)
    if os.path.isdir(path):
        latest = latest_checkpoint(path)
        if latest is None:
            raise ValueError(f"Couldn't find 'checkpoint' file or checkpoints in given directory {path}")
        path = latest
    return CheckpointReader(path)


def list_variables(ckpt_dir_or_file: str | os.PathLike[str]) -> list[tuple[str, list[int]]]:
    """(name, shape) of each value in a checkpoint, by name."""
    return sorted(load_checkpoint(ckpt_dir_or_file).get_variable_to_shape_map().items())


def load_variable(ckpt_dir_or_file: str | os.PathLike[str], name: str) -> np.ndarray[Any, Any]:
    """One value of a checkpoint. `name` may end in ``:0``."""
    reader = load_checkpoint(ckpt_dir_or_file)
    return reader.get_tensor(name[:-2] if name.endswith(":0") and not reader.has_tensor(name) else name)
