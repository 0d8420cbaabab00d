"""LLVM text of `native_code.dispatch` that finds the memory of a fed value. The blocks of int64s are described there."""

from __future__ import annotations

# An array's memory, read off numpy's own struct; null for anything that is not exactly what the plan was bound for. Offsets are
# those of PyArrayObject_fields, which `dispatch._struct_is_known` has checked.
_PEEK = """
define internal ptr @peek(ptr %object, ptr %spec, ptr %objects) {
  %array_type = load ptr, ptr %objects
  %p_type = getelementptr i8, ptr %object, i64 8
  %type = load ptr, ptr %p_type
  %is_array = icmp eq ptr %type, %array_type
  br i1 %is_array, label %array, label %no
array:
  %p_descr = getelementptr i8, ptr %object, i64 56
  %descr = load ptr, ptr %p_descr
  %p_want = getelementptr i64, ptr %spec, i64 3
  %want = load ptr, ptr %p_want
  %same_type = icmp eq ptr %descr, %want
  %p_flags = getelementptr i8, ptr %object, i64 64
  %flags = load i32, ptr %p_flags
  %set = and i32 %flags, 257 ; C-contiguous and aligned
  %plain = icmp eq i32 %set, 257
  %p_rank = getelementptr i8, ptr %object, i64 24
  %rank32 = load i32, ptr %p_rank
  %rank = sext i32 %rank32 to i64
  %p_want_rank = getelementptr i64, ptr %spec, i64 2
  %want_rank = load i64, ptr %p_want_rank
  %same_rank = icmp eq i64 %rank, %want_rank
  %ok1 = and i1 %same_type, %plain
  %ok = and i1 %ok1, %same_rank
  br i1 %ok, label %sizes, label %no
sizes:
  %p_shape = getelementptr i8, ptr %object, i64 32
  %shape = load ptr, ptr %p_shape
  %equal = call i1 @same_sizes(ptr %shape, ptr %spec)
  br i1 %equal, label %yes, label %no
yes:
  %p_data = getelementptr i8, ptr %object, i64 16
  %data = load ptr, ptr %p_data
  ret ptr %data
no:
  ret ptr null
}

define internal i1 @same_sizes(ptr %shape, ptr %spec) {
entry:
  %p_rank = getelementptr i64, ptr %spec, i64 2
  %rank = load i64, ptr %p_rank
  %wanted = getelementptr i64, ptr %spec, i64 4
  br label %axis
axis:
  %i = phi i64 [ 0, %entry ], [ %next, %size ]
  %all = icmp eq i64 %i, %rank
  br i1 %all, label %done, label %size
size:
  %p = getelementptr i64, ptr %shape, i64 %i
  %given = load i64, ptr %p
  %q = getelementptr i64, ptr %wanted, i64 %i
  %want = load i64, ptr %q
  %next = add i64 %i, 1
  %equal = icmp eq i64 %given, %want
  br i1 %equal, label %axis, label %done
done:
  %result = phi i1 [ true, %axis ], [ false, %size ]
  ret i1 %result
}
"""

# The memory of anything that exports its buffer; the view is to be released after the run. Null: nothing is held.
# A Py_buffer has 80 bytes: memory at 0, owner at 8, size of an element at 24, rank at 36, format at 40, sizes at 48. A refused
# view gets no owner, so that to release it does nothing. Alignment is checked because no flag of the protocol asks for it, and
# a format of one character means the native byte order.
# Whether a mapped file is still what was mapped, Python finds out: its arrays are refused here.
_BORROW = """
define internal ptr @borrow(ptr %object, ptr %spec, ptr %objects, ptr %view) {
  %p_mapped = getelementptr ptr, ptr %objects, i64 8
  %mapped_type = load ptr, ptr %p_mapped
  %p_type = getelementptr i8, ptr %object, i64 8
  %type = load ptr, ptr %p_type
  %is_mapped = icmp eq ptr %type, %mapped_type
  br i1 %is_mapped, label %none, label %ask
ask:
  %r = call i32 @PyObject_GetBuffer(ptr %object, ptr %view, i32 60) ; FORMAT | ND | STRIDES | C_CONTIGUOUS
  %bad = icmp ne i32 %r, 0
  br i1 %bad, label %refused, label %got
refused:
  call void @PyErr_Clear()
  br label %none
none:
  %p_none = getelementptr i8, ptr %view, i64 8
  store ptr null, ptr %p_none
  ret ptr null
got:
  %memory = load ptr, ptr %view
  %p_item = getelementptr i8, ptr %view, i64 24
  %item = load i64, ptr %p_item
  %low = sub i64 %item, 1
  %bits = ptrtoint ptr %memory to i64
  %off_by = and i64 %bits, %low
  %aligned = icmp eq i64 %off_by, 0
  %p_rank = getelementptr i8, ptr %view, i64 36
  %rank32 = load i32, ptr %p_rank
  %rank = sext i32 %rank32 to i64
  %p_want_rank = getelementptr i64, ptr %spec, i64 2
  %want_rank = load i64, ptr %p_want_rank
  %same_rank = icmp eq i64 %rank, %want_rank
  %p_format = getelementptr i8, ptr %view, i64 40
  %format = load ptr, ptr %p_format
  %char8 = load i8, ptr %format
  %char = zext i8 %char8 to i64
  %p_second = getelementptr i8, ptr %format, i64 1
  %second = load i8, ptr %p_second
  %p_want = getelementptr i64, ptr %spec, i64 1
  %want = load i64, ptr %p_want
  %same_char = icmp eq i64 %char, %want
  %single = icmp eq i8 %second, 0
  %ok1 = and i1 %aligned, %same_rank
  %ok2 = and i1 %same_char, %single
  %ok = and i1 %ok1, %ok2
  br i1 %ok, label %sizes, label %wrong
sizes:
  %p_shape = getelementptr i8, ptr %view, i64 48
  %shape = load ptr, ptr %p_shape
  %equal = call i1 @same_sizes(ptr %shape, ptr %spec)
  br i1 %equal, label %yes, label %wrong
wrong:
  call void @PyBuffer_Release(ptr %view)
  ret ptr null
yes:
  ret ptr %memory
}
"""

