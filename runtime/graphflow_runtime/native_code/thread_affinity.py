"""Thread affinity of workers, as LLVM text: a worker wakes up on another processor than the thread that wakes it.

Linux likes to put a woken thread on the processor of the thread that wakes it, and moves one of the two only after some
milliseconds. Shorter runs find both on one processor, taking turns: each takes twice the time of one thread (390 instead of
107 us for a training step of 190), and the choice of threads never sees that two would be faster. So whoever wakes a worker
first removes its own processor from the worker's affinity mask, and the worker restores the mask as soon as it runs, for it
may be needed on that processor later. Large pools do without: they have a processor for each worker, and to change all masks
would take longer than to wake the workers. A mask that somebody else (`taskset`, a job scheduler) has set meanwhile stays.

A thread's place holds for this: its id in the system, whether it sleeps, the length of an affinity mask in bytes, a state, the
mask that the thread had and the one that it was given. States: 0 the mask is the thread's own; 1 a processor is removed from
it; 2 it is being changed. They pass from 0 to 2, on to 1 or (there is no other processor) back to 0, and from 1 to 0.
"""

from __future__ import annotations

#: Offsets in a thread's place. A mask of 128 bytes holds processors up to number 1023.
TID_AT, ASLEEP_AT, LENGTH_AT, STATE_AT, OLD_AT, GIVEN_AT, MASK_BYTES = 128, 132, 136, 144, 192, 320, 128
#: Pools of at least this many threads leave it to the system where workers wake.
LARGE = 16
#: The numbers of the system calls gettid, sched_getaffinity and sched_setaffinity.
_SYSTEM_CALLS = {"x86_64": (186, 204, 203), "aarch64": (178, 123, 122)}


def places_text(machine: str) -> str:
    """``void @arrive(ptr place)`` is called by a worker once, ``void @go_to_sleep(ptr place)`` before it sleeps and ``void
    @own_processors(ptr place)`` when it wakes, ``void @send_away(ptr place, i32 processor)`` for it before it is woken.
    `syscall` is declared elsewhere."""
    gettid, getaffinity, setaffinity = _SYSTEM_CALLS[machine]
    return f"""
declare i32 @sched_getcpu()
declare i32 @memcmp(ptr, ptr, i64)
declare void @llvm.memcpy.inline.p0.p0.i64(ptr, ptr, i64 immarg, i1 immarg)

define internal void @arrive(ptr %place) {{
  %tid = call i64 (i64, ...) @syscall(i64 {gettid})
  %number = trunc i64 %tid to i32
  %p_tid = getelementptr i8, ptr %place, i64 {TID_AT}
  store atomic i32 %number, ptr %p_tid seq_cst, align 64
  ret void
}}

define internal void @go_to_sleep(ptr %place) {{
  call void @own_processors(ptr %place) ; whoever woke it last may have been slow
  %p_asleep = getelementptr i8, ptr %place, i64 {ASLEEP_AT}
  store atomic i32 1, ptr %p_asleep seq_cst, align 4
  ret void
}}

define internal void @own_processors(ptr %place) {{
entry:
  %p_asleep = getelementptr i8, ptr %place, i64 {ASLEEP_AT}
  store atomic i32 0, ptr %p_asleep seq_cst, align 4
  %current = alloca [{MASK_BYTES} x i8], align 16
  %p_state = getelementptr i8, ptr %place, i64 {STATE_AT}
  %state = load atomic i32, ptr %p_state seq_cst, align 16
  %taken = icmp eq i32 %state, 1
  br i1 %taken, label %look, label %done
look:
  %read = call i64 (i64, ...) @syscall(i64 {getaffinity}, i32 0, i64 {MASK_BYTES}, ptr %current)
  %p_length = getelementptr i8, ptr %place, i64 {LENGTH_AT}
  %length = load i64, ptr %p_length
  %given = getelementptr i8, ptr %place, i64 {GIVEN_AT}
  %as_long = icmp eq i64 %read, %length
  br i1 %as_long, label %compare, label %settle
compare:
  %difference = call i32 @memcmp(ptr %current, ptr %given, i64 %length)
  %untouched = icmp eq i32 %difference, 0
  br i1 %untouched, label %restore, label %settle
restore:
  %old = getelementptr i8, ptr %place, i64 {OLD_AT}
  %ignored = call i64 (i64, ...) @syscall(i64 {setaffinity}, i32 0, i64 %length, ptr %old)
  br label %settle
settle:
  store atomic i32 0, ptr %p_state seq_cst, align 16
  br label %done
done:
  ret void
}}

define internal void @send_away(ptr %place, i32 %processor) {{
entry:
  %p_state = getelementptr i8, ptr %place, i64 {STATE_AT}
  %p_tid = getelementptr i8, ptr %place, i64 {TID_AT}
  %tid = load atomic i32, ptr %p_tid seq_cst, align 64
  %there = icmp ne i32 %tid, 0 ; which would be this thread
  %p_asleep = getelementptr i8, ptr %place, i64 {ASLEEP_AT}
  %asleep = load atomic i32, ptr %p_asleep seq_cst, align 4
  %sleeps = icmp ne i32 %asleep, 0
  %needed = and i1 %there, %sleeps
  br i1 %needed, label %begin, label %done
begin:
  %taken = cmpxchg ptr %p_state, i32 0, i32 2 seq_cst seq_cst
  %mine = extractvalue {{ i32, i1 }} %taken, 1
  br i1 %mine, label %look, label %done
look:
  %old = getelementptr i8, ptr %place, i64 {OLD_AT}
  %given = getelementptr i8, ptr %place, i64 {GIVEN_AT}
  %length = call i64 (i64, ...) @syscall(i64 {getaffinity}, i32 %tid, i64 {MASK_BYTES}, ptr %old)
  %p_length = getelementptr i8, ptr %place, i64 {LENGTH_AT}
  store i64 %length, ptr %p_length
  call void @llvm.memcpy.inline.p0.p0.i64(ptr %given, ptr %old, i64 {MASK_BYTES}, i1 false)
  %bits = shl i64 %length, 3
  %wide = zext i32 %processor to i64
  %within = icmp ult i64 %wide, %bits
  %sane = icmp ule i64 %length, {MASK_BYTES} ; not where the system said no
  %known = and i1 %within, %sane
  br i1 %known, label %take, label %stay
take:
  %at = lshr i64 %wide, 3
  %p_byte = getelementptr i8, ptr %given, i64 %at
  %before = load i8, ptr %p_byte
  %low = and i32 %processor, 7
  %one = shl i32 1, %low
  %bit = trunc i32 %one to i8
  %others = xor i8 %bit, -1
  %after = and i8 %before, %others
  store i8 %after, ptr %p_byte
  br label %any
any: ; another processor must be left
  %i = phi i64 [ 0, %take ], [ %i1, %next ]
  %over = icmp uge i64 %i, %length
  br i1 %over, label %stay, label %next
next:
  %p_some = getelementptr i8, ptr %given, i64 %i
  %some = load i8, ptr %p_some
  %i1 = add i64 %i, 1
  %left = icmp ne i8 %some, 0
  br i1 %left, label %send, label %any
send:
  %result = call i64 (i64, ...) @syscall(i64 {setaffinity}, i32 %tid, i64 %length, ptr %given)
  store atomic i32 1, ptr %p_state seq_cst, align 16
  ret void
stay:
  store atomic i32 0, ptr %p_state seq_cst, align 16
  ret void
done:
  ret void
}}
"""
