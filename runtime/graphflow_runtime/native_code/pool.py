"""The native side of the thread pool, as LLVM text: worker loop, launch, and the barrier between steps.

All threads run the same plan, each its share of every step (SPMD). A control block holds, one cache line each:

    0    number of the job, which a launch raises            64   number of workers that sleep
    128  the job: entry, table, dims, threads                192  1 while a job runs
    256  lowest status that is not 0, or -1                  320  place of each thread: seven lines

A thread's first line says how many barriers of which job it has reached, its second which job it has ended, the others
where it may run (`thread_affinity`). The first two only grow, so whoever waits compares with "at least". Waiting is spin, then
yield to other processes, and for the next job in the end park on a futex. To wake a parked worker takes 25-60 us, so only one
that had nothing to do for some 150 us parks. Linux only; elsewhere plans run on one thread.
"""

from __future__ import annotations

import platform
import sys
from functools import lru_cache

from graphflow_compiler.codegen.jit.engine import Engine, add_symbol, compile_module
from graphflow_runtime.native_code import thread_autotune
from graphflow_runtime.native_code.thread_affinity import GIVEN_AT, LARGE, MASK_BYTES, places_text

#: Where the lines of the threads begin, and their size for one thread.
THREADS_AT, THREAD_BYTES = 320, GIVEN_AT + MASK_BYTES
#: Rounds, of 25-40 ns each, that a worker spins for a job before it parks. Together they must take longer than
#: `thread_autotune.BRIEF_NS`, or a worker that a brief run has woken would park again before the next run begins.
_SPINS = 5000
#: Rounds of spinning at a barrier before yielding to other processes, which then happens in every 16th round.
_PATIENCE = 300

#: The number of the system call, for machines that the pool supports.
_FUTEX = {"x86_64": 202, "aarch64": 98}
_PAUSE = {
    "x86_64": ("declare void @llvm.x86.sse2.pause()", "call void @llvm.x86.sse2.pause()"),
    "aarch64": ("declare void @llvm.aarch64.hint(i32)", "call void @llvm.aarch64.hint(i32 1)"),
}


def is_supported() -> bool:
    """Whether this machine has what the pool is made of."""
    return sys.platform.startswith("linux") and platform.machine() in _FUTEX


def control_bytes(threads: int) -> int:
    return THREADS_AT + THREAD_BYTES * threads


@lru_cache(maxsize=1)
def pool_code() -> Engine:
    """The worker, launch and barrier functions: ``graphflow_barrier(ctl, thread, threads)`` and so on.

    The last is made known to LLVM, for entries to call. Dims of a launch are preceded by six words: the block of
    `thread_autotune`, control block, threads, flags of the steps (see `threaded_entry`), threaded entry, one-thread entry.
    """
    machine = platform.machine()
    declaration, pause = _PAUSE[machine]
    text = thread_autotune.TEXT + _TEXT + places_text(machine)
    numbers = {
        "THREAD_BYTES": THREAD_BYTES,
        "THREADS_AT": THREADS_AT,
        "LARGE": LARGE,
        "FUTEX": _FUTEX[machine],
        "SPINS": _SPINS,
        "PATIENCE": _PATIENCE,
        "BRIEF": thread_autotune.BRIEF,
    }
    for name, value in ("PAUSE", pause), *numbers.items():
        text = text.replace(name, str(value))
    engine = compile_module([f"{declaration}\n{text}"])
    add_symbol("graphflow_barrier", engine.address("graphflow_barrier"))
    return engine


