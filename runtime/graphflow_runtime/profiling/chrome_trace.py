"""Traces in the JSON trace event format, which Perfetto (https://ui.perfetto.dev) and chrome://tracing open."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from graphflow.framework.config import StepStats


def chrome_trace(runs: Sequence[StepStats]) -> str:
    """The JSON text for some runs: a process for each device, a track for each thread, an event for each kernel.

    Times are microseconds since the first event: readers keep them as floats, which have no room for today's date.
    """
    devices = list(dict.fromkeys(d.device for run in runs for d in run.dev_stats))
    events: list[dict[str, Any]] = [_name("process_name", pid, 0, device) for pid, device in enumerate(devices)]
    threads = sorted({(devices.index(d.device), n.thread_id) for run in runs for d in run.dev_stats for n in d.node_stats})
    events += [_name("thread_name", pid, thread, f"thread {thread}") for pid, thread in threads]
    first = min((n.all_start_nanos for run in runs for d in run.dev_stats for n in d.node_stats), default=0)
    for number, run in enumerate(runs):
        for device in run.dev_stats:
            for node in device.node_stats:
                events.append(
                    {
                        "name": node.node_name,
                        "cat": "Op",
                        "ph": "X",
                        "ts": (node.all_start_nanos - first) / 1000,
                        "dur": node.all_end_rel_nanos / 1000,
                        "pid": devices.index(device.device),
                        "tid": node.thread_id,
                        "args": {"label": node.timeline_label, "run": number, **node.details},
                    }
                )
    return json.dumps({"traceEvents": events, "displayTimeUnit": "ns"})


def _name(what: str, pid: int, tid: int, name: str) -> dict[str, Any]:
    return {"name": what, "ph": "M", "pid": pid, "tid": tid, "args": {"name": name}}
