"""The native back end: compiles signatures to plans, binds plans to sizes, and runs them with one native call."""

from __future__ import annotations

import ctypes
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from graphflow.framework.dtypes import DType, bfloat16
from graphflow.framework.errors import CompileError, InternalError, OutOfMemoryError
from graphflow.framework.graph import Graph, Operation, Tensor
from graphflow.framework.shapes import evaluate
from graphflow_compiler.codegen.jit.link import CompileAhead, LinkedPlan, link
from graphflow_compiler.compilation import CannotCompile, DependsOnData, Options, compile
from graphflow_compiler.frontend import Signature
from graphflow_compiler.planning.plan import Plan, SizeMismatch
from graphflow_compiler.planning.profile_entry import profile_entry_text
from graphflow_compiler.planning.threaded_entry import LAUNCH_WORDS, PARALLEL, plan_nanoseconds, step_flags, threaded_entry_text
from graphflow_runtime.executor.executable import Statistics
from graphflow_runtime.executor.failures import uninitialized
from graphflow_runtime.executor.launch_descriptor import LaunchDescriptor
from graphflow_runtime.executor.native_failures import cannot_compile, explained
from graphflow_runtime.executor.particular import Case, Particulars, Shapes
from graphflow_runtime.executor.threads import Pool, is_being_made, pool, wanted_threads
from graphflow_runtime.memory import aligned_bytes
from graphflow_runtime.native_code.dispatch import MISMATCH, NO_MEMORY
from graphflow_runtime.native_code.dispatch import begin as begin_builtins
from graphflow_runtime.native_code.thread_autotune import BRIEF_NS, new_choice
from graphflow_runtime.store import VariableStore

if TYPE_CHECKING:
    from graphflow_runtime.executor.guards import Guards
    from graphflow_runtime.executor.tracing import Trace

_log = logging.getLogger("graphflow")

#: Bound sizes kept per plan: each holds an arena, so the number is bounded.
MAX_BOUND = 32
#: Plans kept per (fetches, feeds): one for each pattern of sizes that are 1, and for sizes that do not fit the general plan.
MAX_PLANS = 32
#: Attempts at a run: a variable may change its shape after the plan was made (in a signal handler, say), but not for ever.
_TRIES = 8
#: Feeds and fetches of a native run: more would not fit on the stack.
MAX_ARRAYS = 4_000
#: Estimated nanoseconds of work from which releasing the GIL (about 100 ns) is worth it.
_GIL_WORK = 20_000
#: ... from which several threads are tried, once a plan's runs have taken this much in all: compiling the code takes 50 ms.
_THREADS_WORK = 20_000
_THREADS_AFTER = 100_000_000
#: ... or at once, from this much in one run.
_THREADS_NOW = 5_000_000


#: The budget of plans that do not wait for threads: their runs take nothing from it.
_ENDLESS = np.array(1, np.int64)


class CompiledPlan:
    """A plan with its machine code. Engines live as long as anything can call into them."""

    def __init__(self, plan: Plan, ahead: CompileAhead | None = None) -> None:
        self.plan = plan
        #: Estimated nanoseconds of runs until threads are tried.
        self.budget = np.array(_THREADS_AFTER, np.int64)
        self.code = link(plan.kernels, plan.entry_text, ahead)
        self.entry = self.code.entry

        # Not cached properties: up to Python 3.11 these share one lock, which a fork could leave held in the child.
        self._profiled: LinkedPlan | None = None
        self._threaded: LinkedPlan | None = None
        self._alone = False
        #: What `explain` says since the last profile, worked out when it is asked.
        self.profile: Callable[[], str] | None = None

    def team(self) -> Pool | None:
        """The thread pool for runs of this plan, whose threaded code is then compiled; None where one thread has to do."""
        if not self._alone:
            try:
                team = pool()
                # Compiled here, where its failure is caught: plans go on alone if code for threads cannot be had.
                if team is not None:
                    self.threaded  # noqa: B018
                return team
            except (CompileError, MemoryError) as e:
                _log.warning("a plan of %d steps runs on one thread: %s", len(self.plan.steps), e)
                self._alone = True
        return None

    @property
    def profiled(self) -> LinkedPlan:
        """The same kernels with an entry that notes when each starts and ends: compiled when first asked for."""
        if self._profiled is None:
            self._profiled = link(self.plan.kernels, profile_entry_text(self.plan))
        return self._profiled

    @property
    def threaded(self) -> LinkedPlan:
        """The same kernels with an entry for several threads: compiled when sizes are bound for which it pays."""
        if self._threaded is None:
            self._threaded = link(self.plan.kernels, threaded_entry_text(self.plan.steps, self.plan.factors))
        return self._threaded