# Futex operations are 128 (wait) and 129 (wake), both private to the process. A futex is a word of 32 bits: the low half of the
# job's number, which on these little-endian machines is at its address. Clock 1 is CLOCK_MONOTONIC; word 20 of the control
# block is the size of the pool.
#
# A thread's count of barriers starts each job at its number shifted left by 32: so counts of a later job are larger than any
# of an earlier one, and nobody has to reset them while others may still look.
#
# A launch raises the job's number first and then looks for sleepers, a worker says that it sleeps first and then lets the futex
# compare that number, all in one order (seq_cst): so one of the two always sees the other, and no wake-up is lost.
_TEXT = """
declare i64 @syscall(i64, ...)
declare i32 @sched_yield()
declare i32 @clock_gettime(i32, ptr)

; waits until the counter at %p is at least %want
define internal void @await(ptr %p, i64 %want) {
entry:
  br label %look
look:
  %n = phi i64 [ 0, %entry ], [ %n1, %again ]
  %seen = load atomic i64, ptr %p acquire, align 64
  %ahead = sub i64 %seen, %want
  %there = icmp sge i64 %ahead, 0
  br i1 %there, label %done, label %wait
wait:
  PAUSE
  %n1 = add i64 %n, 1
  %long = icmp sgt i64 %n1, PATIENCE
  %every = and i64 %n1, 15
  %turn = icmp eq i64 %every, 0
  %give = and i1 %long, %turn
  br i1 %give, label %yield, label %again
yield:
  %ignored = call i32 @sched_yield()
  br label %again
again:
  br label %look
done:
  ret void
}

define internal ptr @place(ptr %ctl, i64 %thread) alwaysinline {
  %offset = mul i64 %thread, THREAD_BYTES
  %at = add i64 %offset, THREADS_AT
  %p = getelementptr i8, ptr %ctl, i64 %at
  ret ptr %p
}

define void @graphflow_barrier(ptr %ctl, i64 %thread, i64 %threads) {
entry:
  %mine = call ptr @place(ptr %ctl, i64 %thread)
  %before = load i64, ptr %mine
  %reached = add i64 %before, 1
  store atomic i64 %reached, ptr %mine release, align 64
  br label %each
each:
  %t = phi i64 [ 0, %entry ], [ %t1, %next ]
  %all = icmp eq i64 %t, %threads
  br i1 %all, label %done, label %one
one:
  %own = icmp eq i64 %t, %thread
  br i1 %own, label %next, label %other
other:
  %theirs = call ptr @place(ptr %ctl, i64 %t)
  call void @await(ptr %theirs, i64 %reached)
  br label %next
next:
  %t1 = add i64 %t, 1
  br label %each
done:
  ret void
}

; one thread's part of the job, then word that it has ended
define internal void @work(ptr %ctl, i64 %thread, i64 %job) {
entry:
  %p_entry = getelementptr i8, ptr %ctl, i64 128
  %function = load ptr, ptr %p_entry
  %p_table = getelementptr i8, ptr %ctl, i64 136
  %table = load ptr, ptr %p_table
  %p_dims = getelementptr i8, ptr %ctl, i64 144
  %dims = load ptr, ptr %p_dims
  %p_threads = getelementptr i8, ptr %ctl, i64 152
  %threads = load i64, ptr %p_threads
  %mine = call ptr @place(ptr %ctl, i64 %thread)
  %ended = getelementptr i8, ptr %mine, i64 64
  %takes_part = icmp slt i64 %thread, %threads
  br i1 %takes_part, label %run, label %end
run:
  %from = shl i64 %job, 32
  store atomic i64 %from, ptr %mine release, align 64
  %ignored = call i32 %function(ptr %table, ptr %dims, i64 %thread, i64 %threads)
  br label %end
end:
  store atomic i64 %job, ptr %ended release, align 64
  ret void
}

; for good
define void @graphflow_worker(ptr %ctl, i64 %thread) {
entry:
  %mine = call ptr @place(ptr %ctl, i64 %thread)
  call void @arrive(ptr %mine)
  %p_asleep = getelementptr i8, ptr %ctl, i64 64
  br label %wait
wait:
  %last = phi i64 [ 0, %entry ], [ %job, %run ]
  br label %look
look:
  %n = phi i64 [ 0, %wait ], [ %n1, %spin ], [ 0, %awake ]
  %job = load atomic i64, ptr %ctl acquire, align 64
  %new = icmp ne i64 %job, %last
  br i1 %new, label %run, label %idle
idle:
  %n1 = add i64 %n, 1
  %tired = icmp sgt i64 %n1, SPINS
  br i1 %tired, label %sleep, label %spin
spin:
  PAUSE
  br label %look
sleep:
  call void @go_to_sleep(ptr %mine)
  ; whoever launches raises the job first and looks for sleepers then: one of the two sees the other
  %asleep = atomicrmw add ptr %p_asleep, i32 1 seq_cst
  %expected = trunc i64 %last to i32
  %r = call i64 (i64, ...) @syscall(i64 FUTEX, ptr %ctl, i64 128, i32 %expected, ptr null, ptr null, i64 0)
  %still = atomicrmw sub ptr %p_asleep, i32 1 seq_cst
  call void @own_processors(ptr %mine)
  br label %awake
awake:
  br label %look
run:
  call void @work(ptr %ctl, i64 %thread, i64 %job)
  br label %wait
}

; all sleepers; in a small pool each elsewhere than here
define internal void @wake(ptr %ctl) {
entry:
  %p_size = getelementptr i64, ptr %ctl, i64 20
  %size = load i64, ptr %p_size
  %large = icmp sge i64 %size, LARGE
  br i1 %large, label %call, label %small
small:
  %here = call i32 @sched_getcpu()
  br label %each
each:
  %t = phi i64 [ 1, %small ], [ %t1, %one ]
  %all = icmp sge i64 %t, %size
  br i1 %all, label %call, label %one
one:
  %t1 = add i64 %t, 1
  %theirs = call ptr @place(ptr %ctl, i64 %t)
  call void @send_away(ptr %theirs, i32 %here)
  br label %each
call:
  %r = call i64 (i64, ...) @syscall(i64 FUTEX, ptr %ctl, i64 129, i32 2147483647, ptr null, ptr null, i64 0)
  ret void
}

define internal i64 @nanoseconds() {
  %time = alloca [2 x i64]
  %ignored = call i32 @clock_gettime(i32 1, ptr %time)
  %seconds = load i64, ptr %time
  %p_rest = getelementptr i64, ptr %time, i64 1
  %rest = load i64, ptr %p_rest
  %whole = mul i64 %seconds, 1000000000
  %ns = add i64 %whole, %rest
  ret i64 %ns
}

; a run on all threads or on one
define i32 @graphflow_launch(ptr %table, ptr %dims, i64 %thread, i64 %threads) {
entry:
  %p_choice = getelementptr i64, ptr %dims, i64 -6
  %choice = load ptr, ptr %p_choice
  %threaded = call i1 @graphflow_choice_next(ptr %choice)
  %start = call i64 @nanoseconds()
  br i1 %threaded, label %all, label %one
all:
  %p_brief = getelementptr i64, ptr %choice, i64 BRIEF
  %brief = load i64, ptr %p_brief
  %asleep_at = alloca i1
  store i1 0, ptr %asleep_at
  %s_all = call i32 @team(ptr %table, ptr %dims, i64 %brief, ptr %asleep_at)
  %was_asleep = load i1, ptr %asleep_at
  br label %ran
one:
  %p_alone = getelementptr i64, ptr %dims, i64 -1
  %alone = load ptr, ptr %p_alone
  %s_one = call i32 %alone(ptr %table, ptr %dims, i64 0, i64 1)
  br label %ran
ran:
  %status = phi i32 [ %s_all, %all ], [ %s_one, %one ]
  %asleep = phi i1 [ %was_asleep, %all ], [ 0, %one ]
  %succeeded = icmp eq i32 %status, 0
  br i1 %succeeded, label %note, label %done
note:
  %end = call i64 @nanoseconds()
  %took = sub i64 %end, %start
  call void @graphflow_choice_note(ptr %choice, i1 %threaded, i1 %asleep, i64 %took)
  br label %done
done:
  ret i32 %status
}

define internal i32 @team(ptr %table, ptr %dims, i64 %brief, ptr %asleep_at) {
entry:
  %p_ctl = getelementptr i64, ptr %dims, i64 -5
  %ctl = load ptr, ptr %p_ctl
  %p_alone = getelementptr i64, ptr %dims, i64 -1
  %alone = load ptr, ptr %p_alone
  %is_brief = icmp ne i64 %brief, 0
  br i1 %is_brief, label %brief_run, label %take
brief_run: ; it would be over before a sleeper is awake: that one is woken for the runs that may follow
  %p_resting = getelementptr i8, ptr %ctl, i64 64
  %resting = load atomic i32, ptr %p_resting seq_cst, align 64
  %someone = icmp ne i32 %resting, 0
  br i1 %someone, label %wake_only, label %take
wake_only:
  call void @wake(ptr %ctl)
  br label %by_itself
take:
  %p_taken = getelementptr i8, ptr %ctl, i64 192
  %was = cmpxchg ptr %p_taken, i32 0, i32 1 seq_cst seq_cst
  %free = extractvalue { i32, i1 } %was, 1
  br i1 %free, label %start, label %by_itself
by_itself: ; this too where another session has the pool
  store i1 1, ptr %asleep_at
  %status1 = call i32 %alone(ptr %table, ptr %dims, i64 0, i64 1)
  ret i32 %status1
start:
  %p_count = getelementptr i64, ptr %dims, i64 -4
  %count = load i64, ptr %p_count
  %p_function = getelementptr i64, ptr %dims, i64 -2
  %function = load ptr, ptr %p_function
  %p_entry = getelementptr i8, ptr %ctl, i64 128
  store ptr %function, ptr %p_entry
  %p_table = getelementptr i8, ptr %ctl, i64 136
  store ptr %table, ptr %p_table
  %p_dims = getelementptr i8, ptr %ctl, i64 144
  store ptr %dims, ptr %p_dims
  %p_threads = getelementptr i8, ptr %ctl, i64 152
  store i64 %count, ptr %p_threads
  %p_failed = getelementptr i8, ptr %ctl, i64 256
  store atomic i32 -1, ptr %p_failed seq_cst, align 64
  %before = atomicrmw add ptr %ctl, i64 1 seq_cst
  %job = add i64 %before, 1
  %p_asleep = getelementptr i8, ptr %ctl, i64 64
  %asleep = load atomic i32, ptr %p_asleep seq_cst, align 64
  %sleepers = icmp ne i32 %asleep, 0
  br i1 %sleepers, label %wake, label %work
wake:
  call void @wake(ptr %ctl)
  ; give way at once: a worker may be queued on this very core
  %ignored = call i32 @sched_yield()
  br label %work
work:
  call void @work(ptr %ctl, i64 0, i64 %job)
  %p_size = getelementptr i64, ptr %ctl, i64 20
  %size = load i64, ptr %p_size
  br label %each
each:
  %t = phi i64 [ 1, %work ], [ %t1, %one ]
  %all = icmp sge i64 %t, %size
  br i1 %all, label %done, label %one
one:
  %t1 = add i64 %t, 1
  %theirs = call ptr @place(ptr %ctl, i64 %t)
  %ended = getelementptr i8, ptr %theirs, i64 64
  call void @await(ptr %ended, i64 %job)
  br label %each
done:
  %status = load atomic i32, ptr %p_failed seq_cst, align 64
  store atomic i32 0, ptr %p_taken seq_cst, align 64
  %none = icmp eq i32 %status, -1
  %result = select i1 %none, i32 0, i32 %status
  ret i32 %result
}
"""
