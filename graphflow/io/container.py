"""The outer layer of the native format: a valid ``.safetensors`` file whose every byte is covered by a checksum.

    8 bytes    length N of the header, little endian
    N bytes    JSON: {"__metadata__": {string: string}, "<tensor>": {"dtype", "shape", "data_offsets"}, ...}, blanks
    the rest   the tensors, one after the other without holes

The first entry of ``__metadata__`` is the sha256 of length and header (itself read as zeros), so no bit of either can
change unseen; ``graphflow.tensor_sha256`` covers the data. Nothing is allocated by what a header claims: tensors are
views of the file, mapped or read, made after all claims have been held against its size.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import Any, NoReturn

import numpy as np

from graphflow.framework.dtypes import DType, as_dtype
from graphflow.framework.errors import CorruptFileError, FormatError, VersionError
from graphflow.framework.mapped_file import MappedArray, MappedFile, is_own
from graphflow.framework.records import record
from graphflow.io.durable import write_durably

FORMAT_VERSION = 1
MAX_HEADER = 100_000_000  # the limit of the safetensors package
MAX_RANK = 32

_NAME_OF = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "bool": "BOOL",
    "int64": "I64", "int32": "I32", "int16": "I16", "int8": "I8",
    "uint64": "U64", "uint32": "U32", "uint16": "U16", "uint8": "U8",
}  # fmt: skip
_DTYPE_OF = {name: as_dtype(dtype) for dtype, name in _NAME_OF.items()}

_CHECKSUM = "graphflow.header_sha256"
_START = f'{{"__metadata__":{{"{_CHECKSUM}":"'.encode()
_NO_DIGEST = b"0" * 64
_STRINGS = "graphflow.string_shapes"  # string tensors are stored as bytes: 64-bit lengths, then the texts
_DIGESTS = "graphflow.tensor_sha256"


def canonical_json(value: Any) -> str:
    """A JSON value as its one canonical text: sorted keys, no blanks, ASCII; so equal values have equal checksums."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


# ---------------------------------------------------------------------------------------------- writing


def write_container(
    path: str | os.PathLike[str], tensors: Mapping[str, np.ndarray[Any, Any]], metadata: Mapping[str, str]
) -> None:
    """Writes named arrays and metadata texts, durably. Raises FormatError (too much for the format) and OSError."""
    strings: dict[str, list[int]] = {}
    stored: dict[str, tuple[str, np.ndarray[Any, Any]]] = {}
    for name, array in tensors.items():
        dtype = as_dtype(array.dtype)
        if dtype.name == "string":
            strings[name] = list(array.shape)
            array, dtype = _packed_strings(array), as_dtype(np.uint8)
        # The format is little-endian and row-major.
        elif array.dtype.byteorder == ">" or not array.flags.c_contiguous:
            array = np.ascontiguousarray(array, dtype.numpy_dtype).reshape(array.shape)
        stored[name] = (_NAME_OF[dtype.name], array)
    # Large elements first: with no holes between tensors, each then lies on a multiple of its element size.
    names = sorted(stored, key=lambda n: (-stored[n][1].itemsize, n))
    header: dict[str, Any] = {}
    digests: dict[str, str] = {}
    end = 0
    for name in names:
        dtype_name, array = stored[name]
        start, end = end, end + array.nbytes
        header[name] = {"data_offsets": [start, end], "dtype": dtype_name, "shape": list(array.shape)}
        digests[name] = hashlib.sha256(_bytes_of(array)).hexdigest()
    full = {
        "format": "graphflow",
        "graphflow.format_version": str(FORMAT_VERSION),
        "graphflow.min_reader": str(FORMAT_VERSION),
        _DIGESTS: canonical_json(digests),
        _STRINGS: canonical_json(strings),
        **metadata,
    }
    tail = canonical_json(full)[1:] + "".join("," + canonical_json({n: header[n]})[1:-1] for n in names) + "}"
    text = _START + _NO_DIGEST + b'",' + tail.encode("ascii")
    # Blanks up to a multiple of 64, so that the tensors that follow are aligned in the mapped file.
    text += b" " * (-(8 + len(text)) % 64)
    if len(text) > MAX_HEADER:
        raise FormatError(
            f"the graph and the table of tensors take {len(text):,} bytes as text, the format allows {MAX_HEADER:,}"
        )
    length = len(text).to_bytes(8, "little")
    # Over the header with zeros in place of the checksum, which cannot contain itself.
    digest = hashlib.sha256(length + text).hexdigest().encode()
    text = _START + digest + text[len(_START) + 64 :]
    write_durably(path, [length, text, *(_bytes_of(stored[n][1]) for n in names)])


def _bytes_of(array: np.ndarray[Any, Any]) -> memoryview | bytes:
    # An empty array cannot be viewed as bytes.
    if array.size == 0:
        return b""
    return array.reshape(-1).view(np.uint8).data


