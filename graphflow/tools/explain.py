"""`explain` and `plan_to_dot`: the kernels that the compiler made for some fetches, in words and as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from graphflow.framework.shapes import evaluate, format_shape
from graphflow.framework.tensor import Tensor
from graphflow.viz.kernels_view import KernelBox

if TYPE_CHECKING:
    from graphflow_compiler.planning.plan import PlanBuffer


def explain(
    fetches: Any,
    feed_dict: Mapping[Any, Any] | None = None,
    session: Any = None,
    feed_shapes: Mapping[Any, Any] | None = None,
) -> str:
    """A text about the kernels: what was fused into each, what it reads, writes and computes, and why neighbours stayed apart.

    After ``session.profile(fetches, feed_dict)`` in the same session it also tells how long each kernel took, and what share of
    the machine's best that is.

    Args:
        fetches: what `Session.run` would be given.
        feed_dict: values to feed; only their shapes matter.
        session: the session whose settings count (default: the default session, else a new one).
        feed_shapes: tensor -> shape, instead of values.
    """
    text: str = _session(session).explain(fetches, feed_dict, feed_shapes)
    return text


def _session(session: Any) -> Any:
    from graphflow.framework.context import get_default_session
    from graphflow_runtime.session.session import Session

    found = session if session is not None else get_default_session()
    return Session() if found is None else found


def plan_to_dot(
    fetches: Any,
    feed_dict: Mapping[Any, Any] | None = None,
    session: Any = None,
    feed_shapes: Mapping[Any, Any] | None = None,
    title: str = "",
) -> str:
    """The kernels that run for the fetches, as DOT text: a box per fused kernel, with its ops and what it reads and writes.

    Args: as `explain`, and a line above the picture.

    Raises:
        InvalidArgumentError: the shapes fed do not go together.
        UnimplementedError: the fetches run on the reference backend, so there are no kernels.
    """
    from graphflow.framework.errors import UnimplementedError
    from graphflow.viz import kernels_to_dot

    executable, plan, elements, feeds = _session(session)._compiled(fetches, feed_dict, feed_shapes)
    if plan is None:
        raise UnimplementedError(message=f"no kernels to draw: {executable.explanation().strip()}")
    sizes = plan.sizes(list(feeds.values()))
    outputs = [e for e in elements if isinstance(e, Tensor)]
    names = {i: _buffer_name(b, i, outputs, list(feeds)) for i, b in enumerate(plan.buffers)}
    labels = {
        names[i]: f"{b.type.dtype.name} {format_shape(tuple(evaluate(d, sizes) for d in b.type.shape or ()))}"
        for i, b in enumerate(plan.buffers)
        # Buffers that pass nothing from kernel to kernel would only clutter the picture.
        if b.role not in ("constant", "scratch", "random_count", "is_initialized", "guard")
    }
    boxes = []
    written: set[int] = set()
    for step in plan.steps:
        if step.pattern == "poison":  # of a plan with checks
            continue
        variables = {b for b in step.buffers if plan.buffers[b].role == "variable"}
        moved = [b for b in dict.fromkeys(step.buffers) if names[b] in labels]
        # A kernel may read back what it has just written itself: that is no edge from another kernel.
        reads = [b for b in step.reads if b in moved and b not in variables and (b in written or b not in step.writes)]
        writes = [b for b in step.writes if b in moved and b not in variables]
        written.update(writes)
        boxes.append(
            KernelBox(
                # A copy has no function of its own.
                name="" if step.function.startswith("copy ") else step.function,
                kind=step.pattern,
                operations=tuple(step.origin),
                reads=tuple(names[b] for b in reads),
                writes=tuple(names[b] for b in writes),
                updates=tuple(names[b] for b in step.writes if b in variables),
                variables=tuple(names[b] for b in step.reads if b in variables and b not in step.writes),
                bytes=sum(evaluate(plan.buffers[b].bytes, sizes) for b in moved),
                flops=evaluate(step.flops, sizes),
            )
        )
    fetched = {names[i] for i, b in enumerate(plan.buffers) if b.role == "output"}
    return kernels_to_dot(boxes, labels, title, results=fetched)


def _buffer_name(buffer: PlanBuffer, number: int, outputs: Sequence[Tensor], feeds: Sequence[Tensor]) -> str:
    if buffer.role == "feed":
        return feeds[int(buffer.key)].op.name
    if buffer.role == "output":
        return f"{outputs[int(buffer.key)].name} (fetched)"
    return str(buffer.key) if buffer.role == "variable" else f"{buffer.role} {number}"
