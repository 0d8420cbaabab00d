"""The choice between all threads and one for a run, made in native code: whichever has been faster lately, with the same bits.

All threads are the slower way if a plan is too small, or if a neighbour keeps a core busy. The way that is not taken is tried
again for a few runs: soon after a change of ways, which noise may have caused, then ever more rarely. It is tried most rarely
while all threads are clearly faster, since the time of one thread is known and does not depend on neighbours. The ways are
compared by the median of their last runs, because single runs are disturbed by whatever else the machine does. The first run
after a change of ways does not count: it finds the workers asleep, or about to be.
"""

from __future__ import annotations

from typing import Any

import numpy as np

#: Words of the block of a plan. Word 0 counts the runs of a period, in which a trial of the other way begins with run number
#: _TRIAL and lasts for as many runs. _THREADED: 1 if all threads are the faster way. _LAST: the way of the last run, or -1.
#: _NOTED (two words): runs of each way that count. _PERIOD: runs of a period. BRIEF: 1 if a run is too short to wait for a
#: worker to wake. _ASLEEP: runs in a row that found workers asleep or taken. _TIMES: _KEPT times of one thread, then of all.
_THREADED, _LAST, _NOTED, _PERIOD, BRIEF, _TRIAL, _ASLEEP, _TIMES = 1, 2, 3, 5, 6, 7, 8, 9
#: A run that takes longer than this on one thread waits for parked workers to wake. If it did not, it would never find them
#: awake: a woken worker spins for not much longer than this, then parks again. Which runs are brief is a guess at first.
BRIEF_NS = 100_000
_KEPT = 9
_FIRST_PERIOD = 20
#: The longest period while all threads are the usual way, and while one is: a trial of one thread costs the time of its runs
#: once more, one of all threads shows when a neighbour has gone.
_LONGEST_PERIOD, _LONGEST_ALONE = 512, 96
#: The longest period where all threads take at most four fifths of the time of one, and the factor by which periods grow there.
_LONGEST_CLEAR, _GROWTH_CLEAR = 8192, 8
#: Up to this many runs in a row that found workers asleep are passed over, as they say little of several threads. Later ones
#: count, as nothing better is to be had.
_MOST_ASLEEP = 8
_NEVER = 1 << 62
# Missing times are alternately the shortest and the longest possible, so the median of all is that of the times there are.
_NO_TIMES = tuple(_NEVER if i % 2 else 0 for i in range(_KEPT))


def new_choice(brief: bool, long: bool = False, always: bool = False) -> np.ndarray[Any, Any]:
    """The block of one plan. `long`: a run is milliseconds, so a trial is few. `always`: all threads, without trials."""
    trial = 2 if long else 4
    runs, period = (2 * trial, _NEVER) if always else (0, _FIRST_PERIOD)
    return np.array([runs, 1, -1, 0, 0, period, int(brief), trial, 0, *_NO_TIMES, *_NO_TIMES], np.int64)


def _median() -> str:
    """LLVM text of ``i64 median(ptr)`` of _KEPT numbers, by a sorting network (odd-even transposition): without branches."""
    lines = ["define internal i64 @median(ptr %p) {"]
    for i in range(_KEPT):
        lines += [f"  %p{i} = getelementptr i64, ptr %p, i64 {i}", f"  %v{i}_0 = load i64, ptr %p{i}"]
    version = [0] * _KEPT
    for a, b in ((i, i + 1) for turn in range(_KEPT) for i in range(turn % 2, _KEPT - 1, 2)):
        x, y = f"%v{a}_{version[a]}", f"%v{b}_{version[b]}"
        version[a] += 1
        version[b] += 1
        lines += [
            f"  %v{a}_{version[a]} = call i64 @llvm.smin.i64(i64 {x}, i64 {y})",
            f"  %v{b}_{version[b]} = call i64 @llvm.smax.i64(i64 {x}, i64 {y})",
        ]
    middle = _KEPT // 2
    return "\n".join([*lines, f"  ret i64 %v{middle}_{version[middle]}", "}", ""])


