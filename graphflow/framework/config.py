"""Settings of sessions and runs under TensorFlow's names. Fields without a meaning here are accepted and ignored."""

from __future__ import annotations

from copy import deepcopy
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np

#: Type of a field's default -> (types that the field accepts, how an error calls them). True is a whole number, 1 a bool.
_KINDS: dict[type, tuple[tuple[type, ...], str]] = {
    bool: ((Integral, np.bool_), "True or False"),
    int: ((Integral,), "a whole number"),
    float: ((Real,), "a number"),
    str: ((str,), "text"),
}


class Settings:
    """A record with a fixed set of fields, in place of a protobuf message.

    Fields are given as keywords or set later; None as a keyword means the default.

    Raises:
        ValueError: a keyword that is no field. TypeError: a value of another type than the field's.
    """

    _fields: ClassVar[dict[str, Any]] = {}

    def __init__(self, **values: Any) -> None:
        for name in values:
            if name not in self._fields:
                raise ValueError(f"Protocol message {type(self).__name__} has no {name!r} field.")
        for name, default in self._fields.items():
            value = values.get(name)
            # A type as default is called for each record, so that no two share a list or a nested record.
            setattr(self, name, (default() if isinstance(default, type) else default) if value is None else value)

    def __setattr__(self, name: str, value: Any) -> None:
        """
        Raises:
            AttributeError: there is no such field. TypeError: the field holds values of another type.
        """
        if name not in self._fields:
            raise AttributeError(f"Protocol message {type(self).__name__} has no {name!r} field.")
        default = self._fields[name]
        if isinstance(default, type):
            wanted: tuple[type, ...] = (list, tuple) if default is list else (default,)
            called = f"a {default.__name__}"
        else:
            wanted, called = _KINDS.get(type(default), ((object,), "anything"))
        if not isinstance(value, wanted):
            raise TypeError(
                f"Cannot set {type(self).__name__}.{name} to {value!r}: {value!r} has type {type(value)}, but expected {called}"
            )
        # The value has been checked: past this class's own __setattr__.
        object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        changed = ", ".join(f"{k}={getattr(self, k)!r}" for k in self._fields)
        return f"{type(self).__name__}({changed})"

    def CopyFrom(self, other: Settings) -> None:
        """Takes all fields of `other`, as they are now."""
        for name in self._fields:
            setattr(self, name, deepcopy(getattr(other, name)))


class GPUOptions(Settings):
    """How GPU memory is taken."""

    _fields: ClassVar[dict[str, Any]] = {
        "per_process_gpu_memory_fraction": 0.0,
        "allow_growth": False,
        "allocator_type": "",
        "deferred_deletion_bytes": 0,
        "visible_device_list": "",
        "polling_active_delay_usecs": 0,
        "polling_inactive_delay_msecs": 0,
        "force_gpu_compatible": False,
    }


class OptimizerOptions(Settings):
    """TensorFlow's levels of graph optimization; accepted and ignored, because the compiler always runs all its passes."""

    L1, L0 = 0, -1
    DEFAULT, OFF, ON_1, ON_2 = 0, -1, 1, 2
    _fields: ClassVar[dict[str, Any]] = {
        "do_common_subexpression_elimination": False,
        "do_constant_folding": False,
        "do_function_inlining": False,
        "opt_level": 0,
        "global_jit_level": 0,
    }


class GraphOptions(Settings):
    _fields: ClassVar[dict[str, Any]] = {
        "optimizer_options": OptimizerOptions,
        "build_cost_model": 0,
        "infer_shapes": False,
        "place_pruned_graph": False,
        "enable_bfloat16_sendrecv": False,
        "rewrite_options": None,
    }


class ConfigProto(Settings):
    """What a Session may be given as `config`."""

    intra_op_parallelism_threads: int
    _fields: ClassVar[dict[str, Any]] = {
        "allow_soft_placement": False,
        "log_device_placement": False,
        "device_count": dict,
        "intra_op_parallelism_threads": 0,
        "inter_op_parallelism_threads": 0,
        "use_per_session_threads": False,
        "gpu_options": GPUOptions,
        "graph_options": GraphOptions,
        "operation_timeout_in_ms": 0,
        "device_filters": list,
        "isolate_session_state": False,
    }


class RunOptions(Settings):
    """What one run may be given as `options`."""

    NO_TRACE, SOFTWARE_TRACE, HARDWARE_TRACE, FULL_TRACE = 0, 1, 2, 3
    trace_level: int
    _fields: ClassVar[dict[str, Any]] = {
        "trace_level": 0,
        "timeout_in_ms": 0,
        "inter_op_thread_pool": 0,
        "output_partition_graphs": False,
        "report_tensor_allocations_upon_oom": False,
    }


class NodeStats(Settings):
    """One kernel (native code) or operation (numpy) of a traced run.

    node_name: the operation whose result it computes. timeline_label: that name, and what else is in the kernel.
    all_start_micros, all_start_nanos: when it started, counted from 1970.
    op_start_rel_*, op_end_rel_*, all_end_rel_*: times counted from its start. Microseconds are whole numbers, rounded up
        because many kernels take less than one; the nanoseconds are exact.
    thread_id: always 0, because a traced run takes one thread.
    details: what TensorFlow has no field for, by name: kernel, operations, flops, bytes, ...
    """

    node_name: str
    timeline_label: str
    all_start_nanos: int
    all_end_rel_nanos: int
    thread_id: int
    details: dict[str, Any]
    _fields: ClassVar[dict[str, Any]] = {
        "node_name": "",
        "timeline_label": "",
        "all_start_micros": 0,
        "op_start_rel_micros": 0,
        "op_end_rel_micros": 0,
        "all_end_rel_micros": 0,
        "all_start_nanos": 0,
        "op_start_rel_nanos": 0,
        "op_end_rel_nanos": 0,
        "all_end_rel_nanos": 0,
        "thread_id": 0,
        "details": dict,
    }


class DeviceStats(Settings):
    """What ran on one device, in order."""

    device: str
    node_stats: list[NodeStats]
    _fields: ClassVar[dict[str, Any]] = {"device": "", "node_stats": list}


class StepStats(Settings):
    """What one run consisted of."""

    dev_stats: list[DeviceStats]
    _fields: ClassVar[dict[str, Any]] = {"dev_stats": list}


class RunMetadata(Settings):
    """What `Session.run` fills in about a run whose options ask for a trace."""

    step_stats: StepStats
    _fields: ClassVar[dict[str, Any]] = {"step_stats": StepStats, "partition_graphs": list}
