"""The cache of plans on disk, beside the machine code: a process that finds its plan there runs no passes.

A plan follows from the Program, which the front end makes anew each time, the target and this package. So its key is the
hash of the Program's text, complete with constants and the names of the user's operations, of the target, and of the
versions and the stamps of our own source files. Ops from elsewhere could change without notice: a Program with one is not
kept, nor is one with large constants. The file holds a pickle of the few classes that plans are made of; no others are
loaded, though whoever may write to the cache could as well put machine code there (see `object_cache`).
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import pickle
import platform
from collections.abc import Callable
from dataclasses import fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from graphflow import version
from graphflow.framework.dtypes import DType, as_dtype
from graphflow.framework.kinds import TensorType
from graphflow.framework.registry import TensorValue, is_own
from graphflow.framework.shapes import SymDim
from graphflow_compiler.codegen.jit.object_cache import object_cache
from graphflow_compiler.codegen.llvm.llvm_text import Target
from graphflow_compiler.frontend import Signature
from graphflow_compiler.ir.program import DIMS, LEAVES, Constraint, FailureCode, Program, Value
from graphflow_compiler.planning.plan import Plan, PlanBuffer, Step

_log = logging.getLogger("graphflow")

#: Bytes of a plan's constants up to which it is kept: larger ones would be on disk twice, and take longest to read.
_MOST_CONSTANTS = 1 << 20
_FIELDS = tuple(f.name for f in fields(Plan) if f.name != "explain")
#: The only classes that a file may name, so that loading a pickle can run nothing else.
_CLASSES: dict[tuple[str, str], Any] = {
    (c.__module__, c.__qualname__): c
    for c in (Constraint, FailureCode, PlanBuffer, Step, SymDim, TensorType, as_dtype, np.ndarray)
}


def get(key: bytes, explain: Callable[..., str]) -> Plan | None:
    """The plan kept under a key; None if there is none. `explain` becomes the plan's own: it is not kept."""
    cache = object_cache()
    data = None if cache is None else cache.get(key)
    if data is None:
        return None
    try:
        return Plan(**dict(zip(_FIELDS, _Unpickler(io.BytesIO(data)).load(), strict=True)), explain=explain)
    except Exception as e:  # whatever is wrong with it, compiling will do
        _log.info("a kept plan is not used: %s: %s", type(e).__name__, e)
        return None


def put(key: bytes, plan: Plan) -> None:
    """Keeps a plan, if there is a cache and the plan is worth it."""
    cache = object_cache()
    if cache is None or sum(b.array.nbytes for b in plan.buffers if b.array is not None) > _MOST_CONSTANTS:
        return
    # The passes are loaded after the first look at the source files: if those changed in between, the key would lie.
    if _stamps.__wrapped__() != _stamps():
        return
    data = io.BytesIO()
    try:
        _Pickler(data, protocol=5).dump([getattr(plan, name) for name in _FIELDS])
    except Exception as e:  # the plan is there, whether or not it can be kept
        _log.warning("a plan cannot be kept: %s: %s", type(e).__name__, e)
        return
    cache.put(key, data.getvalue())


class _Pickler(pickle.Pickler):
    def reducer_override(self, x: Any) -> Any:
        """Arrays as bytes: numpy's own way goes through functions of other names in each version."""
        if type(x) is np.ndarray:
            return np.ndarray, (x.shape, x.dtype.str, x.tobytes())
        return NotImplemented


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        found = _CLASSES.get((module, name))
        if found is None:
            raise pickle.UnpicklingError(f"{module}.{name} is no part of a plan")
        return found


