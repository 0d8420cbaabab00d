"""`Session`: runs fetches of a graph and keeps its variables."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from graphflow.core import context
from graphflow.core.graph import Graph, Operation, Tensor
from graphflow.core.kinds import Source
from graphflow.errors import FeedError, SessionClosedError
from graphflow_compiler.frontend import needed_operations
from graphflow_runtime.failures import unfed
from graphflow_runtime.feeds import FeedConverter, check_named_sizes, flatten_feeds, feed_tensor
from graphflow_runtime.fetches import FetchPlan
from graphflow_runtime.native import NativeExecutable, Statistics
from graphflow_runtime.reference import ReferenceExecutable
from graphflow_runtime.store import VariableStore

#: Prepared (fetches, feeds) pairs a session keeps.
MAX_PREPARED = 256


class _Prepared:
    """Everything that one (fetches, feeds) pair needs, worked out once."""

    __slots__ = ("convert", "executable", "fed", "keep", "named", "plan", "single", "slots", "tensors")

    def __init__(self, session: BaseSession, plan: FetchPlan, tensors: tuple[Tensor, ...], keep: Any) -> None:
        self.plan = plan
        self.tensors = tensors
        self.keep = keep  # the objects whose identity is the key
        self.convert = tuple(FeedConverter(t) for t in tensors)
        self.named = any(not isinstance(d, int) and not str(d).startswith("?") for t in tensors for d in t._shape or ())
        position = {t: i for i, t in enumerate(tensors)}
        computed = tuple(e for e in plan.elements if not (isinstance(e, Tensor) and e in position))
        number = {e: i for i, e in enumerate(e for e in computed if isinstance(e, Tensor))}
        #: For each fetched element the index of its result; of its feed, as -2 - index; -1 for an operation.
        self.slots = tuple(
            -2 - position[e] if isinstance(e, Tensor) and e in position else number[e] if isinstance(e, Tensor) else -1
            for e in plan.elements
        )
        self.fed = any(s < -1 for s in self.slots)
        self.single = self.slots == (0,) and plan.is_single
        missing = [
            op
            for op in needed_operations(computed, tensors)
            if isinstance(op.op_def.kind, Source) and op.op_def.kind.what == "placeholder"
        ]
        if missing:
            raise unfed(missing)
        self.executable = session._make(computed, tensors)

    def run(self, session: BaseSession, values: Sequence[Any]) -> Any:
        with session._lock:
            if session._closed:
                raise SessionClosedError("Attempted to use a closed Session.")
            session._store.runs += 1
            results = self.executable.fast(values) if not self.named else None
            if results is None:
                return self.convert_and_run(values)
        if self.single:
            only = results[0]
            return only if only.ndim else only[()]
        return self.finish(results, values)

    def convert_and_run(self, values: Sequence[Any]) -> Any:
        """The path for values that are no arrays of the right kind yet, and for new sizes."""
        arrays = [convert(v) for convert, v in zip(self.convert, values, strict=True)]
        if self.named:
            check_named_sizes(self.tensors, arrays)
        return self.finish(self.executable.run(arrays), arrays)

    def finish(self, results: Sequence[Any], feeds: Sequence[Any]) -> Any:
        found = []
        for s in self.slots:
            if s >= 0:
                r = results[s]
                found.append(r if r.ndim else r[()])
            elif s == -1:
                found.append(None)
            else:
                fed = np.array(self.convert[-2 - s](feeds[-2 - s]))
                found.append(fed if fed.ndim else fed[()])
        return self.plan.rebuild(found)


class BaseSession:
    """Runs operations of one graph. Variables belong to the session, not to the graph."""

    def __init__(self, target: str = "", graph: Graph | None = None, config: Any = None, backend: str = "native") -> None:
        if graph is not None and not isinstance(graph, Graph):
            raise TypeError(f"graph must be a tf.Graph, but got {type(graph)}")
        if backend not in ("native", "reference"):
            raise ValueError(f"backend must be 'native' or 'reference', not {backend!r}")
        self._graph = graph if graph is not None else context.get_default_graph()
        self._target = target
        self._config = config
        self._backend = backend
        self._store = VariableStore()
        self._closed = False
        self._lock = threading.RLock()
        self._prepared: OrderedDict[Any, _Prepared] = OrderedDict()
        self._statistics = Statistics()

    # ------------------------------------------------------------------ what it is
    @property
    def graph(self) -> Graph:
        return self._graph

    @property
    def graph_def(self) -> str:
        return "".join(str(op) for op in self._graph.get_operations())

    @property
    def stats(self) -> Statistics:
        """What this session has compiled."""
        return self._statistics

    @property
    def sess_str(self) -> str:
        return self._target

    def list_devices(self) -> list[str]:
        return ["/job:localhost/replica:0/task:0/device:CPU:0"]

    # ------------------------------------------------------------------ running
    def run(self, fetches: Any, feed_dict: Mapping[Any, Any] | None = None, options: Any = None, run_metadata: Any = None) -> Any:
        """Computes `fetches` and returns their values in the same structure.

        Args:
            fetches: a Tensor, Operation, Variable, name, or a nested list, tuple, named tuple or dict of these.
                Operations give None.
            feed_dict: values for placeholders, or for any other tensor, which is then not computed.
            options, run_metadata: as TensorFlow's; `run_metadata` gets the step statistics if `options` asks for a trace.

        Raises:
            SessionClosedError, FetchError, FetchTypeError, FeedError, FeedTypeError: before anything runs.
            InvalidArgumentError, UninitializedVariableError, ...: from the run; no assignment of it is then visible.
        """
        prepared, values = self._find(fetches, feed_dict)
        if run_metadata is None:
            return prepared.run(self, values)
        start = time.perf_counter()
        result = prepared.run(self, values)
        run_metadata.record(prepared.executable, options, (time.perf_counter() - start) * 1e6)
        return result

    def _find(self, fetches: Any, feed_dict: Mapping[Any, Any] | None) -> tuple[_Prepared, Sequence[Any]]:
        key: Any
        if type(fetches) is list:
            key = ("l", *fetches)
        else:
            key = fetches
        try:
            if feed_dict:
                found = self._prepared.get((key, tuple(feed_dict)))
                if found is not None:
                    return found, list(feed_dict.values())
            else:
                found = self._prepared.get((key, ()))
                if found is not None:
                    return found, ()
        except TypeError:
            key = None  # a structure that cannot be a key: worked out anew
        return self._prepare(key, fetches, feed_dict)

    def _prepare(self, key: Any, fetches: Any, feed_dict: Any) -> tuple[_Prepared, Sequence[Any]]:
        with self._lock:
            self._check_usable()
            if feed_dict is not None and not hasattr(feed_dict, "items"):
                raise TypeError(f"feed_dict must be a mapping from tensors to values, got {type(feed_dict).__name__}")
            plan = FetchPlan(self._graph, fetches)
            feeds = flatten_feeds(self._graph, feed_dict or {})
            tensors = tuple(feeds)
            flat = (plan.elements, tensors)
            simple = key is not None and all(isinstance(k, Tensor) for k in feed_dict or {}) and _hashable_leaves(fetches)
            if simple:
                prepared = _Prepared(self, plan, tensors, (fetches, feed_dict and tuple(feed_dict)))
                self._remember((key, tuple(feed_dict or ())), prepared)
                return prepared, list(feeds.values())
            shared = self._prepared.get(flat)
            if shared is None:
                shared = _Prepared(self, plan, tensors, None)
                self._remember(flat, shared)
            prepared = object.__new__(_Prepared)
            for slot in _Prepared.__slots__:
                setattr(prepared, slot, getattr(shared, slot))
            prepared.plan = plan
            return prepared, list(feeds.values())

    def _remember(self, key: Any, prepared: _Prepared) -> None:
        self._prepared[key] = prepared
        while len(self._prepared) > MAX_PREPARED:
            self._prepared.popitem(last=False)

    def _check_usable(self) -> None:
        if self._closed:
            raise SessionClosedError("Attempted to use a closed Session.")
        if self._graph.version == 0:
            raise SessionClosedError("The Session graph is empty. Add operations to the graph before calling run().")

    def _make(self, fetches: tuple[Any, ...], feeds: tuple[Tensor, ...]) -> Any:
        if self._backend == "reference":
            return ReferenceExecutable(self._graph, fetches, feeds, self._store)
        return NativeExecutable(self._graph, fetches, feeds, self._store, self._statistics, ReferenceExecutable)

    def make_callable(
        self, fetches: Any, feed_list: Sequence[Any] | None = None, accept_options: bool = False
    ) -> Callable[..., Any]:
        """A function of the values of `feed_list`, in order: what `run` does, without looking anything up."""
        self._check_usable()
        plan = FetchPlan(self._graph, fetches)
        tensors = tuple(feed_tensor(self._graph, f) for f in feed_list or ())
        prepared = _Prepared(self, plan, tensors, None)
        count = len(tensors)

        def call(*values: Any, **kwargs: Any) -> Any:
            if len(values) != count:
                raise FeedError(f"this callable takes {count} values, one for each of its feeds, got {len(values)}")
            return prepared.run(self, values)

        return call

    # ------------------------------------------------------------------ partial runs
    def partial_run_setup(self, fetches: Any, feeds: Sequence[Any] | None = None) -> Any:
        """Announces a run in several parts. `fetches` and `feeds` are what the parts may use."""
        self._check_usable()
        allowed = FetchPlan(self._graph, fetches).elements
        return _PartialRun({feed_tensor(self._graph, f) for f in feeds or ()}, set(allowed))

    def partial_run(self, handle: Any, fetches: Any, feed_dict: Mapping[Any, Any] | None = None) -> Any:
        """Continues a run announced with partial_run_setup: earlier feeds and fetched values are kept."""
        plan = FetchPlan(self._graph, fetches)
        fresh = flatten_feeds(self._graph, feed_dict or {})
        for t in fresh:
            if t not in handle.feeds:
                raise FeedError(f"The feed {t.name} was not part of partial_run_setup.")
            if t in handle.values:
                raise FeedError(f"The feed {t.name} has already been fed.")
        for e in plan.elements:
            if e not in handle.fetches:
                raise FeedError(f"The fetch {e.name} was not part of partial_run_setup.")
        handle.values.update(fresh)
        values = self.run(list(plan.elements), handle.values)
        for e, v in zip(plan.elements, values, strict=True):
            if isinstance(e, Tensor):
                handle.values.setdefault(e, v)
        return plan.rebuild(values)

    # ------------------------------------------------------------------ explaining, variables
    def explain(self, fetches: Any, feed_dict: Mapping[Any, Any] | None = None, feed_shapes: Any = None) -> str:
        """What the compiler made of the fetches, in words; compiles for `feed_shapes` (tensor -> shape) if need be."""
        shapes = {feed_tensor(self._graph, k): tuple(v) for k, v in (feed_shapes or {}).items()}
        shapes.update({t: np.shape(v) for t, v in flatten_feeds(self._graph, feed_dict or {}).items()})
        plan = FetchPlan(self._graph, fetches)
        executable = self._make(plan.elements, tuple(shapes))
        if isinstance(executable, NativeExecutable):
            executable.prepare(tuple(shapes.values()))
        text: str = executable.explanation()
        return text

    def _load_variable(self, variable: Any, value: Any) -> None:
        """Gives a variable a value without adding an op."""
        op = variable if isinstance(variable, Operation) else variable.op
        t = op.outputs[0]
        array = FeedConverter(t)(value)
        with self._lock:
            self._check_usable()
            self._store.set(op.name, array)

    # ------------------------------------------------------------------ life
    def as_default(self) -> AbstractContextManager[Any]:
        """``with session.as_default():`` makes `eval` and `run` use it; leaving the block does not close it."""
        return context.sessions.entered(self)

    def close(self) -> None:
        """Frees what the session holds; every later run raises."""
        with self._lock:
            self._closed = True
            self._prepared.clear()
            self._store = VariableStore()


def _hashable_leaves(fetches: Any) -> bool:
    todo = [fetches]
    while todo:
        f = todo.pop()
        if isinstance(f, (list, tuple)):
            todo += f
        elif isinstance(f, str):
            return False  # two spellings may mean one element; worked out anew each time, which is cheap
        elif not isinstance(f, (Tensor, Operation)) and not hasattr(f, "_as_graph_element"):
            return False
    return True


class _PartialRun:
    def __init__(self, feeds: set[Tensor], fetches: set[Any]) -> None:
        self.feeds = feeds
        self.fetches = fetches
        self.values: dict[Tensor, Any] = {}


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

    def __exit__(self, kind: Any, value: Any, traceback: Any) -> None:
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