def _packed_strings(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    texts = [t.encode() if isinstance(t, str) else bytes(t) for t in array.ravel().tolist()]
    packed = b"".join([*(len(t).to_bytes(8, "little") for t in texts), *texts])
    return np.frombuffer(packed, np.uint8)


# ---------------------------------------------------------------------------------------------- reading


@record(frozen=True)
class Entry:
    """One tensor of the table: element type and shape as the user sees them, and its bytes in the file."""

    dtype: DType
    shape: tuple[int, ...]
    start: int
    end: int
    strings: bool = False


@record
class Container:
    """A validated file. `tensor(name)` gives views of it, copy-on-write if it is mapped (strings are copied)."""

    path: str
    metadata: dict[str, str]
    entries: dict[str, Entry]
    _data: memoryview = field(repr=False)
    _digests: dict[str, str] = field(repr=False)
    _mapped: MappedFile | None = field(repr=False)

    def tensor(self, name: str) -> np.ndarray[Any, Any]:
        """The array `name`. KeyError if there is none; FormatError if the file has been written since it was mapped."""
        entry = self.entries[name]
        if self._mapped is not None:
            self._mapped.check()
        # A view: opening a file of gigabytes reads only the pages that are used.
        raw = np.frombuffer(self._data[entry.start : entry.end], np.uint8)
        if entry.strings:
            return _unpacked_strings(self.path, name, raw, entry.shape)
        # Checked per tensor when it is read: kernels rely on 0 and 1.
        if entry.dtype.is_bool and raw.size and raw.max() > 1:
            bad(self.path, f"tensor '{name}' is bool and holds other bytes than 0 and 1")
        found = raw.view(entry.dtype.numpy_dtype).reshape(entry.shape)
        return found if self._mapped is None else found.view(MappedArray)

    def verify(self) -> None:
        """CorruptFileError unless the bytes of every tensor have the recorded checksum."""
        for name, entry in self.entries.items():
            if hashlib.sha256(self._data[entry.start : entry.end]).hexdigest() != self._digests[name]:
                bad(self.path, f"the bytes of tensor '{name}' do not have the recorded checksum")


def bad(path: str, what: str) -> NoReturn:
    raise CorruptFileError(f"{path}: {what}")


def read_container(path: str | os.PathLike[str], verify: bool = True, memory_map: bool | None = None) -> Container:
    """Opens a file that `write_container` made. `verify` False leaves out the checksums of the tensors' bytes.

    `memory_map`: False reads the file as a whole; None does so with a file of another user, who may write it at any time.

    Raises:
        FormatError: the file is something else, damaged (CorruptFileError) or too new (VersionError).
        OSError: it cannot be read.
    """
    name = os.fspath(path)
    with open(name, "rb") as f:
        size = os.fstat(f.fileno()).st_size
        if size < 8:
            bad(name, f"{size} bytes are too few for a graphflow file")
        # Copy-on-write: whoever writes into a view changes his copy of the page, never the file.
        mapped = MappedFile(name, f.fileno()) if memory_map or (memory_map is None and is_own(f.fileno())) else None
        whole = memoryview(bytearray(f.read()) if mapped is None else mapped)
    if len(whole) != size:
        bad(name, f"it changes from {size:,} to {len(whole):,} bytes while it is read")
    length = int.from_bytes(whole[:8], "little")
    # Before anything of that length is read.
    if length > size - 8 or length > MAX_HEADER:
        bad(name, f"a header of {length:,} bytes is claimed in a file of {size:,}")
    text = bytes(whole[8 : 8 + length])
    _check_header(name, text)
    fields = parse_json(name, text, "the header")
    metadata = fields.pop("__metadata__")
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        bad(name, "__metadata__ must map strings to strings")
    _check_version(name, metadata)
    data = whole[8 + length :]
    entries = _entries(name, fields, len(data))
    _apply_string_shapes(name, entries, metadata)
    digests = parse_json(name, metadata.get(_DIGESTS, "{}"), _DIGESTS)
    # A tensor without a checksum, or a checksum without a tensor, means that somebody has changed the file.
    if digests.keys() != entries.keys():
        bad(name, "the table of checksums does not name the tensors of the file")
    container = Container(name, metadata, entries, data, digests, mapped)
    if verify:
        container.verify()
    return container


def _check_header(path: str, text: bytes) -> None:
    if not text.startswith(_START):
        raise FormatError(
            f"{path}: not a file written by graphflow (a graphflow file starts with its checksum; other tools do not "
            "keep it when they rewrite one)"
        )
    given = text[len(_START) : len(_START) + 64]
    # The header as it was when its checksum was computed.
    blank = _START + _NO_DIGEST + text[len(_START) + 64 :]
    if hashlib.sha256(len(text).to_bytes(8, "little") + blank).hexdigest().encode() != given:
        bad(path, "the header does not have the recorded checksum")


def _check_version(path: str, metadata: dict[str, str]) -> None:
    if metadata.get("format") != "graphflow":
        raise FormatError(f"{path}: the format is {metadata.get('format')!r}, not 'graphflow'")
    needed = metadata.get("graphflow.min_reader", "")
    if not needed.isdecimal() or len(needed) > 6:
        bad(path, f"min_reader {needed[:40]!r} is no version number")
    # min_reader, not the version of the writer: newer writers may still write what older readers understand.
    if int(needed) > FORMAT_VERSION:
        raise VersionError(
            f"{path}: needs a reader of format version {needed}, this graphflow reads up to {FORMAT_VERSION}; it was "
            f"written by {metadata.get('graphflow.producer', 'an unknown producer')}. Update graphflow."
        )


def _entries(path: str, fields: dict[str, Any], size: int) -> dict[str, Entry]:
    entries: dict[str, Entry] = {}
    for name, raw in fields.items():
        if not isinstance(raw, dict) or raw.keys() != {"dtype", "shape", "data_offsets"}:
            bad(path, f"tensor '{name}' must have exactly dtype, shape and data_offsets")
        dtype = _DTYPE_OF.get(raw["dtype"]) if isinstance(raw["dtype"], str) else None
        if dtype is None:
            bad(path, f"tensor '{name}' has an unknown dtype")
        shape, offsets = sizes(path, name, raw["shape"]), sizes(path, name, raw["data_offsets"])
        if len(shape) > MAX_RANK or len(offsets) != 2 or not offsets[0] <= offsets[1] <= size:
            bad(path, f"tensor '{name}' of shape {list(shape)[:8]} claims bytes {list(offsets)[:4]} of {size:,}")
        # In Python's ints, which do not overflow whatever the file claims.
        if math.prod(shape) * dtype.size != offsets[1] - offsets[0]:
            bad(path, f"tensor '{name}': {raw['dtype']}{list(shape)} does not take {offsets[1] - offsets[0]:,} bytes")
        entries[name] = Entry(dtype, shape, offsets[0], offsets[1])
    end = 0
    # Tensors follow one another without holes or overlaps, so that every byte belongs to exactly one checksum.
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].start, item[1].end)):
        if entry.start != end:
            bad(path, f"{'overlap' if entry.start < end else 'hole'} before tensor '{name}' at byte {entry.start:,}")
        end = entry.end
    if end != size:
        bad(path, f"{size - end:,} bytes after the last tensor")
    return entries