# A Python float, int or bool for a scalar, put into a cell of the caller's. Null if it is something else, or does not fit.
# Format characters: 102 is f, 100 d, 105 i, 108 l, 113 q, 63 ?. Of a float nothing can fail; of an int -1 may be an error.
# An int becomes a float32 by way of a double, so it is taken only up to 2^24, below which that rounds nothing.
_NUMBER = """
define internal ptr @number(ptr %object, ptr %spec, ptr %objects, ptr %cell) {
  %p_rank = getelementptr i64, ptr %spec, i64 2
  %rank = load i64, ptr %p_rank
  %scalar = icmp eq i64 %rank, 0
  br i1 %scalar, label %which, label %no
which:
  %p_char = getelementptr i64, ptr %spec, i64 1
  %char = load i64, ptr %p_char
  %p_type = getelementptr i8, ptr %object, i64 8
  %type = load ptr, ptr %p_type
  %p_float = getelementptr ptr, ptr %objects, i64 1
  %float_type = load ptr, ptr %p_float
  %is_float = icmp eq ptr %type, %float_type
  br i1 %is_float, label %float, label %not_float
float:
  %value = call double @PyFloat_AsDouble(ptr %object)
  br label %to_float
to_float:
  %real = phi double [ %value, %float ], [ %converted, %long_to_float ]
  switch i64 %char, label %no [ i64 102, label %single i64 100, label %double ]
single:
  %narrow = fptrunc double %real to float
  store float %narrow, ptr %cell
  ret ptr %cell
double:
  store double %real, ptr %cell
  ret ptr %cell
not_float:
  %p_long = getelementptr ptr, ptr %objects, i64 2
  %long_type = load ptr, ptr %p_long
  %is_long = icmp eq ptr %type, %long_type
  br i1 %is_long, label %long, label %maybe_bool
long:
  %whole = call i64 @PyLong_AsLongLong(ptr %object)
  %minus = icmp eq i64 %whole, -1
  br i1 %minus, label %maybe_failed, label %fits
maybe_failed:
  %error = call ptr @PyErr_Occurred()
  %failed = icmp ne ptr %error, null
  br i1 %failed, label %overflow, label %fits
overflow:
  call void @PyErr_Clear()
  ret ptr null
fits:
  switch i64 %char, label %small [ i64 105, label %int32 i64 108, label %int64 i64 113, label %int64 ]
int32:
  %short = trunc i64 %whole to i32
  %back = sext i32 %short to i64
  %exact = icmp eq i64 %back, %whole
  br i1 %exact, label %store32, label %no
store32:
  store i32 %short, ptr %cell
  ret ptr %cell
int64:
  store i64 %whole, ptr %cell
  ret ptr %cell
small: ; to float32 by way of double: only where that rounds once
  %over = icmp sgt i64 %whole, 16777216
  %under = icmp slt i64 %whole, -16777216
  %large = or i1 %over, %under
  br i1 %large, label %no, label %long_to_float
long_to_float:
  %converted = sitofp i64 %whole to double
  br label %to_float
maybe_bool:
  %is_bool_feed = icmp eq i64 %char, 63
  br i1 %is_bool_feed, label %bool, label %no
bool:
  %p_true = getelementptr ptr, ptr %objects, i64 3
  %true = load ptr, ptr %p_true
  %is_true = icmp eq ptr %object, %true
  %p_false = getelementptr ptr, ptr %objects, i64 4
  %false = load ptr, ptr %p_false
  %is_false = icmp eq ptr %object, %false
  %is_bool = or i1 %is_true, %is_false
  br i1 %is_bool, label %store_bool, label %no
store_bool:
  %byte = zext i1 %is_true to i8
  store i8 %byte, ptr %cell
  ret ptr %cell
no:
  ret ptr null
}
"""

TEXT = _PEEK + _BORROW + _NUMBER