class BoundPlan:
    """A compiled plan for one set of sizes: its arena, its table of addresses, its output shapes."""

    def __init__(
        self,
        compiled: CompiledPlan,
        shapes: Shapes,
        store: VariableStore,
        most_threads: int,
        random_ops: Sequence[str],
    ) -> None:
        plan = compiled.plan
        self.compiled = compiled
        self.plan = plan
        self.store = store
        self.writes = plan.writes
        sizes = self.sizes = plan.sizes(shapes)
        work = plan_nanoseconds(plan, sizes)
        may = work >= _THREADS_WORK and most_threads != 1
        now = may and (work >= _THREADS_NOW or compiled.budget <= 0) and not is_being_made()
        #: Whether it is to be bound again, with threads, once the runs of its plan have used up the budget.
        self.waits = may and not now
        if may:
            wanted_threads()  # says now what is wrong with the environment, not when threads are due
        team = compiled.team() if now else None
        if now and team is None and is_being_made():  # another thread has begun to make the pool since `now` was asked
            self.waits = True
        threads = 1 if team is None else min(team.size, most_threads or team.size)
        offsets, total = plan.arena(sizes, threads)
        try:
            try:
                arena = aligned_bytes(total)
            except MemoryError:
                if threads == 1:
                    raise
                team, threads = None, 1  # each thread has scratch of its own
                offsets, total = plan.arena(sizes)
                arena = aligned_bytes(total)
            shapes_out = [(tuple(evaluate(d, sizes) for d in t.shape or ()), storage(t.dtype)) for t in plan.output_types]
        except MemoryError as e:
            raise OutOfMemoryError(message=f"a run needs {total} bytes for temporaries, which are not to be had") from e
        base = arena.ctypes.data
        # Feeds that no kernel reads have no buffer: their addresses go to a spare last slot, which nothing reads.
        spare = len(plan.buffers)
        self.table = np.zeros(spare + 1, np.uint64)
        launch = 0
        words = [0] * LAUNCH_WORDS
        self.step_flags = b""
        self.choice: np.ndarray[Any, Any] | None = None
        threaded: LinkedPlan | None = None
        #: The threads that its runs take, if they take any.
        self.team: Pool | None = None
        if team is not None and threads > 1:
            self.step_flags = step_flags(plan, sizes, offsets, threads)
            if any(flag & PARALLEL for flag in self.step_flags):
                flags_at = ctypes.cast(ctypes.c_char_p(self.step_flags), ctypes.c_void_p).value or 0
                launch = team.launch
                self.choice = new_choice(brief=work < BRIEF_NS, long=work >= _THREADS_NOW)
                choice_at = self.choice.ctypes.data
                self.team, threaded = team, compiled.threaded
                words = [choice_at, team.address, threads, flags_at, threaded.entry, compiled.entry]
        self.block = np.array([*words, *plan.dims(sizes), 0], np.int64)  # never empty: its address is needed
        self.dims = self.block[LAUNCH_WORDS:]
        guards: Guards = {}
        if plan.is_checked:
            from graphflow_runtime.executor.guards import make_guards

            guards = make_guards(plan, sizes, shapes)
        self.flags: dict[int, np.ndarray[Any, Any]] = {}
        self.variables: list[tuple[int, str]] = []
        feeds: dict[int, int] = {}
        outputs: dict[int, int] = {}
        for i, b in enumerate(plan.buffers):
            if b.role in ("temporary", "scratch"):
                self.table[i] = base + offsets[i]
            elif b.role == "guard":
                self.table[i] = guards[int(b.key)].ctypes.data
            elif b.role == "constant":
                assert b.array is not None
                self.table[i] = b.array.ctypes.data
            elif b.role == "random_count":
                self.table[i] = store.random.address(str(b.key))
            elif b.role == "is_initialized":
                self.flags[i] = np.zeros((), np.bool_)
                self.table[i] = self.flags[i].ctypes.data
            elif b.role == "variable":
                self.variables.append((i, str(b.key)))
            elif b.role == "feed":
                feeds[int(b.key)] = i
            else:
                outputs[int(b.key)] = i
        if len(plan.feed_types) + len(plan.output_types) > MAX_ARRAYS:
            raise CannotCompile(f"{len(plan.feed_types)} feeds and {len(plan.output_types)} fetches in one run")
        self.control = LaunchDescriptor(
            launch or compiled.entry,
            self.table,
            self.dims,
            store,
            [(shape, storage(t.dtype)) for t, shape in zip(plan.feed_types, shapes, strict=True)],
            [feeds.get(i, spare) for i in range(len(plan.feed_types))],
            shapes_out,
            [outputs.get(i, spare) for i in range(len(plan.output_types))],
            release_gil=work >= _GIL_WORK,
            budget=(compiled.budget, int(work)) if self.waits else (_ENDLESS, 0),
            random_ops=random_ops,
            plan=plan,
            guards=guards,
            # A CallSlot may outlive this object, whose sizes are forgotten when others come: all that the table, the code
            # and the block hold addresses of must live as long as the descriptor. The threaded code is named here because
            # two runs, one inside the other in a signal handler, may both compile it, and the plan keeps only one.
            keeps=(arena, self.flags, self.block, self.step_flags, self.choice, compiled, threaded),
        )
        self.store_version = -1

    def refresh(self) -> None:
        """Takes the addresses of the variables anew, after the store has replaced an array.

        Raises:
            UninitializedVariableError: a variable that the plan reads has no value.
            _Stale: a variable has another shape than the plan was made for.
        """
        missing = [name for name in self.plan.reads if not self.store.is_initialized(name)]
        if missing:
            raise uninitialized(missing)
        writes = set(self.plan.writes)
        for i, name in self.variables:
            b = self.plan.buffers[i]
            shape = tuple(evaluate(d, self.sizes) for d in b.type.shape or ())
            array = self.store.array(name)
            # The plan gives the variable its first value, so it must have storage before the run.
            if array is None and name in writes:
                array = self.store.allocate(name, shape, b.type.dtype.numpy_dtype)
            assert array is not None
            if array.shape != shape:
                raise _Stale
            self.table[i] = array.ctypes.data
        for i, flag in self.flags.items():
            flag[...] = self.store.is_initialized(str(self.plan.buffers[i].key))
        self.store_version = self.store.version
        self.control.bound_at(self.store_version)

    @property
    def is_overdue(self) -> bool:
        """Whether it should be bound again: because threads now pay, or because its threads stayed in a parent process."""
        return bool(self.waits and self.compiled.budget <= 0) or (self.team is not None and self.team.is_left)

    def run(self, values: Sequence[Any]) -> list[Any] | None:
        """Runs the plan on values that are, or may be, arrays of the bound shapes; None (and nothing has run) if not.

        The caller holds the session's lock.
        """
        store = self.store
        if self.store_version != store.version:
            self.refresh()
        results = self.control.run(values)
        while results == MISMATCH and self.store_version != store.version:
            # Python ran in between (a signal handler, a finalizer) and moved a variable.
            self.refresh()
            results = self.control.run(values)
        if isinstance(results, int):
            if results == MISMATCH:
                return None
            if results == NO_MEMORY:  # the plan has run, only its results could not be made: variables have their new values
                store.mark_initialized(self.writes)
                raise MemoryError
            raise _Failure(results)
        if self.writes:
            store.mark_initialized(self.writes)
        return results


