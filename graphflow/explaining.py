"""`explain`: what the compiler made of some fetches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def explain(
    fetches: Any,
    feed_dict: Mapping[Any, Any] | None = None,
    session: Any = None,
    feed_shapes: Mapping[Any, Any] | None = None,
) -> str:
    """What was fused into which kernel, what each reads, writes and computes, and why neighbours stayed apart.

    How long each kernel takes, and how near that is to what the machine can do, is in the same text from
    ``session.profile(fetches, feed_dict).explain()``, which runs the fetches.

    Args:
        fetches: what `Session.run` would be given.
        feed_dict: values to feed; only their shapes matter.
        session: the session whose settings count (default: the default session, else a new one).
        feed_shapes: tensor -> shape, instead of values.
    """
    from graphflow.core.context import get_default_session
    from graphflow_runtime.session import Session

    found = session if session is not None else get_default_session()
    if found is None:
        found = Session()
    text: str = found.explain(fetches, feed_dict, feed_shapes)
    return text
