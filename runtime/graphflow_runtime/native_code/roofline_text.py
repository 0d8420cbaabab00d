"""Two kernels that measure peaks: one does as much arithmetic, one as much memory traffic as the machine can do.

They are made like every other kernel, with vectors as wide as the target's: what they reach is what a kernel can reach.
"""

from __future__ import annotations

from graphflow.framework.dtypes import DType
from graphflow_compiler.codegen.llvm.llvm_text import Target, lanes_type, scalar_type

#: Vectors in a turn of the traffic kernel; its count of elements must be a multiple of this many vectors.
TRAFFIC_UNROLL = 4


def lanes_of(dtype: DType, target: Target) -> int:
    return target.vector_bits // (dtype.size * 8)


def chains(target: Target) -> int:
    """Multiply-adds in flight: more than latency times units of any core, and as many as stay in registers."""
    return target.vector_registers - 4 if target.vector_registers <= 16 else 24


def arithmetic_text(dtype: DType, target: Target) -> str:
    """``void arithmetic(ptr factors, ptr out, i64 turns)``: `chains` independent multiply-adds a turn, each of `lanes_of`.

    `factors`: two elements, x and y of ``a = a * x + y``. `out`: room for one vector, aligned to one element.
    """
    scalar, lanes, count = scalar_type(dtype), lanes_of(dtype, target), chains(target)
    vector, size = lanes_type(scalar, lanes), dtype.size
    short = {"float": "f32", "double": "f64"}.get(scalar)
    fma = f"@llvm.fma.v{lanes}{short}" if short is not None and target.has_fma else None
    multiply, add = ("mul", "add") if short is None else ("fmul", "fadd")
    lines = [f"declare {vector} {fma}({vector}, {vector}, {vector})"] if fma is not None else []
    lines += ["define void @arithmetic(ptr %factors, ptr %out, i64 %turns) {", "start:"]
    lines += [f"  %py = getelementptr {scalar}, ptr %factors, i64 1"]
    for name, pointer in (("x", "%factors"), ("y", "%py")):
        lines += [
            f"  %{name}0 = load {scalar}, ptr {pointer}, align {size}",
            f"  %{name}1 = insertelement {vector} poison, {scalar} %{name}0, i64 0",
            f"  %{name} = shufflevector {vector} %{name}1, {vector} poison, <{lanes} x i32> zeroinitializer",
        ]
    lines += ["  br label %turn", "turn:", "  %i = phi i64 [ 0, %start ], [ %i1, %turn ]"]
    lines += [f"  %a{k} = phi {vector} [ %x, %start ], [ %b{k}, %turn ]" for k in range(count)]
    for k in range(count):
        if fma is not None:
            lines.append(f"  %b{k} = call {vector} {fma}({vector} %a{k}, {vector} %x, {vector} %y)")
        else:
            lines += [f"  %m{k} = {multiply} {vector} %a{k}, %x", f"  %b{k} = {add} {vector} %m{k}, %y"]
    lines += ["  %i1 = add i64 %i, 1", "  %more = icmp ult i64 %i1, %turns", "  br i1 %more, label %turn, label %end", "end:"]
    total = "%b0"
    for k in range(1, count):  # all results are used, or LLVM might leave out what computes them
        lines.append(f"  %s{k} = {add} {vector} {total}, %b{k}")
        total = f"%s{k}"
    lines += [f"  store {vector} {total}, ptr %out, align {size}", "  ret void", "}", ""]
    return "\n".join(lines)


def traffic_text(target: Target) -> str:
    """``void traffic(ptr a, ptr b, ptr c, i64 count, i64 turns)``: a = b + 3 c (a triad) over `count` float32, `turns` times.

    `count`: a multiple of `TRAFFIC_UNROLL` vectors. The arrays start at multiples of 64 bytes.
    """
    lanes = target.vector_bits // 32
    vector, align = f"<{lanes} x float>", target.vector_bits // 8
    lines = [
        "define void @traffic(ptr %a, ptr %b, ptr %c, i64 %count, i64 %turns) {",
        "start:",
        "  br label %turn",
        "turn:",
        "  %t = phi i64 [ 0, %start ], [ %t1, %next ]",
        "  br label %loop",
        "loop:",
        "  %i = phi i64 [ 0, %turn ], [ %i1, %loop ]",
    ]
    for u in range(TRAFFIC_UNROLL):
        lines += [
            f"  %i_{u} = add i64 %i, {u * lanes}",
            f"  %pb{u} = getelementptr float, ptr %b, i64 %i_{u}",
            f"  %b{u} = load {vector}, ptr %pb{u}, align {align}",
            f"  %pc{u} = getelementptr float, ptr %c, i64 %i_{u}",
            f"  %c{u} = load {vector}, ptr %pc{u}, align {align}",
            f"  %m{u} = fmul {vector} %c{u}, splat (float 3.0)",
            f"  %s{u} = fadd {vector} %b{u}, %m{u}",
            f"  %pa{u} = getelementptr float, ptr %a, i64 %i_{u}",
            f"  store {vector} %s{u}, ptr %pa{u}, align {align}",
        ]
    lines += [
        f"  %i1 = add i64 %i, {TRAFFIC_UNROLL * lanes}",
        "  %more = icmp ult i64 %i1, %count",
        "  br i1 %more, label %loop, label %next",
        "next:",
        "  %t1 = add i64 %t, 1",
        "  %again = icmp ult i64 %t1, %turns",
        "  br i1 %again, label %turn, label %end",
        "end:",
        "  ret void",
        "}",
        "",
    ]
    return "\n".join(lines)
