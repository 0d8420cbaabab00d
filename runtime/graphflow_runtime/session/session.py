"""`Session`: runs fetches of a graph and keeps its variables."""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from graphflow.framework import context
from graphflow.framework.config import ConfigProto, RunMetadata, RunOptions
from graphflow.framework.errors import FeedError, SessionClosedError, UnimplementedError
from graphflow.framework.graph import Graph, Operation, Tensor
from graphflow.framework.kinds import Source
from graphflow.framework.records import record
from graphflow_compiler.frontend import needed_operations, random_operations
from graphflow_runtime.executor.executable import Executable, Statistics
from graphflow_runtime.executor.failures import unfed
from graphflow_runtime.executor.reference import ReferenceExecutable
from graphflow_runtime.session.feeds import FeedConverter, feed_tensor, flatten_feeds
from graphflow_runtime.session.fetches import Element, FetchStructure
from graphflow_runtime.session.graph_growth_warning import GrowthWatch
from graphflow_runtime.session.partial_run import PartialRun, not_set_up
from graphflow_runtime.session.prepared_call import PreparedCall, call_key, canonical, unfed_part
from graphflow_runtime.store import VariableStore

if TYPE_CHECKING:
    from graphflow_compiler.planning.plan import Plan
    from graphflow_runtime.profiling.profile import Profile

_log = logging.getLogger("graphflow")
T = TypeVar("T")

#: Executables that a session keeps; each holds compiled plans and their memory.
MAX_EXECUTABLES = 256
#: Spellings of fetches and feeds that a session keeps; they are small.
MAX_PREPARED = 1024
_CPU = "/job:localhost/replica:0/task:0/device:CPU:0"


@record(frozen=True)
class SessionStatistics:
    """What a session has done so far.

    plans_compiled, kernels_compiled: by the compiler; kernels_from_disk: of these kernels, those whose machine code was in
    the cache on disk. bound_sizes: sets of feed sizes that plans were fitted to; that compiles nothing. executables:
    distinct (fetches, feeds) pairs. cache_hits: runs that found everything prepared. host_fallbacks: runs that native code
    could not serve, so that the reference backend did in numpy; `explain` names the operations to blame, and why.
    """

    runs: int = 0
    cache_hits: int = 0
    executables: int = 0
    plans_compiled: int = 0
    kernels_compiled: int = 0
    kernels_from_disk: int = 0
    bound_sizes: int = 0
    host_fallbacks: int = 0


@record(frozen=True)
class DeviceAttributes:
    """What `Session.list_devices` tells of a device."""

    name: str
    device_type: str
    memory_limit_bytes: int = 0


