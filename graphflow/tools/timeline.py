"""`Timeline`: the step statistics of a run as a Chrome trace, as in `tensorflow.python.client.timeline`."""

from __future__ import annotations

from typing import Any

from graphflow.framework.config import StepStats
from graphflow_runtime.profiling.chrome_trace import chrome_trace

__all__ = ["Timeline"]


class Timeline:
    """Makes a Chrome trace of a run: ``Timeline(run_metadata.step_stats).generate_chrome_trace_format()``.

    Args:
        step_stats: of a run with ``trace_level=RunOptions.FULL_TRACE``.
        graph: kept for compatibility.

    Raises:
        TypeError: `step_stats` is something else.
    """

    def __init__(self, step_stats: StepStats, graph: Any = None) -> None:
        if not isinstance(step_stats, StepStats):
            raise TypeError(f"step_stats must be the step_stats of a RunMetadata, got {type(step_stats).__name__}")
        self._step_stats = step_stats

    @property
    def step_stats(self) -> StepStats:
        return self._step_stats

    def generate_chrome_trace_format(
        self, show_dataflow: bool = True, show_memory: bool = False, op_time: str = "schedule"
    ) -> str:
        """The JSON text, for a file that https://ui.perfetto.dev or chrome://tracing opens.

        Args:
            show_dataflow, show_memory, op_time: kept for compatibility: kernels run in the order shown, one after the other,
                and what memory they need is known beforehand (`Plan.peak_bytes`).
        """
        return chrome_trace([self._step_stats])
