"""Settings, with TensorFlow's names. Those that mean something here are used; the others are kept and ignored."""

from __future__ import annotations

from typing import Any, ClassVar


class Settings:
    """A record that takes any field it knows as keyword, and lets it be set later."""

    _fields: ClassVar[dict[str, Any]] = {}

    def __init__(self, **values: Any) -> None:
        for name, default in self._fields.items():
            setattr(self, name, default() if isinstance(default, type) else default)
        for name, value in values.items():
            if name not in self._fields:
                raise ValueError(f"Protocol message {type(self).__name__} has no {name!r} field.")
            setattr(self, name, value)

    def __repr__(self) -> str:
        changed = ", ".join(f"{k}={getattr(self, k)!r}" for k in self._fields)
        return f"{type(self).__name__}({changed})"

    def CopyFrom(self, other: Settings) -> None:
        """Takes all fields of `other`."""
        for name in self._fields:
            setattr(self, name, getattr(other, name))


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
    """TensorFlow's graph optimizer levels; the compiler here always does all it can."""

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
    _fields: ClassVar[dict[str, Any]] = {
        "trace_level": 0,
        "timeout_in_ms": 0,
        "inter_op_thread_pool": 0,
        "output_partition_graphs": False,
        "report_tensor_allocations_upon_oom": False,
    }


class NodeStats(Settings):
    """One kernel of a run: the operations in it, and how long it took."""

    _fields: ClassVar[dict[str, Any]] = {
        "node_name": "",
        "timeline_label": "",
        "all_start_micros": 0,
        "op_end_rel_micros": 0,
        "all_end_rel_micros": 0,
    }


class DeviceStats(Settings):
    _fields: ClassVar[dict[str, Any]] = {"device": "", "node_stats": list}


class StepStats(Settings):
    _fields: ClassVar[dict[str, Any]] = {"dev_stats": list}


class RunMetadata(Settings):
    """What a run tells about itself, if its options ask for a trace."""

    _fields: ClassVar[dict[str, Any]] = {"step_stats": StepStats, "partition_graphs": list}

    def record(self, executable: Any, options: Any, microseconds: float) -> None:
        """Fills in the device entry: one node per kernel, the time that of the whole run."""
        if options is None or not getattr(options, "trace_level", 0):
            return
        whole = max(1, int(microseconds))
        nodes = [
            NodeStats(node_name=names[0] if names else "kernel", timeline_label=", ".join(names), all_end_rel_micros=whole)
            for names in executable.kernels()
        ]
        self.step_stats = StepStats(
            dev_stats=[DeviceStats(device="/job:localhost/replica:0/task:0/device:CPU:0", node_stats=nodes)]
        )