class BaseSession:
    """Runs operations of one graph. Variables belong to the session, not to the graph."""

    def __init__(self, target: str = "", graph: Graph | None = None, config: Any = None, backend: str = "native") -> None:
        if graph is not None and not isinstance(graph, Graph):
            raise TypeError(f"graph must be a tf.Graph, but got {type(graph)}")
        if config is not None and not isinstance(config, ConfigProto):
            raise TypeError(f"config must be a tf.ConfigProto, but got {type(config)}")
        if target not in ("", "local"):
            raise UnimplementedError(message=f"target {target!r}: sessions run in this process only; leave target out")
        if backend not in ("native", "reference"):
            raise ValueError(f"backend must be 'native' or 'reference', not {backend!r}")
        self._graph = graph if graph is not None else context.get_default_graph()
        self._target = target
        self._config = config
        self._backend = backend
        # As in TensorFlow, what is not positive means as many as there are.
        self._most_threads = 0 if config is None else max(0, int(config.intra_op_parallelism_threads))
        self._lock = threading.RLock()
        self._store = VariableStore(self._lock)
        self._closed = False
        self._prepared: dict[Any, PreparedCall] = {}  # oldest first; an OrderedDict would take 0.15 us longer to look into
        self._executables: OrderedDict[Any, Executable] = OrderedDict()
        self._growth = GrowthWatch(self._graph)
        self._native: Statistics | None = None
        self._has_no_native_code = False  # it was asked for, and is not to be had
        self._misses = 0
        self._made = 0
        _sessions.add(self)

    # ------------------------------------------------------------------ what it is
    @property
    def graph(self) -> Graph:
        return self._graph

    @property
    def sess_str(self) -> str:
        return self._target

    @property
    def stats(self) -> SessionStatistics:
        """Counts of what this session has run and compiled, up to now."""
        with self._lock:
            native = self._native
            fallbacks = native.host_fallbacks if native is not None else 0
            return SessionStatistics(
                runs=self._store.runs,
                cache_hits=max(0, self._store.runs - self._misses),
                executables=self._made,
                plans_compiled=native.plans_compiled if native is not None else 0,
                kernels_compiled=native.kernels_compiled if native is not None else 0,
                kernels_from_disk=native.kernels_from_disk if native is not None else 0,
                bound_sizes=native.bound_sizes if native is not None else 0,
                host_fallbacks=self._store.runs if self._has_no_native_code else fallbacks,
            )

    def list_devices(self) -> list[DeviceAttributes]:
        return [DeviceAttributes(_CPU, "CPU")]

    # ------------------------------------------------------------------ running
    def run(
        self, fetches: Any, feed_dict: Mapping[Any, Any] | None = None, options: Any = None, run_metadata: Any = None
    ) -> Any:
        """Computes `fetches` and returns their values in the same structure.

        Args:
            fetches: a Tensor, Operation, Variable, name, or a nested list, tuple, named tuple or dict of these.
                Operations give None.
            feed_dict: values for placeholders, or for any other tensor, which is then not computed.
            options, run_metadata: as TensorFlow's: if the `trace_level` of the options is not NO_TRACE, the `step_stats` of
                `run_metadata` get the time of each kernel of this run.

        Raises:
            SessionClosedError, FetchError, FetchTypeError, FeedError, FeedTypeError: before anything runs.
            InvalidArgumentError, UninitializedVariableError, ...: from the run; no assignment of it is then visible.
        """
        # The short way: a spelling that is known is its own key, found without the lock and without a walk of the structure.
        if run_metadata is None:
            cls = type(fetches)
            try:
                key = (cls, *fetches) if cls is list or cls is tuple else fetches
                found = self._prepared.get((key, *feed_dict) if feed_dict else (key,))
            except TypeError:  # not hashable: a nested structure or a mistake, both of which `_prepare` handles
                found = None
            if found is not None:
                if not feed_dict:
                    return found.call()
                if type(feed_dict) is dict or hasattr(feed_dict, "values"):
                    return found.call(*feed_dict.values())
        prepared, values = self._prepare(fetches, feed_dict)
        if run_metadata is None:
            return prepared.call(*values)
        return self._run_with(prepared, values, options, run_metadata)

    def _run_with(self, prepared: PreparedCall, values: Sequence[Any], options: Any, run_metadata: Any) -> Any:
        """A run that fills `run_metadata`, if its options ask for a trace."""
        if not isinstance(run_metadata, RunMetadata):
            raise TypeError(f"run_metadata must be a RunMetadata, got {type(run_metadata).__name__}")
        if options is not None and not isinstance(options, RunOptions):
            raise TypeError(f"options must be RunOptions, got {type(options).__name__}")
        if options is None or options.trace_level == RunOptions.NO_TRACE:
            return prepared.call(*values)
        from graphflow_runtime.executor.tracing import Trace

        trace = Trace()
        result = prepared.run_traced(values, trace)
        run_metadata.step_stats = trace.step_stats(_CPU)
        return result

    def profile(self, fetches: Any, feed_dict: Mapping[Any, Any] | None = None, runs: int = 20) -> Profile:
        """Runs `fetches` some times and tells how long each kernel took, and how near that is to what the machine can do.

        These are real runs, ``runs + 1`` of them, as the first does not count: a train op trains, counters count. The first
        profile of a process also measures the peaks of the machine, which takes up to a second.

        Args:
            fetches, feed_dict: as for `run`.
            runs: how many runs the medians are of.

        Raises:
            ValueError: `runs` is less than 1.
            What `run` raises.
        """
        from graphflow_runtime.executor.tracing import Trace
        from graphflow_runtime.profiling.profile import make_profile

        if runs < 1:
            raise ValueError(f"runs must be at least 1, got {runs}")
        prepared, values = self._prepare(fetches, feed_dict)
        traces: list[Trace] = []
        for _ in range(runs + 1):
            traces.append(Trace())
            prepared.run_traced(values, traces[-1])
        profile = make_profile(traces[1:], self._graph, _CPU)
        with self._lock:
            prepared.executable.profiled(traces[-1].plan, profile.explain)
        return profile

    def _prepare(self, fetches: Any, feed_dict: Any) -> tuple[PreparedCall, Sequence[Any]]:
        if feed_dict is not None and not hasattr(feed_dict, "items"):
            raise TypeError(f"feed_dict must be a mapping from tensors to values, got {type(feed_dict).__name__}")
        with self._lock:
            fetch_key, feed_key = call_key(fetches), tuple(feed_dict or ())
            key = (fetch_key, *feed_key)
            if fetch_key is not None and isinstance(feed_dict, (dict, type(None))):
                known = self._prepared.get(key)
                if known is not None:
                    return known, list((feed_dict or {}).values())
            self._check_usable()
            # One value for each key, in order: only then can the next run take them as they are.
            flat = fetch_key is not None and all(call_key(k) is k for k in feed_key)
            feeds = flatten_feeds(self._graph, feed_dict or {})
            self._misses += 1
            self._growth.check()
            prepared = PreparedCall(self, FetchStructure(self._graph, fetches), tuple(feeds))
            if flat:
                self._prepared[key] = prepared
                while len(self._prepared) > MAX_PREPARED:
                    del self._prepared[next(iter(self._prepared))]
            return prepared, list(feeds.values())

    def _check_open(self) -> None:
        if self._closed:
            raise SessionClosedError("Attempted to use a closed Session.")

    def _check_usable(self) -> None:
        self._check_open()
        if self._graph.version == 0:
            raise SessionClosedError("The Session graph is empty. Add operations to the graph before calling run().")

    def _executable(self, fetches: tuple[Element, ...], feeds: tuple[Tensor, ...]) -> Executable:
        """The executable of a canonical pair, made if need be."""
        key = (fetches, feeds)
        found = self._executables.get(key)
        if found is None:
            needed = needed_operations(fetches, feeds)
            missing = [op for op in needed if isinstance(op.op_def.kind, Source) and op.op_def.kind.what == "placeholder"]
            if missing:
                raise unfed(missing, fetches, feeds)
            found = self._make(fetches, feeds, random_operations(needed))
            self._made += 1
            self._executables[key] = found
            while len(self._executables) > MAX_EXECUTABLES:
                self._drop(self._least_used())
        return found

    def _least_used(self) -> Any:
        """The oldest executable that has not run since this was last asked.

        This is the clock algorithm: a run only sets a flag, which costs next to nothing.
        """
        used: dict[int, bool] = {}
        for p in self._prepared.values():
            used[id(p.executable)] = p.cells.take_used() or used.get(id(p.executable), False)
        for key in list(self._executables):
            if not used.get(id(self._executables[key]), False):
                return key
            self._executables.move_to_end(key)
        return next(iter(self._executables))

    def _drop(self, key: Any) -> None:
        gone = self._executables.pop(key)
        for spelling in [k for k, p in self._prepared.items() if p.executable is gone]:
            del self._prepared[spelling]

    def _make(self, fetches: tuple[Element, ...], feeds: tuple[Tensor, ...], random_ops: tuple[str, ...]) -> Executable:
        if self._backend == "native":
            try:
                from graphflow_runtime.executor.native import NativeExecutable

                if self._native is None:
                    self._native = Statistics()
                shared = (self._store, self._native, ReferenceExecutable, self._most_threads)
                return NativeExecutable(self._graph, fetches, feeds, random_ops, *shared)
            except ImportError as e:
                _log.warning("no native code, everything runs in numpy: %s", e)
                self._backend = "reference"
                self._has_no_native_code = True
        return ReferenceExecutable(self._graph, fetches, feeds, self._store)

    def make_callable(
        self, fetches: Any, feed_list: Sequence[Any] | None = None, accept_options: bool = False
    ) -> Callable[..., Any]:
        """A function of the values of `feed_list`, in order: what `run` does, without looking anything up.

        Args:
            accept_options: whether the function takes `options` and `run_metadata`, too.
        """
        if feed_list is not None and not isinstance(feed_list, (list, tuple)):
            raise TypeError("`feed_list` must be a list or tuple.")
        with self._lock:
            self._check_usable()
            tensors = tuple(feed_tensor(self._graph, f) for f in feed_list or ())
            twice = next((t for t, count in Counter(tensors).items() if count > 1), None)
            if twice is not None:
                raise FeedError(f"Tensor {twice.name} is fed more than once.")
            prepared = PreparedCall(self, FetchStructure(self._graph, fetches), tensors)
        # Made native now, because this function is handed out once; `run` looks its function up each time.
        prepared.make_native()
        call = prepared.call
        if not accept_options:
            return call

        def call_with_options(*values: Any, options: Any = None, run_metadata: Any = None) -> Any:
            return call(*values) if run_metadata is None else self._run_with(prepared, values, options, run_metadata)

        return call_with_options

    # ------------------------------------------------------------------ partial runs
    def partial_run_setup(self, fetches: Any, feeds: Sequence[Any] | None = None) -> PartialRun:
        """Announces a run in several parts. `fetches` and `feeds` are what the parts may use."""
        self._check_usable()
        allowed = FetchStructure(self._graph, fetches).elements
        return PartialRun({feed_tensor(self._graph, f) for f in feeds or ()}, set(allowed))

    def partial_run(self, handle: PartialRun, fetches: Any, feed_dict: Mapping[Any, Any] | None = None) -> Any:
        """Continues a run announced with partial_run_setup: earlier feeds and fetched values are kept."""
        if not isinstance(handle, PartialRun):
            raise not_set_up()
        structure = FetchStructure(self._graph, fetches)
        feeds = flatten_feeds(self._graph, feed_dict or {})
        todo = handle.begin(structure.elements, feeds)
        prepared, all_feeds = self._prepare(todo, {**handle.values, **feeds})
        with self._alone() as store, store.random.repeating(handle.counts, prepared.executable.random_ops):
            values = prepared.call(*all_feeds)
        return structure.rebuild(handle.end(structure.elements, feeds, todo, values))

    # ------------------------------------------------------------------ explaining, variables
    def explain(self, fetches: Any, feed_dict: Mapping[Any, Any] | None = None, feed_shapes: Any = None) -> str:
        """What the compiler made of the fetches, in words, and what the last `profile` of them found; compiles for
        `feed_shapes` (tensor -> shape) if need be."""
        with self._lock:
            return self._compiled(fetches, feed_dict, feed_shapes)[0].explanation()

    def _compiled(
        self, fetches: Any, feed_dict: Mapping[Any, Any] | None, feed_shapes: Any
    ) -> tuple[Executable, Plan | None, tuple[Element, ...], dict[Tensor, tuple[int, ...]]]:
        """Compiles for these fetches and feeds without running.

        Returns the executable, its native plan (if any), the elements that it computes, and the fed tensors with their shapes.
        """
        values = flatten_feeds(self._graph, feed_dict or {})
        shapes = {feed_tensor(self._graph, k): tuple(v) for k, v in (feed_shapes or {}).items()}
        shapes.update({t: np.shape(v) for t, v in values.items()})
        with self._lock:
            self._check_usable()
            feeds = canonical(tuple(shapes))
            elements = canonical(unfed_part(FetchStructure(self._graph, fetches).elements, shapes))
            executable = self._executable(elements, feeds)
            arrays = [FeedConverter(t)(values[t]) for t in feeds] if len(values) == len(feeds) else None
            plan = executable.prepare(tuple(shapes[t] for t in feeds), arrays)
            return executable, plan, elements, {t: shapes[t] for t in feeds}

    def _load_variables(self, values: Mapping[Any, Any]) -> None:
        """Gives variables values without adding ops: all of them, or none if an exception comes."""
        arrays: dict[str, np.ndarray[Any, Any]] = {}
        for variable, value in values.items():
            op = variable if isinstance(variable, Operation) else variable.op
            arrays[op.name] = FeedConverter(op.outputs[0])(value)
        with self._alone() as store:  # until the values are there in full
            store.set(arrays)

    @contextmanager
    def _alone(self) -> Iterator[VariableStore]:
        """Holds the session's lock, for which native runs of other threads wait meanwhile, too."""
        within = self._lock._is_owned()  # type: ignore[attr-defined]
        with self._lock:
            self._check_usable()
            store = self._store
            others = store.others(within)
            try:
                store.busy = others + 1
                yield store
            finally:
                store.end(others)

    # ------------------------------------------------------------------ life
    def as_default(self) -> AbstractContextManager[Any]:
        """``with session.as_default():`` makes `eval` and `run` use it; leaving the block does not close it."""
        return context.sessions.entered(self)

    def close(self) -> None:
        """Frees what the session holds, after the runs of other threads; every later run raises."""
        with self._lock:
            self._closed = True
            self._store.close()
            self._prepared.clear()
            self._executables.clear()
            self._store = VariableStore(self._lock)