def storage(dtype: DType) -> np.dtype[Any]:
    """The numpy type whose memory is handed to native code: bfloat16 goes as its bits, in uint16, which every Python knows."""
    return np.dtype(np.uint16) if dtype is bfloat16 else dtype.numpy_dtype


class _Failure(Exception):
    def __init__(self, status: int) -> None:
        self.status = status


class _Stale(Exception):
    """A variable has another shape than the plan was made for."""


class NativeExecutable:
    """One (fetches, feeds) pair of a session: its plans by signature, and its bound plans by sizes."""

    def __init__(
        self,
        graph: Graph,
        fetches: tuple[Tensor | Operation, ...],
        feeds: tuple[Tensor, ...],
        random_ops: tuple[str, ...],
        store: VariableStore,
        statistics: Statistics,
        reference: Any,
        most_threads: int = 0,
    ) -> None:
        self.graph = graph
        self.fetches = fetches
        self.feeds = feeds
        self.random_ops = random_ops
        self.store = store
        self.statistics = statistics
        self.most_threads = most_threads  # 0: as many as there are
        self.reference = reference  # makes the slow correct executable
        self.plans: dict[Any, CompiledPlan] = {}
        self.particulars = Particulars(fetches, feeds)
        self.bound: OrderedDict[Case, BoundPlan] = OrderedDict()
        #: In numpy: what serves always (if it is not None), or where it does not pay to compile.
        self.fallback: Any = None
        self.slow: Any = None
        self.fallback_reason = ""
        # Native calls would give bfloat16 results as their bits, so such runs always come to `run`, which converts.
        self.plain = not any(t.base_dtype is bfloat16 for t in (*feeds, *(f for f in fetches if isinstance(f, Tensor))))
        self.last: BoundPlan | None = None
        self.lock = threading.RLock()
        # Every session wants the builtins: they are compiled while the first plan is written.
        begin_builtins()

    def fast(self, values: Sequence[Any]) -> list[Any] | None:
        """Results of the tensors among the fetches if the values are arrays like those of the last run; else None."""
        bound = self.last
        if bound is None or bound.is_overdue:
            return None
        try:
            return bound.run(values)
        except _Stale:  # the session calls `run` next, which makes another plan
            self.last = None
            return None
        except _Failure as failure:
            raise self.failed(bound.control, failure.status, values) from None

    def shortcut(self) -> LaunchDescriptor | None:
        return None if self.last is None or self.last.is_overdue else self.last.control

    def failed(self, control: LaunchDescriptor, status: int, values: Sequence[Any] | None) -> Exception:
        """The exception for the status of a run of `control`, which may be bound to other sizes than the last run."""
        again = self.reference(self.graph, self.fetches, self.feeds, self.store)
        return explained(self.graph, control.plan, control.guards, status, again, values)

    def run(self, feeds: Sequence[np.ndarray[Any, Any]], trace: Trace | None = None) -> list[Any]:
        """Results of the tensors among the fetches, for feeds that are contiguous arrays of the right dtype."""
        for _ in range(_TRIES):
            bound = self.bound_to(feeds) if self.fallback is None else None
            if bound is None:
                self.statistics.host_fallbacks += 1
                slow: list[Any] = (self.fallback or self.in_numpy()).run(feeds, trace)
                return slow
            self.last = bound if self.plain and self.particulars.is_general else None
            views = [a.view(np.uint16) if t.base_dtype is bfloat16 else a for t, a in zip(self.feeds, feeds, strict=True)]
            try:
                results = bound.run(views) if trace is None else trace.native(bound, views)
            except _Stale:
                self.bound.clear()
                self.last = None
                continue
            except _Failure as failure:
                raise self.failed(bound.control, failure.status, feeds) from None
            if results is None:
                raise InternalError(message="the plan refused arrays that were made for it")
            return [
                r.view(t.dtype.numpy_dtype) if t.dtype is bfloat16 else r
                for t, r in zip(bound.plan.output_types, results, strict=True)
            ]
        raise InternalError(message="a variable has another shape than the plan that was just made for it")

    def bound_to(self, feeds: Sequence[np.ndarray[Any, Any]]) -> BoundPlan | None:
        """The bound plan for these feeds; None if the reference back end is to run them."""
        case = self.particulars.case_of(tuple([a.shape for a in feeds]), feeds)
        bound = None if case is None else self.bound.get(case)
        if case is not None and bound is not None:
            if not bound.is_overdue:
                self.bound.move_to_end(case)
                return bound
            self.bound.pop(case, None)
        return self.bind(feeds)

    # ------------------------------------------------------------------ slow path: new sizes, or new values
    def bind(self, feeds: Sequence[np.ndarray[Any, Any]]) -> BoundPlan | None:
        shapes = tuple([a.shape for a in feeds])
        with self.lock:
            while True:
                case = self.particulars.case_of(shapes, feeds)
                if case is None:
                    return None
                found = self.bound.get(case)
                if found is not None:
                    return found
                if not self.particulars.is_worth_compiling(case):
                    return None
                compiled = self.compiled_or_refined(case)
                if compiled is not None:
                    break
                if self.fallback is not None:
                    return None
            bound = BoundPlan(compiled, shapes, self.store, self.most_threads, self.random_ops)
            self.statistics.bound_sizes += 1
            self.bound[case] = bound
            while len(self.bound) > MAX_BOUND:
                self.bound.popitem(last=False)
            return bound

    def compiled_or_refined(self, case: Case) -> CompiledPlan | None:
        """The plan of a case; None if there can be none: then either cases tell more from now on, or numpy serves."""
        try:
            return self.compiled_for(case)
        except CannotCompile as e:
            if not (isinstance(e, DependsOnData) and self.particulars.refine()):
                _log.info("runs on the reference backend: %s", e)
                self.fall_back(e)
            elif not self.fallback_reason:
                self.fallback_reason = str(e)
            return None

    def compiled_for(self, case: Case) -> CompiledPlan:
        found = self.compiled(self.particulars.signature_shapes(case.shapes), case.values)
        try:
            found.plan.sizes(case.shapes)
        except SizeMismatch:
            # These sizes do not go together as the general plan assumes; with all of them fixed, inference says either
            # how they do (a broadcast) or what is wrong, in the user's terms.
            return self.compiled(case.shapes, case.values)
        return found

    def compiled(self, general: Any, values: tuple[Any, ...]) -> CompiledPlan:
        variable_shapes = self.store.open_shapes(self.graph)
        key = (general, values, tuple(sorted(variable_shapes.items())))
        found = self.plans.get(key)
        if found is None:
            signature = Signature(self.fetches, self.feeds, general, variable_shapes, values)
            with CompileAhead() as ahead:
                plan: Plan | None = None
                try:
                    plan = compile(self.graph, signature, Options(on_kernel=ahead.add, keep=True))
                    found = self.plans[key] = CompiledPlan(plan, ahead)
                except (CompileError, RecursionError) as e:  # sums of very many sizes are expressions as deep
                    raise cannot_compile(e, plan) from e
            while len(self.plans) > MAX_PLANS:  # bound plans keep theirs alive for as long as they are used
                del self.plans[next(iter(self.plans))]
            self.statistics.plans_compiled += 1
            self.statistics.kernels_compiled += found.code.compiled
            self.statistics.kernels_from_disk += found.code.found
        return found

    def prepare(self, shapes: Shapes, feeds: Sequence[np.ndarray[Any, Any]] | None) -> Plan | None:
        """Compiles for feeds of these shapes without running; what cannot be compiled is left to the reference backend."""
        with self.lock:
            while self.fallback is None:
                case = self.particulars.case_of(shapes, feeds)
                compiled = None if case is None else self.compiled_or_refined(case)
                if compiled is not None:
                    return compiled.plan
                if case is None:
                    break
            return None

    def in_numpy(self) -> Any:
        if self.slow is None:
            self.slow = self.reference(self.graph, self.fetches, self.feeds, self.store)
        return self.slow

    def fall_back(self, reason: CannotCompile) -> None:
        self.fallback_reason = str(reason)
        self.fallback = self.in_numpy()

    def after_fork(self) -> None:
        self.lock = threading.RLock()

    def explanation(self) -> str:
        if self.fallback is not None:
            profile = self.fallback.profile
            return f"reference backend (numpy): {self.fallback_reason}\n{'' if profile is None else profile()}"
        if not self.plans and self.fallback_reason:
            return f"compiled for each value that is fed: {self.fallback_reason}\n"
        return "\n".join(c.plan.explanation if c.profile is None else c.profile() for c in self.plans.values())

    def profiled(self, plan: Plan | None, explain: Callable[[], str]) -> None:
        if self.fallback is not None:
            self.fallback.profiled(plan, explain)
        for c in self.plans.values():
            if c.plan is plan:
                c.profile = explain