#: ``i1 graphflow_choice_next(ptr choice)`` says whether the run that now begins takes all threads, and
#: ``graphflow_choice_note(choice, threaded, asleep, nanoseconds)`` hears what it took; `asleep`: on one thread after all.
TEXT = (
    "declare i64 @llvm.smin.i64(i64, i64)\ndeclare i64 @llvm.smax.i64(i64, i64)\n"
    + _median()
    + f"""
define i1 @graphflow_choice_next(ptr %choice) {{
  %runs = load i64, ptr %choice
  %p_trial = getelementptr i64, ptr %choice, i64 {_TRIAL}
  %length = load i64, ptr %p_trial
  %p_usual = getelementptr i64, ptr %choice, i64 {_THREADED}
  %usual = load i64, ptr %p_usual
  %since = sub i64 %runs, %length
  %trial = icmp ult i64 %since, %length
  %threads = icmp ne i64 %usual, 0
  %threaded = xor i1 %threads, %trial
  ret i1 %threaded
}}

define void @graphflow_choice_note(ptr %choice, i1 %threaded, i1 %asleep, i64 %took) {{
entry:
  %p_asleep = getelementptr i64, ptr %choice, i64 {_ASLEEP}
  %before_asleep = load i64, ptr %p_asleep
  %more_asleep = add i64 %before_asleep, 1
  %in_a_row = select i1 %asleep, i64 %more_asleep, i64 0
  store i64 %in_a_row, ptr %p_asleep
  %few = icmp ule i64 %in_a_row, {_MOST_ASLEEP}
  %passed_over = and i1 %asleep, %few
  br i1 %passed_over, label %done, label %count
count:
  %p_length = getelementptr i64, ptr %choice, i64 {_TRIAL}
  %length = load i64, ptr %p_length
  %p_period = getelementptr i64, ptr %choice, i64 {_PERIOD}
  %period = load i64, ptr %p_period
  %runs = load i64, ptr %choice
  %runs1 = add i64 %runs, 1
  %over = icmp sge i64 %runs1, %period
  %following = select i1 %over, i64 0, i64 %runs1
  store i64 %following, ptr %choice
  %way = zext i1 %threaded to i64
  %p_last = getelementptr i64, ptr %choice, i64 {_LAST}
  %last = load i64, ptr %p_last
  store i64 %way, ptr %p_last
  %number_at = add i64 %way, {_NOTED}
  %p_number = getelementptr i64, ptr %choice, i64 %number_at
  %one = getelementptr i64, ptr %choice, i64 {_TIMES}
  %all = getelementptr i64, ptr %choice, i64 {_TIMES + _KEPT}
  %times = select i1 %threaded, ptr %all, ptr %one
  %begins = icmp eq i64 %runs, %length
  br i1 %begins, label %forget, label %look
forget: ; what the way took that is now tried was long ago
  store i64 0, ptr %p_number
  call void @llvm.memcpy.p0.p0.i64(ptr %times, ptr @no_times, i64 {8 * _KEPT}, i1 false)
  br label %look
look:
  %same = icmp eq i64 %last, %way
  br i1 %same, label %keep, label %decide
keep:
  %number = load i64, ptr %p_number
  %number1 = add i64 %number, 1
  store i64 %number1, ptr %p_number
  %slot = urem i64 %number, {_KEPT}
  %p_time = getelementptr i64, ptr %times, i64 %slot
  store i64 %took, ptr %p_time
  br label %decide
decide: ; not while a trial is under way
  %p_ones = getelementptr i64, ptr %choice, i64 {_NOTED}
  %ones = load i64, ptr %p_ones
  %p_alls = getelementptr i64, ptr %choice, i64 {_NOTED + 1}
  %alls = load i64, ptr %p_alls
  %some_one = icmp ne i64 %ones, 0
  %some_all = icmp ne i64 %alls, 0
  %known = and i1 %some_one, %some_all
  %both = shl i64 %length, 1
  %trial_over = icmp uge i64 %runs1, %both
  %ready = and i1 %known, %trial_over
  br i1 %ready, label %compare, label %done
compare:
  %one_takes = call i64 @median(ptr %one)
  %all_take = call i64 @median(ptr %all)
  %is_brief = icmp slt i64 %one_takes, {BRIEF_NS}
  %brief = zext i1 %is_brief to i64
  %p_brief = getelementptr i64, ptr %choice, i64 {BRIEF}
  store i64 %brief, ptr %p_brief
  %threads = icmp sle i64 %all_take, %one_takes
  %now = zext i1 %threads to i64
  %p_usual = getelementptr i64, ptr %choice, i64 {_THREADED}
  %before = load i64, ptr %p_usual
  %changes = icmp ne i64 %now, %before
  br i1 %changes, label %change, label %confirm
change:
  store i64 %now, ptr %p_usual
  store i64 %both, ptr %choice
  store i64 {_FIRST_PERIOD}, ptr %p_period
  br label %done
confirm:
  %just = icmp eq i64 %runs1, %both
  br i1 %just, label %rarer, label %done
rarer:
  %five = mul i64 %all_take, 5
  %four = mul i64 %one_takes, 4
  %clear = icmp sle i64 %five, %four
  %factor = select i1 %clear, i64 {_GROWTH_CLEAR}, i64 2
  %longer = mul i64 %period, %factor
  %limit = select i1 %clear, i64 {_LONGEST_CLEAR}, i64 {_LONGEST_PERIOD}
  %longest = select i1 %threads, i64 %limit, i64 {_LONGEST_ALONE}
  %next = call i64 @llvm.smin.i64(i64 %longer, i64 %longest)
  store i64 %next, ptr %p_period
  br label %done
done:
  ret void
}}

declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)
@no_times = internal constant [{_KEPT} x i64] [{", ".join(f"i64 {t}" for t in _NO_TIMES)}]
"""
)
