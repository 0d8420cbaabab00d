"""The bridge from Python to a plan's entry: a JIT-built METH_FASTCALL builtin.

``run(control, *feeds, *outputs)`` takes the address of a control block and arrays. It gets each array's memory through the
buffer protocol, checks that each feed is what the plan was bound for (C-contiguous, element type, alignment, shape),
writes the addresses into the plan's table, calls the entry and returns its status. About 40 ns an array, where
``array.ctypes.data`` costs 1.2 us. Only `Py_buffer` (80 bytes) and `PyMethodDef` are relied on, both part of CPython's
stable layout on 64-bit machines.

It returns `MISMATCH` (and has run nothing) if a feed is anything else: Python then converts it, or says what is wrong.

Control block, as int64s: entry, table, dims, number of feeds, whether to release the GIL, the table slot of each array
argument, then for each feed its format character, rank and sizes.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from graphflow_compiler.codegen.jit import compile_module

CONTROL_HEADER = 5
MISMATCH = -1

_TEXT = """
declare i32 @PyObject_GetBuffer(ptr, ptr, i32)
declare void @PyBuffer_Release(ptr)
declare ptr @PyLong_FromLong(i64)
declare i64 @PyLong_AsLongLong(ptr)
declare void @PyErr_Clear()
declare ptr @PyEval_SaveThread()
declare void @PyEval_RestoreThread(ptr)

