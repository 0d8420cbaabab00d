"""The functions that checked kernels call, as LLVM text, and what a guard holds (see `checked`)."""

from __future__ import annotations

#: What a kernel returns after an access that was outside.
OUTSIDE = 65535
#: Words of a guard before the extents: whether there was an access outside, then the number of its object (buffers first, in
#: the order of the step; stack after them), its offset, its length and the extent of the object in bytes, and 1 for a store.
GUARD_WORDS = 8
#: Bytes of memory that nothing has been written to: NaN in every floating type, else numbers that stand out.
POISON_FLOAT, POISON_OTHER = 0xFF, 0xAB

#: The functions that checked kernels call. An object is given as the address of its start, extent and number. One element of
#: an empty buffer may be loaded: every buffer is backed by memory, and what is not wanted is loaded from its start.
CHECKS = """@graphflow_nowhere = internal global [65536 x i8] zeroinitializer, align 64

define internal i1 @graphflow_outside(ptr %at, i64 %bytes, ptr %object, ptr %guard, i64 %writes) nounwind {
  %start = load i64, ptr %object
  %p_extent = getelementptr i64, ptr %object, i64 1
  %extent = load i64, ptr %p_extent
  %address = ptrtoint ptr %at to i64
  %offset = sub i64 %address, %start
  %empty = icmp eq i64 %extent, 0
  %reads = icmp eq i64 %writes, 0
  %spared = and i1 %empty, %reads
  %room = select i1 %spared, i64 8, i64 %extent
  %most = sub i64 %room, %bytes
  %before = icmp slt i64 %offset, 0
  %after = icmp sgt i64 %offset, %most
  %outside = or i1 %before, %after
  br i1 %outside, label %note, label %done
note:
  %claim = cmpxchg ptr %guard, i64 0, i64 1 seq_cst seq_cst
  %first = extractvalue { i64, i1 } %claim, 1
  br i1 %first, label %write, label %done
write:
  %p_number = getelementptr i64, ptr %object, i64 2
  %number = load i64, ptr %p_number
  %g1 = getelementptr i64, ptr %guard, i64 1
  store i64 %number, ptr %g1
  %g2 = getelementptr i64, ptr %guard, i64 2
  store i64 %offset, ptr %g2
  %g3 = getelementptr i64, ptr %guard, i64 3
  store i64 %bytes, ptr %g3
  %g4 = getelementptr i64, ptr %guard, i64 4
  store i64 %extent, ptr %g4
  %g5 = getelementptr i64, ptr %guard, i64 5
  store i64 %writes, ptr %g5
  br label %done
done:
  ret i1 %outside
}

define ptr @graphflow_checked(ptr %at, i64 %bytes, ptr %object, ptr %guard, i64 %writes) nounwind {
  %outside = call i1 @graphflow_outside(ptr %at, i64 %bytes, ptr %object, ptr %guard, i64 %writes)
  %to = select i1 %outside, ptr @graphflow_nowhere, ptr %at
  ret ptr %to
}

declare i64 @llvm.cttz.i64(i64, i1)
declare i64 @llvm.ctlz.i64(i64, i1)
define ptr @graphflow_checked_lanes(ptr %at, i64 %size, i64 %lanes, ptr %object, ptr %guard, i64 %writes) nounwind {
  %none = icmp eq i64 %lanes, 0
  br i1 %none, label %harmless, label %some
harmless:
  ret ptr %at
some:
  %first = call i64 @llvm.cttz.i64(i64 %lanes, i1 true)
  %leading = call i64 @llvm.ctlz.i64(i64 %lanes, i1 true)
  %last = sub i64 64, %leading
  %count = sub i64 %last, %first
  %bytes = mul i64 %count, %size
  %skipped = mul i64 %first, %size
  %begin = getelementptr i8, ptr %at, i64 %skipped
  %outside = call i1 @graphflow_outside(ptr %begin, i64 %bytes, ptr %object, ptr %guard, i64 %writes)
  %to = select i1 %outside, ptr @graphflow_nowhere, ptr %at
  ret ptr %to
}

declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)
define void @graphflow_checked_copy(ptr %to, ptr %from, i64 %bytes, ptr %target, ptr %source, ptr %guard) nounwind {
  %nothing = icmp eq i64 %bytes, 0
  br i1 %nothing, label %done, label %some
some:
  %reads = call i1 @graphflow_outside(ptr %from, i64 %bytes, ptr %source, ptr %guard, i64 0)
  %writes = call i1 @graphflow_outside(ptr %to, i64 %bytes, ptr %target, ptr %guard, i64 1)
  %negative = icmp slt i64 %bytes, 0
  %bad = or i1 %reads, %writes
  %never = or i1 %bad, %negative
  br i1 %never, label %done, label %copy
copy:
  call void @llvm.memcpy.p0.p0.i64(ptr %to, ptr %from, i64 %bytes, i1 false)
  br label %done
done:
  ret void
}
"""

NAMES = ("graphflow_checked", "graphflow_checked_lanes", "graphflow_checked_copy")

#: Copies one buffer to another: ``i32 copy(ptr from, ptr to, i64 bytes, i64 thread, i64 threads)``, to be checked.
COPY = """declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)
define i32 @kernel(ptr %p0, ptr %p1, i64 %d0, i64 %thread, i64 %threads) nounwind {
entry:
  call void @llvm.memcpy.p0.p0.i64(ptr %p1, ptr %p0, i64 %d0, i1 false)
  ret i32 0
}
"""

#: Fills a buffer with a byte: ``i32 poison(ptr buffer, ptr guard, i64 byte, i64 thread, i64 threads)``.
POISON = f"""declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)
define i32 @kernel(ptr %p0, ptr %guard, i64 %d0, i64 %thread, i64 %threads) nounwind {{
  %at = getelementptr i64, ptr %guard, i64 {GUARD_WORDS}
  %bytes = load i64, ptr %at
  %byte = trunc i64 %d0 to i8
  call void @llvm.memset.p0.i64(ptr %p0, i8 %byte, i64 %bytes, i1 false)
  ret i32 0
}}
"""
