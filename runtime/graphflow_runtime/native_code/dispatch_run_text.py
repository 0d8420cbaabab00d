"""The LLVM text of a run, called by the builtins of `dispatch_text`. Offsets in blocks of int64s are named in `dispatch`."""

from __future__ import annotations

#: The status of a run that is done, but has no memory for its results.
NO_MEMORY = -2

# The run itself. No Python code may run between the last check and the entry, nor between the entry and the reading of the 0-d
# results: a finalizer that ran the same plan would overwrite the table. So outputs are made first, feeds are only looked at,
# and the table is filled last.
#
# Words of the control: 0 entry, 1 table, 2 dims, 3 address of the version, 4 version, 5 address of the busy flag, 6 address of
# the run counter, 7 whether to release the GIL, 8 and 9 numbers of feeds and outputs, 10 and 11 their specs, 12 objects,
# 13 address of the budget, 14 what a run takes, 15 owner, 16 addresses of the random ops' counters, 17 structure.
#
# The status is -1 until the plan has run, and 0 with no result where an exception is set. `shortcut` says that the caller does
# not hold the session's lock. A result that is null while the plan runs is one to be read from its cell.
TEXT = """
define internal ptr @run(ptr %control, ptr %structure, ptr %args, i64 %n, i1 %shortcut, ptr %status) {
entry:
  %p_feeds = getelementptr i64, ptr %control, i64 8
  %feeds = load i64, ptr %p_feeds
  %p_outputs = getelementptr i64, ptr %control, i64 9
  %outputs = load i64, ptr %p_outputs
  %p_feed_specs = getelementptr i64, ptr %control, i64 10
  %feed_specs = load ptr, ptr %p_feed_specs
  %p_output_specs = getelementptr i64, ptr %control, i64 11
  %output_specs = load ptr, ptr %p_output_specs
  %p_objects = getelementptr i64, ptr %control, i64 12
  %objects = load ptr, ptr %p_objects
  %p_gil = getelementptr i64, ptr %control, i64 7
  %gil = load i64, ptr %p_gil
  %release = icmp ne i64 %gil, 0
  %p_empty = getelementptr ptr, ptr %objects, i64 5
  %np_empty = load ptr, ptr %p_empty
  %p_nothing = getelementptr ptr, ptr %objects, i64 6
  %nothing = load ptr, ptr %p_nothing
  %p_none = getelementptr ptr, ptr %objects, i64 7
  %none = load ptr, ptr %p_none
  store i32 -1, ptr %status
  %view_bytes = mul i64 %feeds, 80
  %views = alloca i8, i64 %view_bytes, align 16
  %addresses = alloca ptr, i64 %feeds
  %numbers = alloca i64, i64 %feeds
  %results = alloca ptr, i64 %outputs
  %memories = alloca ptr, i64 %outputs
  %call = alloca [2 x ptr]
  %unlock_with = alloca ptr
  %broken = alloca i1
  store i1 false, ptr %broken
  %p_dtype_arg = getelementptr ptr, ptr %call, i64 1
  %right_count = icmp eq i64 %n, %feeds
  br i1 %right_count, label %make, label %mismatch

; ---- outputs: new arrays, or cells that stay
make:
  %o = phi i64 [ 0, %entry ], [ %o1, %made ]
  %made_all = icmp eq i64 %o, %outputs
  br i1 %made_all, label %take, label %output
output:
  %o1 = add i64 %o, 1
  %ospec_at = mul i64 %o, 4
  %ospec = getelementptr i64, ptr %output_specs, i64 %ospec_at
  %p_okind = getelementptr i64, ptr %ospec, i64 1
  %okind = load i64, ptr %p_okind
  %p_first = getelementptr i64, ptr %ospec, i64 2
  %first = load ptr, ptr %p_first
  %p_dtype = getelementptr i64, ptr %ospec, i64 3
  %dtype = load ptr, ptr %p_dtype
  %p_result = getelementptr ptr, ptr %results, i64 %o
  %p_memory = getelementptr ptr, ptr %memories, i64 %o
  %is_cell = icmp ne i64 %okind, 0
  br i1 %is_cell, label %cell, label %array
cell:
  store ptr null, ptr %p_result
  store ptr %dtype, ptr %p_memory
  br label %made
array:
  store ptr %first, ptr %call
  store ptr %dtype, ptr %p_dtype_arg
  %new = call ptr @PyObject_VectorcallDict(ptr %np_empty, ptr %call, i64 2, ptr null)
  store ptr %new, ptr %p_result
  %no_memory = icmp eq ptr %new, null
  br i1 %no_memory, label %unmade, label %address
address:
  %p_data = getelementptr i8, ptr %new, i64 16
  %data = load ptr, ptr %p_data
  store ptr %data, ptr %p_memory
  br label %made
made:
  br label %make
unmade:
  br i1 %shortcut, label %unmade_retry, label %unmade_raise
unmade_retry: ; the slow way says what is wrong
  call void @PyErr_Clear()
  br label %drop_outputs
unmade_raise:
  store i32 0, ptr %status
  br label %drop_outputs

; ---- feeds
take:
  %i = phi i64 [ 0, %make ], [ %i1, %taken ]
  %spec = phi ptr [ %feed_specs, %make ], [ %spec_next, %taken ]
  %taken_all = icmp eq i64 %i, %feeds
  br i1 %taken_all, label %check, label %feed
feed:
  %i1 = add i64 %i, 1
  %p_arg = getelementptr ptr, ptr %args, i64 %i
  %object = load ptr, ptr %p_arg
  %view_at = mul i64 %i, 80
  %view = getelementptr i8, ptr %views, i64 %view_at
  %p_owner = getelementptr i8, ptr %view, i64 8
  store ptr null, ptr %p_owner
  %p_address = getelementptr ptr, ptr %addresses, i64 %i
  ; without the GIL another thread could resize an array that exports no buffer
  br i1 %release, label %by_number, label %by_peek
by_peek:
  %peeked = call ptr @peek(ptr %object, ptr %spec, ptr %objects)
  %seen = icmp ne ptr %peeked, null
  br i1 %seen, label %found, label %by_number
by_number: ; before the buffer, which a number would refuse with an exception that takes a microsecond
  %number_cell = getelementptr i64, ptr %numbers, i64 %i
  %made_cell = call ptr @number(ptr %object, ptr %spec, ptr %objects, ptr %number_cell)
  %is_number = icmp ne ptr %made_cell, null
  br i1 %is_number, label %found, label %by_buffer
by_buffer:
  %borrowed = call ptr @borrow(ptr %object, ptr %spec, ptr %objects, ptr %view)
  %lent = icmp ne ptr %borrowed, null
  br i1 %lent, label %found, label %drop_feeds
found:
  %where = phi ptr [ %peeked, %by_peek ], [ %borrowed, %by_buffer ], [ %made_cell, %by_number ]
  store ptr %where, ptr %p_address
  br label %taken
taken:
  %p_rank = getelementptr i64, ptr %spec, i64 2
  %rank = load i64, ptr %p_rank
  %spec_size = add i64 %rank, 4
  %spec_next = getelementptr i64, ptr %spec, i64 %spec_size
  br label %take

; ---- the state of the session: nobody else runs, and the variables are where they were
check:
  %p_version = getelementptr i64, ptr %control, i64 3
  %version_at = load ptr, ptr %p_version
  %version = load i64, ptr %version_at
  %p_seen_version = getelementptr i64, ptr %control, i64 4
  %seen_version = load i64, ptr %p_seen_version
  %p_busy = getelementptr i64, ptr %control, i64 5
  %busy_at = load ptr, ptr %p_busy
  %busy = load i64, ptr %busy_at
  %same_version = icmp eq i64 %version, %seen_version
  %alone = icmp eq i64 %busy, 0
  %holds_lock = xor i1 %shortcut, true
  %idle = or i1 %alone, %holds_lock
  %p_budget = getelementptr i64, ptr %control, i64 13
  %budget_at = load ptr, ptr %p_budget
  %budget = load i64, ptr %budget_at
  %within = icmp sgt i64 %budget, 0
  %goes_on = or i1 %within, %holds_lock
  %unchanged = and i1 %same_version, %goes_on
  %ready = and i1 %unchanged, %idle
  br i1 %ready, label %guard, label %drop_feeds_all
guard: ; whoever lets other threads run holds the session's lock, and says that nobody may do without
  %must_lock = and i1 %release, %shortcut
  br i1 %must_lock, label %lock, label %fill
lock:
  %p_acquire = getelementptr i64, ptr %busy_at, i64 1
  %acquire = load ptr, ptr %p_acquire
  ; of the same lock: if the process forks meanwhile, the session of the child gets another one
  %p_release = getelementptr i64, ptr %busy_at, i64 2
  %release_it = load ptr, ptr %p_release
  store ptr %release_it, ptr %unlock_with
  %p_false = getelementptr ptr, ptr %objects, i64 4
  %no_wait = load ptr, ptr %p_false
  store ptr %no_wait, ptr %call
  %got = call ptr @PyObject_VectorcallDict(ptr %acquire, ptr %call, i64 1, ptr null)
  %lock_failed = icmp eq ptr %got, null
  br i1 %lock_failed, label %lock_error, label %lock_answer
lock_error: ; the slow way says what is wrong
  call void @PyErr_Clear()
  br label %drop_feeds_all
lock_answer:
  call void @Py_DecRef(ptr %got) ; a bool, which stays
  %p_true = getelementptr ptr, ptr %objects, i64 3
  %true = load ptr, ptr %p_true
  %locked = icmp eq ptr %got, %true
  br i1 %locked, label %again, label %drop_feeds_all
again: ; the call may have collected garbage, and a finalizer loaded a variable or closed the session
  %version2 = load i64, ptr %version_at
  %busy2 = load i64, ptr %busy_at
  %same2 = icmp eq i64 %version2, %seen_version
  %idle2 = icmp eq i64 %busy2, 0
  %still = and i1 %same2, %idle2
  br i1 %still, label %claim, label %changed
changed:
  %freed2 = call ptr @PyObject_VectorcallDict(ptr %release_it, ptr %call, i64 0, ptr null)
  call void @Py_DecRef(ptr %freed2)
  br label %drop_feeds_all
claim:
  store i64 1, ptr %busy_at
  br label %fill

; ---- the table
fill:
  %p_table = getelementptr i64, ptr %control, i64 1
  %table = load ptr, ptr %p_table
  %p_dims = getelementptr i64, ptr %control, i64 2
  %dims = load ptr, ptr %p_dims
  br label %fill_feed
fill_feed:
  %f = phi i64 [ 0, %fill ], [ %f1, %fill_one ]
  %fspec = phi ptr [ %feed_specs, %fill ], [ %fspec_next, %fill_one ]
  %filled = icmp eq i64 %f, %feeds
  br i1 %filled, label %fill_output, label %fill_one
fill_one:
  %f1 = add i64 %f, 1
  %fslot = load i64, ptr %fspec
  %p_fslot = getelementptr ptr, ptr %table, i64 %fslot
  %p_faddress = getelementptr ptr, ptr %addresses, i64 %f
  %faddress = load ptr, ptr %p_faddress
  store ptr %faddress, ptr %p_fslot
  %p_frank = getelementptr i64, ptr %fspec, i64 2
  %frank = load i64, ptr %p_frank
  %fspec_size = add i64 %frank, 4
  %fspec_next = getelementptr i64, ptr %fspec, i64 %fspec_size
  br label %fill_feed
fill_output:
  %w = phi i64 [ 0, %fill_feed ], [ %w1, %fill_memory ]
  %complete = icmp eq i64 %w, %outputs
  br i1 %complete, label %go, label %fill_memory
fill_memory:
  %w1 = add i64 %w, 1
  %wspec_at = mul i64 %w, 4
  %wspec = getelementptr i64, ptr %output_specs, i64 %wspec_at
  %wslot = load i64, ptr %wspec
  %p_wslot = getelementptr ptr, ptr %table, i64 %wslot
  %p_wmemory = getelementptr ptr, ptr %memories, i64 %w
  %wmemory = load ptr, ptr %p_wmemory
  store ptr %wmemory, ptr %p_wslot
  br label %fill_output

; ---- the plan
go:
  %p_runs = getelementptr i64, ptr %control, i64 6
  %runs_at = load ptr, ptr %p_runs
  %runs = load i64, ptr %runs_at
  %runs1 = add i64 %runs, 1
  store i64 %runs1, ptr %runs_at
  %p_counters = getelementptr i64, ptr %control, i64 16
  %counters = load ptr, ptr %p_counters
  %no_random = icmp eq ptr %counters, null
  br i1 %no_random, label %enter, label %count_random
count_random: ; the plan executes each of its random ops once, even if it fails
  %p_counter = phi ptr [ %counters, %go ], [ %p_counter1, %count_one ]
  %counter = load ptr, ptr %p_counter
  %counted_all = icmp eq ptr %counter, null
  br i1 %counted_all, label %enter, label %count_one
count_one:
  %executed = load i64, ptr %counter
  %executed1 = add i64 %executed, 1
  store i64 %executed1, ptr %counter
  %p_counter1 = getelementptr ptr, ptr %p_counter, i64 1
  br label %count_random
enter:
  %p_cost = getelementptr i64, ptr %control, i64 14
  %cost = load i64, ptr %p_cost
  %budget1 = sub i64 %budget, %cost
  store i64 %budget1, ptr %budget_at
  %function = load ptr, ptr %control
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
  %code = phi i32 [ %s1, %without ], [ %s0, %with ]
  store i32 %code, ptr %status
  br label %read

; ---- 0-d results out of their cells, before anything of Python's can run; then the feeds are let go
read:
  %c = phi i64 [ 0, %after ], [ %c1, %read_next ]
  %read_all = icmp eq i64 %c, %outputs
  br i1 %read_all, label %unguard, label %read_one
read_one:
  %c1 = add i64 %c, 1
  %p_c = getelementptr ptr, ptr %results, i64 %c
  %c_result = load ptr, ptr %p_c
  %in_cell = icmp eq ptr %c_result, null
  br i1 %in_cell, label %read_cell, label %read_next
read_cell:
  %cspec_at = mul i64 %c, 4
  %cspec = getelementptr i64, ptr %output_specs, i64 %cspec_at
  %p_cell_object = getelementptr i64, ptr %cspec, i64 2
  %cell_object = load ptr, ptr %p_cell_object
  %scalar = call ptr @PyObject_GetItem(ptr %cell_object, ptr %nothing)
  store ptr %scalar, ptr %p_c
  %no_scalar = icmp eq ptr %scalar, null
  br i1 %no_scalar, label %unread, label %read_next
unread: ; what runs until then must not find an exception
  call void @PyErr_Clear()
  store i1 true, ptr %broken
  br label %read_next
read_next:
  br label %read
unguard:
  br i1 %must_lock, label %unlock, label %give_all
unlock:
  store i64 0, ptr %busy_at
  %unlock_it = load ptr, ptr %unlock_with
  %freed = call ptr @PyObject_VectorcallDict(ptr %unlock_it, ptr %call, i64 0, ptr null)
  call void @Py_DecRef(ptr %freed)
  br label %give_all
give_all:
  br label %give
give:
  %g = phi i64 [ 0, %give_all ], [ %g1, %give_one ]
  %given_all = icmp eq i64 %g, %feeds
  br i1 %given_all, label %outcome, label %give_one
give_one:
  %g1 = add i64 %g, 1
  %give_at = mul i64 %g, 80
  %give_view = getelementptr i8, ptr %views, i64 %give_at
  call void @PyBuffer_Release(ptr %give_view)
  br label %give
outcome:
  %no_failure = icmp eq i32 %code, 0
  %is_broken = load i1, ptr %broken
  %is_whole = xor i1 %is_broken, true
  br i1 %no_failure, label %results_there, label %drop_outputs
results_there:
  br i1 %is_whole, label %structured, label %no_room
no_room:
  store i32 NO_MEMORY, ptr %status
  br label %drop_outputs

; ---- the structure: 0 the one result itself, 1 a list, 2 a tuple; each element a result's number, or -1 for None
structured:
  %kind = load i64, ptr %structure
  %p_length = getelementptr i64, ptr %structure, i64 1
  %length = load i64, ptr %p_length
  %members = getelementptr i64, ptr %structure, i64 2
  switch i64 %kind, label %tuple [ i64 0, label %only i64 1, label %list ]
only:
  %only_result = load ptr, ptr %results
  ret ptr %only_result
list:
  %new_list = call ptr @PyList_New(i64 %length)
  br label %members_start
tuple:
  %new_tuple = call ptr @PyTuple_New(i64 %length)
  br label %members_start
members_start:
  %container = phi ptr [ %new_list, %list ], [ %new_tuple, %tuple ]
  %no_container = icmp eq ptr %container, null
  br i1 %no_container, label %uncontained, label %member
uncontained:
  call void @PyErr_Clear()
  br label %no_room
member:
  %m = phi i64 [ 0, %members_start ], [ %m1, %member_set ]
  %members_all = icmp eq i64 %m, %length
  br i1 %members_all, label %finish, label %member_one
member_one:
  %m1 = add i64 %m, 1
  %p_member = getelementptr i64, ptr %members, i64 %m
  %which = load i64, ptr %p_member
  %is_none = icmp slt i64 %which, 0
  br i1 %is_none, label %member_set, label %member_result
member_result:
  %p_which = getelementptr ptr, ptr %results, i64 %which
  %which_result = load ptr, ptr %p_which
  br label %member_set
member_set:
  %value = phi ptr [ %none, %member_one ], [ %which_result, %member_result ]
  call void @Py_IncRef(ptr %value)
  %is_list = icmp eq i64 %kind, 1
  %ignored = call i32 @set_member(i1 %is_list, ptr %container, i64 %m, ptr %value)
  br label %member
finish:
  br label %drop_outputs

; ---- leaving: what this call still holds is let go
drop_feeds_all:
  br label %drop_from
drop_feeds:
  br label %drop_from
drop_from:
  %held = phi i64 [ %feeds, %drop_feeds_all ], [ %i, %drop_feeds ]
  br label %drop_feed
drop_feed:
  %d = phi i64 [ %held, %drop_from ], [ %d1, %drop_one ]
  %dropped_all = icmp eq i64 %d, 0
  br i1 %dropped_all, label %drop_outputs, label %drop_one
drop_one:
  %d1 = sub i64 %d, 1
  %drop_at = mul i64 %d1, 80
  %drop_view = getelementptr i8, ptr %views, i64 %drop_at
  call void @PyBuffer_Release(ptr %drop_view)
  br label %drop_feed
drop_outputs:
  %answer = phi ptr [ null, %unmade_retry ], [ null, %unmade_raise ],
    [ null, %outcome ], [ null, %no_room ], [ %container, %finish ],
    [ null, %drop_feed ]
  %count = phi i64 [ %o, %unmade_retry ], [ %o, %unmade_raise ],
    [ %outputs, %outcome ], [ %outputs, %no_room ], [ %outputs, %finish ],
    [ %outputs, %drop_feed ]
  br label %drop_output
drop_output:
  %x = phi i64 [ 0, %drop_outputs ], [ %x1, %drop_next ]
  %gone = icmp eq i64 %x, %count
  br i1 %gone, label %left, label %drop_result
drop_result:
  %x1 = add i64 %x, 1
  %p_x = getelementptr ptr, ptr %results, i64 %x
  %x_result = load ptr, ptr %p_x
  call void @Py_DecRef(ptr %x_result) ; null is fine
  br label %drop_next
drop_next:
  br label %drop_output
left:
  ret ptr %answer
mismatch:
  ret ptr null
}

define internal i32 @set_member(i1 %is_list, ptr %container, i64 %i, ptr %value) {
  br i1 %is_list, label %list, label %tuple
list:
  %a = call i32 @PyList_SetItem(ptr %container, i64 %i, ptr %value)
  ret i32 %a
tuple:
  %b = call i32 @PyTuple_SetItem(ptr %container, i64 %i, ptr %value)
  ret i32 %b
}
""".replace("NO_MEMORY", str(NO_MEMORY))