_sessions: weakref.WeakSet[BaseSession] = weakref.WeakSet()


def _after_fork() -> None:
    """In a child process: gives sessions new locks, because a thread of the parent may hold an old one for ever."""
    for session in list(_sessions):
        session._lock = threading.RLock()
        if not session._closed:
            session._store.after_fork(session._lock)
        for executable in list(session._executables.values()):
            executable.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class Session(BaseSession):
    """A session for ``with`` blocks: inside, it and its graph are the defaults; leaving closes it.

    Args:
        target: kept for compatibility; only the local process is served.
        graph: the graph to run (default: the default graph).
        config: a ConfigProto.
        backend: "native" compiles; "reference" runs numpy, op by op.
    """

    def __enter__(self) -> Session:
        self._graph_context = self._graph.as_default()
        self._session_context = self.as_default()
        self._graph_context.__enter__()
        self._session_context.__enter__()
        return self

    def __exit__(self, exception: Any, value: Any, traceback: Any) -> None:
        self._session_context.__exit__(None, None, None)
        self._graph_context.__exit__(None, None, None)
        self.close()


class InteractiveSession(BaseSession):
    """A session that makes itself the default at once, for shells and notebooks; `close` undoes that."""

    def __init__(self, target: str = "", graph: Graph | None = None, config: Any = None, backend: str = "native") -> None:
        super().__init__(target, graph, config, backend)
        self._explicit_graph = graph
        if graph is not None:
            context.graphs.stack.append(graph)
        context.sessions.stack.append(self)

    def close(self) -> None:
        super().close()
        if self in context.sessions.stack:
            context.sessions.stack.remove(self)
        if self._explicit_graph is not None and self._explicit_graph in context.graphs.stack:
            context.graphs.stack.remove(self._explicit_graph)
            self._explicit_graph = None
