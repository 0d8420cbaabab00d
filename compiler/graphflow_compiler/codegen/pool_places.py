"""Where workers wake up: on another processor than the thread that wakes them, as LLVM text.

A system that is asked to wake a thread likes to put it on the processor of the thread that asks, and moves one of the two
only after some milliseconds. Runs that are shorter find both on one processor, taking turns: each takes twice the time of one
thread (390 instead of 107 us for a training step of 190), and the choice of threads never sees that two would be faster. So
whoever wakes a worker first forbids it the own processor, and the worker allows itself all of its processors again as soon
as it runs, for it may be needed there later.

A thread's place holds for this: the system's number of the thread, the bytes of its mask of processors (0: not known), a
state, and the mask itself. States: 0 the thread has its own mask; 1 it was sent away; 2 it is being sent away; 3 its mask is
being read. They pass from 0 or 1 to 2, from 2 to 1, from 1 to 0, and from 0 to 3 and back, so what is read is never a mask
with a processor missing that was forbidden here.
"""

from __future__ import annotations

#: Of a thread's place, and its bytes: processors up to number 1023.
TID_AT, LENGTH_AT, STATE_AT, MASK_AT, MASK_BYTES = 128, 136, 144, 192, 128
#: gettid, sched_getaffinity, sched_setaffinity.
SYSTEM_CALLS = {"x86_64": (186, 204, 203), "aarch64": (178, 123, 122)}


def places_text(machine: str) -> str:
    """``void @own_processors(ptr place)``, called by a worker before it sleeps and when it wakes; ``void @send_away(ptr place,
    i32 processor)``, called for a worker before it is woken. `syscall` is declared elsewhere."""
    gettid, getaffinity, setaffinity = SYSTEM_CALLS[machine]
    return f"""
declare i32 @sched_getcpu()
declare void @llvm.memcpy.inline.p0.p0.i64(ptr, ptr, i64 immarg, i1 immarg)

; allows the calling thread all its processors again, or notes which they are
define internal void @own_processors(ptr %place) {{
entry:
  %p_state = getelementptr i8, ptr %place, i64 {STATE_AT}
  %p_length = getelementptr i8, ptr %place, i64 {LENGTH_AT}
  %mask = getelementptr i8, ptr %place, i64 {MASK_AT}
  %back = cmpxchg ptr %p_state, i32 1, i32 0 seq_cst seq_cst
  %was_away = extractvalue {{ i32, i1 }} %back, 1
  br i1 %was_away, label %allow, label %look
allow:
  %known = load i64, ptr %p_length
  %ignored = call i64 (i64, ...) @syscall(i64 {setaffinity}, i32 0, i64 %known, ptr %mask)
  ret void
look:
  %read = cmpxchg ptr %p_state, i32 0, i32 3 seq_cst seq_cst
  %may_read = extractvalue {{ i32, i1 }} %read, 1
  br i1 %may_read, label %note, label %done
note:
  %tid = call i64 (i64, ...) @syscall(i64 {gettid})
  %number = trunc i64 %tid to i32
  %p_tid = getelementptr i8, ptr %place, i64 {TID_AT}
  store i32 %number, ptr %p_tid
  %length = call i64 (i64, ...) @syscall(i64 {getaffinity}, i32 0, i64 {MASK_BYTES}, ptr %mask)
  store i64 %length, ptr %p_length
  store atomic i32 0, ptr %p_state seq_cst, align 16
  ret void
done:
  ret void
}}

define internal void @send_away(ptr %place, i32 %processor) {{
entry:
  %others = alloca [{MASK_BYTES} x i8], align 16
  %p_state = getelementptr i8, ptr %place, i64 {STATE_AT}
  %state = load atomic i32, ptr %p_state seq_cst, align 16
  %settled = icmp ule i32 %state, 1
  br i1 %settled, label %begin, label %done
begin:
  %taken = cmpxchg ptr %p_state, i32 %state, i32 2 seq_cst seq_cst
  %mine = extractvalue {{ i32, i1 }} %taken, 1
  br i1 %mine, label %copy, label %done
copy:
  %p_length = getelementptr i8, ptr %place, i64 {LENGTH_AT}
  %length = load i64, ptr %p_length
  %mask = getelementptr i8, ptr %place, i64 {MASK_AT}
  call void @llvm.memcpy.inline.p0.p0.i64(ptr %others, ptr %mask, i64 {MASK_BYTES}, i1 false)
  %bits = shl i64 %length, 3
  %wide = zext i32 %processor to i64
  %within = icmp ult i64 %wide, %bits
  %sane = icmp ule i64 %length, {MASK_BYTES} ; not where the system said no
  %known = and i1 %within, %sane
  br i1 %known, label %forbid, label %stay
forbid:
  %at = lshr i64 %wide, 3
  %p_byte = getelementptr i8, ptr %others, i64 %at
  %old = load i8, ptr %p_byte
  %low = and i32 %processor, 7
  %one = shl i32 1, %low
  %bit = trunc i32 %one to i8
  %rest = xor i8 %bit, -1
  %new = and i8 %old, %rest
  store i8 %new, ptr %p_byte
  br label %any
any: ; another processor must be left
  %i = phi i64 [ 0, %forbid ], [ %i1, %next ]
  %over = icmp uge i64 %i, %length
  br i1 %over, label %stay, label %next
next:
  %p_some = getelementptr i8, ptr %others, i64 %i
  %some = load i8, ptr %p_some
  %i1 = add i64 %i, 1
  %left = icmp ne i8 %some, 0
  br i1 %left, label %send, label %any
send:
  %p_tid = getelementptr i8, ptr %place, i64 {TID_AT}
  %tid = load i32, ptr %p_tid
  %result = call i64 (i64, ...) @syscall(i64 {setaffinity}, i32 %tid, i64 %length, ptr %others)
  store atomic i32 1, ptr %p_state seq_cst, align 16
  ret void
stay:
  store atomic i32 %state, ptr %p_state seq_cst, align 16
  ret void
done:
  ret void
}}
"""
