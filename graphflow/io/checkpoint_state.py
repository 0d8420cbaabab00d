"""The text file ``checkpoint``, in which TensorFlow 1 lists the checkpoints of a folder: reading and writing it.

model_checkpoint_path: "model-3"
all_model_checkpoint_paths: "model-2"
all_model_checkpoint_paths: "model-3"
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import field

from graphflow.framework.records import record
from graphflow.io.durable import write_durably

_LOG = logging.getLogger("graphflow")

#: What is added to a checkpoint's name to get its file.
SUFFIX = ".safetensors"
_LIMIT = 1 << 24  # characters: more of a state file is not read


@record
class CheckpointState:
    """The content of the file ``checkpoint``."""

    model_checkpoint_path: str = ""
    all_model_checkpoint_paths: list[str] = field(default_factory=list)
    all_model_checkpoint_timestamps: list[float] = field(default_factory=list)
    last_preserved_timestamp: float = 0.0

    def __str__(self) -> str:
        """The text of the file."""
        lines = [f"model_checkpoint_path: {_quoted(self.model_checkpoint_path)}"]
        lines += [f"all_model_checkpoint_paths: {_quoted(p)}" for p in self.all_model_checkpoint_paths]
        lines += [f"all_model_checkpoint_timestamps: {t!r}" for t in self.all_model_checkpoint_timestamps]
        if self.last_preserved_timestamp:
            lines.append(f"last_preserved_timestamp: {self.last_preserved_timestamp!r}")
        return "\n".join(lines) + "\n"


_ESCAPES = {"\n": "n", "\r": "r", "\t": "t", '"': '"', "'": "'", "\\": "\\"}
_UNESCAPES = {v: k for k, v in _ESCAPES.items()}


def _quoted(text: str) -> str:
    """A string in protobuf's text format, with octal escapes for UTF-8 bytes outside ASCII."""
    out = []
    # Paths may be bytes that are no UTF-8; Python carries those as surrogates.
    for byte in text.encode("utf-8", "surrogateescape"):
        c = chr(byte)
        out.append("\\" + _ESCAPES[c] if c in _ESCAPES else c if 32 <= byte < 127 else f"\\{byte:03o}")
    return '"' + "".join(out) + '"'


def _unquoted(text: str) -> str:
    def replace(m: re.Match[str]) -> str:
        code = m[1]
        return chr(int(code, 8) & 255) if code[0] in "01234567" else _UNESCAPES.get(code, code)

    # As latin-1 each byte is one character, so that octal escapes, which mean bytes, fit in.
    plain = text.encode("utf-8", "surrogateescape").decode("latin-1")
    return re.sub(r"\\([0-7]{1,3}|.)", replace, plain).encode("latin-1").decode("utf-8", "surrogateescape")


_LINE = re.compile(r'^(\w+)\s*:\s*(?:"((?:[^"\\]|\\.)*)"|([-+.\w]+))$')


def parse_state(text: str) -> CheckpointState | None:
    """The state that the text of a file describes; None if the text is malformed."""
    state = CheckpointState()
    for line in text.splitlines():
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        # A line that is not understood makes the file invalid: a wrong guess could restore the wrong checkpoint.
        found = _LINE.match(line)
        if found is None:
            return None
        key, quoted, bare = found.groups()
        try:
            if key == "model_checkpoint_path" and quoted is not None:
                state.model_checkpoint_path = _unquoted(quoted)
            elif key == "all_model_checkpoint_paths" and quoted is not None:
                state.all_model_checkpoint_paths.append(_unquoted(quoted))
            elif key == "all_model_checkpoint_timestamps" and bare is not None:
                state.all_model_checkpoint_timestamps.append(float(bare))
            elif key == "last_preserved_timestamp" and bare is not None:
                state.last_preserved_timestamp = float(bare)
            else:
                return None
        except ValueError:
            return None
    return state


def get_checkpoint_state(checkpoint_dir: str | os.PathLike[str], latest_filename: str | None = None) -> CheckpointState | None:
    """The content of a folder's file ``checkpoint``, with paths that start with the folder; None without a valid file."""
    folder = os.fspath(checkpoint_dir)
    path = _state_file(folder, latest_filename)
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as f:
            state = parse_state(f.read(_LIMIT))
    except OSError:
        return None
    if state is None or not state.model_checkpoint_path:
        _LOG.warning("%s: Checkpoint ignored", path)
        return None
    state.model_checkpoint_path = os.path.join(folder, state.model_checkpoint_path)
    state.all_model_checkpoint_paths = [os.path.join(folder, p) for p in state.all_model_checkpoint_paths]
    return state


