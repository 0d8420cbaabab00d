"""LLVM text of the two builtins of `native_code.dispatch`. The blocks of int64s are described there."""

from __future__ import annotations

from graphflow_runtime.native_code import dispatch_feeds_text, dispatch_run_text

_DECLARATIONS = """
declare i32 @PyObject_GetBuffer(ptr, ptr, i32)
declare void @PyBuffer_Release(ptr)
declare ptr @PyObject_VectorcallDict(ptr, ptr, i64, ptr)
declare ptr @PyObject_GetItem(ptr, ptr)
declare ptr @PyTuple_New(i64)
declare i32 @PyTuple_SetItem(ptr, i64, ptr)
declare ptr @PyTuple_GetItem(ptr, i64)
declare ptr @PyList_New(i64)
declare i32 @PyList_SetItem(ptr, i64, ptr)
declare ptr @PyLong_FromLong(i64)
declare i64 @PyLong_AsLongLong(ptr)
declare double @PyFloat_AsDouble(ptr)
declare ptr @PyErr_Occurred()
declare void @PyErr_Clear()
declare void @Py_IncRef(ptr)
declare void @Py_DecRef(ptr)
declare ptr @PyEval_SaveThread()
declare void @PyEval_RestoreThread(ptr)
"""

# Both are METH_FASTCALL functions: self, the arguments, their number. The self of graphflow_call is the tuple (address of the
# cells, Python function for the slow way, Python function that raises for a status); graphflow_run has the address of the
# control as its first argument instead.
_BUILTINS = """
define ptr @graphflow_call(ptr %self, ptr %args, i64 %n) {
entry:
  %status = alloca i32
  %number = call ptr @PyTuple_GetItem(ptr %self, i64 0)
  %address = call i64 @PyLong_AsLongLong(ptr %number)
  %cells = inttoptr i64 %address to ptr
  %p_used = getelementptr i64, ptr %cells, i64 1
  store i64 1, ptr %p_used
  %control = load ptr, ptr %cells
  %unbound = icmp eq ptr %control, null
  br i1 %unbound, label %slow, label %fast
fast: ; held until all has been said of this run: what Python runs meanwhile, here or on another thread, may bind anew
  %p_owner = getelementptr ptr, ptr %control, i64 15
  %owner = load ptr, ptr %p_owner
  call void @Py_IncRef(ptr %owner)
  %structure = getelementptr i64, ptr %cells, i64 2
  %result = call ptr @run(ptr %control, ptr %structure, ptr %args, i64 %n, i1 true, ptr %status)
  %succeeded = icmp ne ptr %result, null
  br i1 %succeeded, label %done, label %why
done:
  call void @Py_DecRef(ptr %owner)
  ret ptr %result
why:
  %code = load i32, ptr %status
  %all = add i64 %n, 2
  switch i32 %code, label %tell [ i32 -1, label %refused i32 NO_MEMORY, label %no_memory ]
refused:
  call void @Py_DecRef(ptr %owner)
  br label %slow
slow:
  %other = call ptr @PyTuple_GetItem(ptr %self, i64 1)
  %slowly = call ptr @PyObject_VectorcallDict(ptr %other, ptr %args, i64 %n, ptr null)
  ret ptr %slowly
no_memory: ; that alone is told, else also whose run it was, and on what
  br label %tell
tell:
  %things = phi i64 [ 1, %no_memory ], [ %all, %why ]
  %handler = call ptr @PyTuple_GetItem(ptr %self, i64 2)
  %wide = sext i32 %code to i64
  %code_object = call ptr @PyLong_FromLong(i64 %wide)
  %no_code = icmp eq ptr %code_object, null
  br i1 %no_code, label %untold, label %handle
untold: ; for want of memory, which is then what is raised
  call void @Py_DecRef(ptr %owner)
  ret ptr null
handle:
  %arguments = alloca ptr, i64 %all
  store ptr %code_object, ptr %arguments
  %second = getelementptr ptr, ptr %arguments, i64 1
  store ptr %owner, ptr %second
  %third = getelementptr ptr, ptr %arguments, i64 2
  br label %copy
copy:
  %k = phi i64 [ 0, %handle ], [ %k1, %copy_one ]
  %copied = icmp eq i64 %k, %n
  br i1 %copied, label %raise, label %copy_one
copy_one:
  %k1 = add i64 %k, 1
  %p_from = getelementptr ptr, ptr %args, i64 %k
  %argument = load ptr, ptr %p_from
  %p_to = getelementptr ptr, ptr %third, i64 %k
  store ptr %argument, ptr %p_to
  br label %copy
raise:
  %raising = call ptr @PyObject_VectorcallDict(ptr %handler, ptr %arguments, i64 %things, ptr null)
  call void @Py_DecRef(ptr %code_object)
  call void @Py_DecRef(ptr %owner)
  ret ptr %raising
}

define ptr @graphflow_run(ptr %self, ptr %args, i64 %n) {
entry:
  %status = alloca i32
  %a0 = load ptr, ptr %args
  %address = call i64 @PyLong_AsLongLong(ptr %a0)
  %control = inttoptr i64 %address to ptr
  %rest = getelementptr ptr, ptr %args, i64 1
  %count = sub i64 %n, 1
  %structure = getelementptr i64, ptr %control, i64 17
  %result = call ptr @run(ptr %control, ptr %structure, ptr %rest, i64 %count, i1 false, ptr %status)
  %succeeded = icmp ne ptr %result, null
  br i1 %succeeded, label %done, label %why
done:
  ret ptr %result
why:
  %code = load i32, ptr %status
  %raised = icmp eq i32 %code, 0
  br i1 %raised, label %error, label %report
error:
  ret ptr null
report:
  %wide = sext i32 %code to i64
  %code_object = call ptr @PyLong_FromLong(i64 %wide)
  ret ptr %code_object
}
"""

TEXT = (
    _DECLARATIONS
    + dispatch_feeds_text.TEXT
    + dispatch_run_text.TEXT
    + _BUILTINS.replace("NO_MEMORY", str(dispatch_run_text.NO_MEMORY))
)
