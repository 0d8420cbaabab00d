"""TensorFlow 2's switches between its behaviours; here there is only TensorFlow 1's: graphs and sessions."""

from __future__ import annotations

__all__ = [
    "disable_control_flow_v2",
    "disable_eager_execution",
    "disable_resource_variables",
    "disable_tensor_equality",
    "disable_v2_behavior",
    "disable_v2_tensorshape",
    "enable_eager_execution",
    "enable_v2_behavior",
    "executing_eagerly",
]


def disable_v2_behavior() -> None:
    """Nothing to do: this is how it always is."""


def disable_eager_execution() -> None:
    """Nothing to do: ops are always added to a graph."""


def disable_resource_variables() -> None:
    """Nothing to do: variables are always ref variables."""


def disable_tensor_equality() -> None:
    """Nothing to do: tensors are always compared by identity."""


def disable_v2_tensorshape() -> None:
    """Nothing to do: shapes always hold Dimensions."""


def disable_control_flow_v2() -> None:
    """Nothing to do."""


def enable_eager_execution(config: object = None, device_policy: object = None, execution_mode: object = None) -> None:
    """Raises NotImplementedError: ops run in a Session only."""
    raise NotImplementedError("graphflow runs graphs in sessions; there is no eager execution")


def enable_v2_behavior() -> None:
    """Raises NotImplementedError: there is only TensorFlow 1's behaviour."""
    raise NotImplementedError("graphflow has TensorFlow 1's behaviour only; use tf.Graph and tf.Session")


def executing_eagerly() -> bool:
    """Always False."""
    return False