def _state_file(folder: str, latest_filename: str | None) -> str:
    return os.path.join(folder, latest_filename or "checkpoint")


def generate_checkpoint_state_proto(
    save_dir: str,
    model_checkpoint_path: str,
    all_model_checkpoint_paths: Iterable[str] | None = None,
    all_model_checkpoint_timestamps: Sequence[float] | None = None,
    last_preserved_timestamp: float | None = None,
) -> CheckpointState:
    """The state for a folder. Paths below a relative folder are made relative to it."""
    paths = list(all_model_checkpoint_paths or [])
    if model_checkpoint_path not in paths:
        paths.append(model_checkpoint_path)
    times = list(all_model_checkpoint_timestamps or [])
    if times and len(times) != len(paths):
        raise ValueError(
            f"Checkpoint timestamps, if provided, must match checkpoint paths (got paths {paths} and timestamps {times})"
        )
    # As TensorFlow: relative to the file itself, so that the folder can be moved.
    if not os.path.isabs(save_dir):
        model_checkpoint_path, *paths = [
            p if os.path.isabs(p) else os.path.relpath(p, save_dir or ".") for p in (model_checkpoint_path, *paths)
        ]
    return CheckpointState(model_checkpoint_path, paths, times, last_preserved_timestamp or 0.0)


def update_checkpoint_state(
    save_dir: str | os.PathLike[str],
    model_checkpoint_path: str,
    all_model_checkpoint_paths: Iterable[str] | None = None,
    latest_filename: str | None = None,
    all_model_checkpoint_timestamps: Sequence[float] | None = None,
    last_preserved_timestamp: float | None = None,
    save_relative_paths: bool = False,
) -> None:
    """Writes the file ``checkpoint`` of a folder, atomically.

    Raises:
        RuntimeError: the state file would replace the checkpoint itself.
    """
    folder = os.fspath(save_dir)
    path = _state_file(folder, latest_filename)
    paths = list(all_model_checkpoint_paths or [])
    if save_relative_paths:
        base = folder if os.path.isabs(folder) else None
        model_checkpoint_path, *paths = [
            os.path.relpath(p, base) if os.path.isabs(p) else p for p in (model_checkpoint_path, *paths)
        ]
    state = generate_checkpoint_state_proto(
        folder, model_checkpoint_path, paths, all_model_checkpoint_timestamps, last_preserved_timestamp
    )
    # Before anything is written: the state file would replace the checkpoint.
    if path == state.model_checkpoint_path:
        raise RuntimeError(
            f"Save path '{model_checkpoint_path}' conflicts with path used for checkpoint state.  "
            "Please use a different save path."
        )
    # `_quoted` has escaped everything outside ASCII.
    write_durably(path, [str(state).encode("ascii")])


def checkpoint_file(checkpoint_prefix: str | os.PathLike[str]) -> str:
    """The file of a checkpoint; the prefix itself may name it."""
    prefix = os.fspath(checkpoint_prefix)
    return prefix if prefix.endswith(SUFFIX) else prefix + SUFFIX


def checkpoint_exists(checkpoint_prefix: str | os.PathLike[str]) -> bool:
    """Whether there is a checkpoint of this name."""
    return os.path.isfile(checkpoint_file(checkpoint_prefix))


def latest_checkpoint(checkpoint_dir: str | os.PathLike[str], latest_filename: str | None = None) -> str | None:
    """The name of the newest checkpoint of a folder, for `Saver.restore`; None if there is none."""
    state = get_checkpoint_state(checkpoint_dir, latest_filename)
    if state is None:
        return None
    if checkpoint_exists(state.model_checkpoint_path):
        return state.model_checkpoint_path
    _LOG.error("Couldn't match files for checkpoint %s", state.model_checkpoint_path)
    return None


def get_checkpoint_mtimes(checkpoint_prefixes: Iterable[str]) -> list[float]:
    """When the checkpoints were written (seconds since the epoch); those that do not exist are left out."""
    times = []
    for prefix in checkpoint_prefixes:
        with suppress(OSError):
            times.append(os.stat(checkpoint_file(prefix)).st_mtime)
    return times


def remove_checkpoint(checkpoint_prefix: str | os.PathLike[str]) -> None:
    """Deletes the file of a checkpoint, if there is one."""
    with suppress(FileNotFoundError):
        os.unlink(checkpoint_file(checkpoint_prefix))
