"""LLVM IR text: how types, constants and lanes are spelled, and the target that decides how wide they are."""

from __future__ import annotations

import math
import struct
from functools import lru_cache
from pathlib import Path

import numpy as np

from graphflow.framework.dtypes import DType
from graphflow.framework.records import record

#: Bytes of the largest cache, where the system does not say.
_USUAL_CACHE = 32 << 20


@record(frozen=True, slots=True)
class Target:
    """The machine code is made for: CPU name, its features, the width of its vectors and how many registers hold them, the
    size of its largest cache."""

    cpu: str
    features: str
    vector_bits: int
    vector_registers: int
    cache_bytes: int = _USUAL_CACHE

    @property
    def has_fma(self) -> bool:
        """Every 64-bit machine has a fused multiply-add, except old x86: LLVM would call the C library for each lane."""
        return self.vector_registers == 32 or "+fma" in self.features.split(",")


@lru_cache(maxsize=1)
def host_target() -> Target:
    """The machine this process runs on."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    features = llvm.get_host_cpu_features()
    has = {name for name, on in features.items() if on}
    bits, registers = 128, 16  # SSE2, which every x86-64 has
    if {"avx512f", "avx512bw", "avx512dq", "avx512vl"} <= has:
        bits, registers = 512, 32
    elif "avx2" in has:
        bits = 256
    elif "neon" in has or "sve" in has:
        registers = 32
    return Target(llvm.get_host_cpu_name(), features.flatten(), bits, registers, _cache_bytes() or _USUAL_CACHE)


def _cache_bytes() -> int | None:
    """The size of the largest cache that the first processor has a part in; None where the system does not say."""
    sizes = []
    for file in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        try:
            sizes.append(int(file.read_text().strip().removesuffix("K")) << 10)
        except (OSError, ValueError):
            continue
    return max(sizes, default=None)


#: bfloat16 is held as its bits: LLVM lowers its own type through library calls that not every process has.
_LLVM = {
    "float16": "half", "bfloat16": "i16", "float32": "float", "float64": "double", "int8": "i8", "uint8": "i8",
    "int16": "i16", "uint16": "i16", "int32": "i32", "uint32": "i32", "int64": "i64", "uint64": "i64", "bool": "i1",
}  # fmt: skip


def scalar_type(dtype: DType) -> str:
    """The type of a value in a register (bool is i1 there, and a byte in memory)."""
    return _LLVM[dtype.name]


def memory_type(dtype: DType) -> str:
    return "i8" if dtype.is_bool else _LLVM[dtype.name]


def lanes_type(scalar: str, lanes: int) -> str:
    return scalar if lanes == 1 else f"<{lanes} x {scalar}>"


def literal(value: float | int | bool, dtype: DType) -> str:
    """A constant as LLVM spells it: floats as the hex of their exact double, so that nothing is rounded on the way.

    LLVM refuses decimal constants that are not exact in their type, such as ``float 0.1``.
    """
    if dtype.is_bool:
        return "true" if value else "false"
    if dtype.is_integer:
        bits = dtype.size * 8
        v = int(value) & ((1 << bits) - 1)
        return str(v - (1 << bits) if v >= 1 << (bits - 1) else v)
    x = float(value)
    if dtype.name == "float32":
        try:
            x = float(struct.unpack("<f", struct.pack("<f", x))[0])
        except OverflowError:  # it rounds to infinity
            x = math.copysign(math.inf, x)
    elif dtype.name == "float16":
        return f"0xH{struct.unpack('<H', np.float16(x).tobytes())[0]:04X}"
    if dtype.name == "bfloat16":
        bits32 = struct.unpack("<I", np.float32(x).tobytes())[0]
        rounded = (bits32 + 0x7FFF + ((bits32 >> 16) & 1)) >> 16 if x == x else 0x7FC0
        short = rounded & 0xFFFF
        return str(short - 0x10000 if short >= 0x8000 else short)
    return f"0x{struct.unpack('<Q', struct.pack('<d', x))[0]:016X}"


def splat(text: str, scalar: str, lanes: int) -> str:
    return text if lanes == 1 else f"splat ({scalar} {text})"