define ptr @graphflow_run(ptr %self, ptr %args, i64 %n) {
entry:
  %a0 = load ptr, ptr %args
  %address = call i64 @PyLong_AsLongLong(ptr %a0)
  %control = inttoptr i64 %address to ptr
  %function = load ptr, ptr %control
  %c1 = getelementptr i64, ptr %control, i64 1
  %table = load ptr, ptr %c1
  %c2 = getelementptr i64, ptr %control, i64 2
  %dims = load ptr, ptr %c2
  %c3 = getelementptr i64, ptr %control, i64 3
  %feeds = load i64, ptr %c3
  %c4 = getelementptr i64, ptr %control, i64 4
  %gil = load i64, ptr %c4
  %count = sub i64 %n, 1
  %specs_at = add i64 %count, 5
  %spec0 = getelementptr i64, ptr %control, i64 %specs_at
  %bytes = mul i64 %count, 80
  %views = alloca i8, i64 %bytes, align 16
  br label %take
take:
  %i = phi i64 [ 0, %entry ], [ %i1, %taken ]
  %spec = phi ptr [ %spec0, %entry ], [ %spec_next, %taken ]
  %all = icmp eq i64 %i, %count
  br i1 %all, label %go, label %one
one:
  %i1 = add i64 %i, 1
  %pa = getelementptr ptr, ptr %args, i64 %i1
  %object = load ptr, ptr %pa
  %is_feed = icmp ult i64 %i, %feeds
  %flags = select i1 %is_feed, i32 60, i32 1
  %off = mul i64 %i, 80
  %view = getelementptr i8, ptr %views, i64 %off
  %r = call i32 @PyObject_GetBuffer(ptr %object, ptr %view, i32 %flags)
  %bad = icmp ne i32 %r, 0
  br i1 %bad, label %refused, label %got
refused:
  call void @PyErr_Clear()
  br label %drop
got:
  %memory = load ptr, ptr %view
  %si = add i64 %i, 5
  %ps = getelementptr i64, ptr %control, i64 %si
  %slot = load i64, ptr %ps
  %pt = getelementptr ptr, ptr %table, i64 %slot
  store ptr %memory, ptr %pt
  br i1 %is_feed, label %inspect, label %taken
inspect:
  %pitem = getelementptr i8, ptr %view, i64 24
  %item = load i64, ptr %pitem
  %low = sub i64 %item, 1
  %bits = ptrtoint ptr %memory to i64
  %off_by = and i64 %bits, %low
  %aligned = icmp eq i64 %off_by, 0
  %pndim = getelementptr i8, ptr %view, i64 36
  %ndim = load i32, ptr %pndim
  %pformat = getelementptr i8, ptr %view, i64 40
  %format = load ptr, ptr %pformat
  %char = load i8, ptr %format
  %p2 = getelementptr i8, ptr %format, i64 1
  %second = load i8, ptr %p2
  %pshape = getelementptr i8, ptr %view, i64 48
  %shape = load ptr, ptr %pshape
  %want_char = load i64, ptr %spec
  %pwn = getelementptr i64, ptr %spec, i64 1
  %want_ndim = load i64, ptr %pwn
  %sizes = getelementptr i64, ptr %spec, i64 2
  %char64 = zext i8 %char to i64
  %ok1 = icmp eq i64 %char64, %want_char
  %ok2 = icmp eq i8 %second, 0
  %ndim64 = sext i32 %ndim to i64
  %ok3 = icmp eq i64 %ndim64, %want_ndim
  %ok12 = and i1 %ok1, %ok2
  %ok123 = and i1 %ok12, %ok3
  %ok = and i1 %ok123, %aligned
  br i1 %ok, label %axes, label %wrong
axes:
  %axis = phi i64 [ 0, %inspect ], [ %axis1, %same ]
  %rest = icmp eq i64 %axis, %want_ndim
  br i1 %rest, label %fits, label %size
size:
  %pg = getelementptr i64, ptr %shape, i64 %axis
  %given = load i64, ptr %pg
  %pw = getelementptr i64, ptr %sizes, i64 %axis
  %wanted = load i64, ptr %pw
  %equal = icmp eq i64 %given, %wanted
  br i1 %equal, label %same, label %wrong
same:
  %axis1 = add i64 %axis, 1
  br label %axes
fits:
  %after_sizes = getelementptr i64, ptr %sizes, i64 %want_ndim
  br label %taken
wrong:
  call void @PyBuffer_Release(ptr %view)
  br label %drop
taken:
  %spec_next = phi ptr [ %spec, %got ], [ %after_sizes, %fits ]
  br label %take
go:
  %release = icmp ne i64 %gil, 0
  br i1 %release, label %without, label %with
without:
  %state = call ptr @PyEval_SaveThread()
  %s1 = call i32 %function(ptr %table, ptr %dims, i64 0, i64 1)
  call void @PyEval_RestoreThread(ptr %state)
  br label %after
with:
  %s0 = call i32 %function(ptr %table, ptr %dims, i64 0, i64 1)
  br label %after
after:
  %status = phi i32 [ %s1, %without ], [ %s0, %with ]
  br label %give
give:
  %k = phi i64 [ 0, %after ], [ %k1, %released ]
  %none = icmp eq i64 %k, %count
  br i1 %none, label %done, label %released
released:
  %koff = mul i64 %k, 80
  %kv = getelementptr i8, ptr %views, i64 %koff
  call void @PyBuffer_Release(ptr %kv)
  %k1 = add i64 %k, 1
  br label %give
done:
  %wide = sext i32 %status to i64
  %result = call ptr @PyLong_FromLong(i64 %wide)
  ret ptr %result
drop:
  %j = phi i64 [ %i, %refused ], [ %i, %wrong ], [ %j1, %dropped ]
  %empty = icmp eq i64 %j, 0
  br i1 %empty, label %fail, label %dropped
dropped:
  %j1 = sub i64 %j, 1
  %joff = mul i64 %j1, 80
  %jv = getelementptr i8, ptr %views, i64 %joff
  call void @PyBuffer_Release(ptr %jv)
  br label %drop
fail:
  %minus = call ptr @PyLong_FromLong(i64 -1)
  ret ptr %minus
}
"""

_SYMBOLS = (
    "PyObject_GetBuffer",
    "PyBuffer_Release",
    "PyErr_Clear",
    "PyLong_FromLong",
    "PyLong_AsLongLong",
    "PyEval_SaveThread",
    "PyEval_RestoreThread",
)


class _PyMethodDef(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("method", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


_METH_FASTCALL = 0x80


@lru_cache(maxsize=1)
def runner() -> Callable[..., int]:
    """The builtin ``run(control address, *feeds, *outputs) -> status``."""
    import llvmlite.binding as llvm

    for name in _SYMBOLS:
        address = ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value
        assert address is not None
        llvm.add_symbol(name, address)
    engine = compile_module([_TEXT])
    definition = _PyMethodDef(b"graphflow_run", engine.address("graphflow_run"), _METH_FASTCALL, b"runs a plan")
    new = ctypes.pythonapi.PyCFunction_NewEx
    new.restype = ctypes.py_object
    new.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
    builtin: Any = new(ctypes.addressof(definition), None, None)
    _kept.append((engine, definition))  # the builtin points into both for as long as the process lives
    run: Callable[..., int] = builtin
    return run


_kept: list[Any] = []
