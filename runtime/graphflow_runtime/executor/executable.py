"""The interface of a back end: an executable for each pair of (fetches, feeds) of a session."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from graphflow.framework.records import record
from graphflow_compiler.planning.plan import Plan
from graphflow_runtime.executor.launch_descriptor import LaunchDescriptor

if TYPE_CHECKING:
    from graphflow_runtime.executor.tracing import Trace


@record
class Statistics:
    """What a session has compiled and run."""

    plans_compiled: int = 0
    kernels_compiled: int = 0
    kernels_from_disk: int = 0
    bound_sizes: int = 0
    host_fallbacks: int = 0


class Executable(Protocol):
    """Runs one tuple of fetches for one tuple of fed tensors. The caller holds the session's lock."""

    #: Names of the random ops that a run executes, once each.
    random_ops: tuple[str, ...]

    def fast(self, values: Sequence[Any]) -> list[Any] | None:
        """Results of the tensors among the fetches, if `values` are arrays like those of the last run.

        Otherwise None, and nothing has run: the session then converts the values and calls `run`.
        """

    def run(self, feeds: Sequence[Any], trace: Trace | None = None) -> list[Any]:
        """Results of the tensors among the fetches, for feeds that are contiguous arrays of the right dtype.

        `trace` takes down how long each kernel or operation took.
        """

    def shortcut(self) -> LaunchDescriptor | None:
        """The descriptor by which native code can repeat the last run, for feeds of the same shapes; None if it cannot."""

    def failed(self, control: LaunchDescriptor, status: int, values: Sequence[Any] | None) -> Exception:
        """What to raise for the status of a native run of `control` on these values (None: they are not to be looked at).

        The caller holds the session's lock unless `values` is None.
        """

    def prepare(self, shapes: tuple[tuple[int, ...], ...], feeds: Sequence[Any] | None) -> Plan | None:
        """Compiles for feeds of these shapes, without running: the native plan, or None if there is none.

        `feeds` are the arrays, if they are there: where sizes follow from fed values, there is no plan without them.

        Raises:
            InvalidArgumentError: the shapes do not go together.
        """

    def after_fork(self) -> None:
        """Called in a child process, where no other thread is left to release a lock: makes locks anew."""

    def explanation(self) -> str:
        """What was made of the fetches, in words, with what the last profile found."""

    def profiled(self, plan: Plan | None, explain: Callable[[], str]) -> None:
        """Keeps for `explanation` what a profile says of `plan`, which is None if it ran in numpy."""
