"""Loop IR as text: one statement a line, indented by loop."""

from __future__ import annotations

from graphflow.framework.dims import factor_text
from graphflow_compiler.ir.loops import (
    Atom,
    Binary,
    Bitcast,
    Call,
    Cast,
    Check,
    Const,
    Expr,
    For,
    FromIndex,
    GemmKernel,
    IBinary,
    IConst,
    IData,
    IDim,
    Index,
    IVar,
    Kernel,
    Let,
    Load,
    Select,
    Statement,
    Unary,
    Var,
)

_SYMBOL = {"add": "+", "sub": "-", "mul": "*", "floordiv": "//", "mod": "%"}


def index_to_text(i: Index) -> str:
    if isinstance(i, IConst):
        return str(i.value)
    if isinstance(i, IDim):
        return factor_text(i.name)
    if isinstance(i, IVar):
        return i.name
    if isinstance(i, IData):
        return f"[{atom_to_text(i.value)}]"
    assert isinstance(i, IBinary)
    a, b = index_to_text(i.a), index_to_text(i.b)
    return f"({a} {_SYMBOL[i.op]} {b})" if i.op in _SYMBOL else f"{i.op}({a}, {b})"


def atom_to_text(a: Atom) -> str:
    return a.name if isinstance(a, Var) else repr(a.value)


def expr_to_text(e: Expr) -> str:
    if isinstance(e, (Const, Var)):
        return atom_to_text(e)
    if isinstance(e, Unary):
        return f"{e.op} {atom_to_text(e.x)}"
    if isinstance(e, Binary):
        return f"{e.op} {atom_to_text(e.a)}, {atom_to_text(e.b)}"
    if isinstance(e, Select):
        return f"select {atom_to_text(e.condition)}, {atom_to_text(e.a)}, {atom_to_text(e.b)}"
    if isinstance(e, (Cast, Bitcast)):
        return f"{type(e).__name__.lower()} {atom_to_text(e.x)} to {e.dtype.name}"
    if isinstance(e, Call):
        return f"{'library ' if e.provided and e.fn != 'fma' else ''}{e.fn}({', '.join(map(atom_to_text, e.args))})"
    if isinstance(e, FromIndex):
        return f"index {index_to_text(e.index)}"
    assert isinstance(e, Load)
    where = f" where {atom_to_text(e.mask)}" if e.mask is not None else ""
    return f"{e.buffer}[{index_to_text(e.index)}]{where}"


def _statements(body: tuple[Statement, ...], indent: str, lines: list[str]) -> None:
    for s in body:
        if isinstance(s, Let):
            lines.append(f"{indent}{s.name}: {s.dtype.name} = {expr_to_text(s.value)}")
        elif isinstance(s, Check):
            lines.append(f"{indent}fail {s.code} if {atom_to_text(s.failed)}")
        elif isinstance(s, For):
            marks = f" {s.mode}" + (" parallel" if s.parallel else "")
            lines.append(f"{indent}for {s.var} < {index_to_text(s.extent)}{marks}:")
            _statements(s.body, indent + "  ", lines)
            for a in s.accumulators:
                lines.append(
                    f"{indent}  {a.name}: {a.dtype.name} = {a.combine}({a.name} from {a.init}, {atom_to_text(a.value)})"
                )
        else:
            lines.append(f"{indent}{s.buffer}[{index_to_text(s.index)}] = {atom_to_text(s.value)}")


def _start(buffer: str, index: Index) -> str:
    return buffer if index == IConst(0) else f"{buffer}[{index_to_text(index)}]"


def kernel_to_text(kernel: Kernel) -> str:
    """The kernel's signature, its loops, and the user's ops it came from."""
    lines = [f"kernel {kernel.name}({', '.join(map(factor_text, kernel.dims))})  # {' '.join(kernel.comments)}"]
    for b in kernel.buffers:
        mode = f"{b.access}{' scratch' if b.scratch else ''}{' streams' if b.streams else ''}"
        lines.append(f"  {b.name}: {b.dtype.name}[{index_to_text(b.count)}] {mode}")
    if isinstance(kernel, GemmKernel):
        a = f"{_start(kernel.a, kernel.a_start)}{'^T' if kernel.transpose_a else ''}"
        b_ = f"{_start(kernel.b, kernel.b_start)}{'^T' if kernel.transpose_b else ''}"
        b_ += f" in panels of {kernel.b_panel}" if kernel.b_panel else ""
        sizes = ", ".join(f"{n}={index_to_text(getattr(kernel, n))}" for n in ("batch", "m", "n", "k"))
        lines.append(f"  acc: {kernel.accumulate_dtype.name}[b, i, j] = {a} x {b_}  {sizes}")
        _statements(kernel.epilogue, "    ", lines)
    else:
        _statements(kernel.body, "  ", lines)
    return "\n".join(lines) + "\n"