def sizes(path: str, what: str, value: Any) -> tuple[int, ...]:
    """A JSON list of non-negative ints below 2**63."""
    if not isinstance(value, list) or not all(type(v) is int and 0 <= v < 2**63 for v in value):
        bad(path, f"'{what}': a list of sizes is expected")
    return tuple(value)


def _apply_string_shapes(path: str, entries: dict[str, Entry], metadata: dict[str, str]) -> None:
    for name, raw in parse_json(path, metadata.get(_STRINGS, "{}"), _STRINGS).items():
        entry, shape = entries.get(name), sizes(path, name, raw)
        if entry is None or entry.dtype.name != "uint8" or len(entry.shape) != 1 or len(shape) > MAX_RANK:
            bad(path, f"string tensor '{name}' is not stored as bytes")
        # A string takes at least the 8 bytes of its length: bounds the shape by the size of the file.
        if 8 * math.prod(shape) > entry.end - entry.start:
            bad(path, f"string tensor '{name}' of shape {list(shape)} in {entry.end - entry.start} bytes")
        entries[name] = Entry(as_dtype("string"), shape, entry.start, entry.end, strings=True)


def _unpacked_strings(path: str, name: str, raw: np.ndarray[Any, Any], shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    count = math.prod(shape)
    lengths = [int(n) for n in raw[: 8 * count].view("<u8")]
    # Before any string is cut out.
    if 8 * count + sum(lengths) != raw.size:
        bad(path, f"string tensor '{name}': the lengths do not add up to its bytes")
    out = np.empty(count, dtype=object)
    for i, text in enumerate(_slices(raw[8 * count :].tobytes(), lengths)):
        out[i] = text
    return out.reshape(shape)


def _slices(data: bytes, lengths: list[int]) -> Iterator[bytes]:
    at = 0
    for n in lengths:
        yield data[at : at + n]
        at += n


def parse_json(path: str, text: str | bytes, what: str) -> dict[str, Any]:
    """A JSON object that holds no floats, no NaN, no oversized ints, no duplicate keys and no deep nesting."""

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(items)
        # json.loads keeps the last of equal keys; two readers could see two different files.
        if len(result) != len(items):
            bad(path, f"{what}: a key occurs twice in one object")
        return result

    def integer(digits: str) -> int:
        # 2**64 has 20 digits. int() of a long text takes quadratic time.
        if len(digits) > 20:
            bad(path, f"{what}: an integer of {len(digits)} digits")
        return int(digits)

    def no_float(literal: str) -> NoReturn:
        bad(path, f"{what}: {literal[:40]} where an integer is expected")

    try:
        value = json.loads(text, object_pairs_hook=pairs, parse_int=integer, parse_float=no_float, parse_constant=no_float)
    except RecursionError:
        raise CorruptFileError(f"{path}: {what} is nested too deeply") from None
    except CorruptFileError:
        raise
    except ValueError as e:  # malformed JSON or UTF-8
        raise CorruptFileError(f"{path}: {what} is not JSON: {e}") from None
    if not isinstance(value, dict):
        bad(path, f"{what} must be a JSON object")
    return value