def key_of(program: Program, signature: Signature, target: Target, checked: bool = False) -> bytes | None:
    """The key of the plan of a program, 32 bytes; None if it is not to be kept."""
    stamps = _stamps()
    if stamps is None or object_cache() is None:
        return None
    writer = _Writer()
    number: dict[Any, int] = {}

    def place(v: Value | None) -> tuple[int, int] | None:
        return None if v is None else (number[v.node], v.index)

    try:
        for n in program.nodes:
            op = n.op
            if not (is_own(op) or op in LEAVES or op is DIMS):
                return None
            number[n] = len(number)
            writer.write((op.name, op.version, n.attrs, tuple([place(v) for v in n.inputs]), n.values, n.types, n.origin))
        writer.write(tuple([number[n] for n in program.feeds]))
        writer.write(tuple([place(v) for v in program.outputs]))
        writer.write(tuple([(name, place(v)) for name, v in program.updates]))
        writer.write(tuple([number[n] for n in program.effects]))
        writer.write((program.constraints, program.symbols))
        writer.write((tuple([t.base_dtype for t in signature.feeds]), signature.feed_shapes))
    except (_Unknown, RecursionError) as e:
        _log.info("the plan is not kept: %s", e)
        return None
    h = hashlib.sha256(b"graphflow plan 3\n")  # the number changes with the fields of a plan
    h.update(repr((stamps, target, checked)).encode())
    h.update("\n".join(writer.parts).encode("utf-8", "surrogatepass"))
    return h.digest()


class _Unknown(Exception):
    """An attribute of a class of which we do not know that its fields say all about it."""


class _Writer:
    """Values as text: different ones have different texts, in every process."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self._types: dict[TensorType, str] = {}

    def write(self, x: Any) -> None:
        self.parts.append(self.text(x))

    def text(self, x: Any) -> str:
        cls = type(x)
        if cls is tuple:
            return f"({','.join([self.text(y) for y in x])})"
        if cls is str or cls is int or cls is bool or x is None:
            return repr(x)
        if cls is float:
            # hex tells 0.0 from -0.0 but spells all NaNs alike, so these go by their bits.
            return x.hex() if x == x else np.float64(x).tobytes().hex()
        if cls is TensorType:
            found = self._types.get(x)
            if found is None:
                found = self._types[x] = f"{self.text(x.dtype)}{self.text(x.shape)}"
            return found
        if cls is DType:
            return f"<{x.name}>"
        if cls is SymDim:
            return f"~{self.text(x.terms)}"
        if cls is TensorValue:
            return f"[{x.array.dtype.name} {x.digest.hex()}]"
        if isinstance(x, np.generic):
            return f"[{x.dtype.name} {x.tobytes().hex()}]"
        if hasattr(cls, "__dataclass_fields__") and cls.__module__.partition(".")[0] in ("graphflow", "graphflow_compiler"):
            return f"{cls.__qualname__}({','.join([self.text(getattr(x, f)) for f in cls.__dataclass_fields__])})"
        raise _Unknown(f"{cls.__module__}.{cls.__qualname__}")


@lru_cache(maxsize=1)
def _stamps() -> tuple[str, ...] | None:
    """Identifies this package and all else that plans depend on: versions, and sizes and times of the source files.

    Versions alone would not do for whoever works on the sources. None if the files cannot be looked at, or have changed
    since this process loaded them.
    """
    found = [version.__version__, np.__version__, platform.python_version()]
    for package in (Path(version.__file__).parent, Path(__file__).parent.parent):
        todo = [str(package)]
        while todo:
            folder = todo.pop()
            try:
                with os.scandir(folder) as entries:
                    for entry in sorted(entries, key=lambda e: e.name):
                        if entry.is_dir():
                            if entry.name != "__pycache__":
                                todo.append(entry.path)
                        elif entry.name.endswith(".py"):
                            s = entry.stat()
                            if max(s.st_mtime, s.st_ctime) > version.LOADED_AT:
                                _log.info("plans are not kept: %s has changed since it was loaded", entry.path)
                                return None
                            found.append(f"{entry.path} {s.st_size} {s.st_mtime_ns}")
            except OSError as e:
                _log.info("plans are not kept: %s", e)
                return None
    return tuple(found)
