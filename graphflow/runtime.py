"""The runtime's public names: sessions, their back ends and what they keep. See docs/architecture.md."""

from __future__ import annotations

from graphflow_runtime.native import NativeExecutable, Statistics
from graphflow_runtime.profiling import Profile, ProfileRow
from graphflow_runtime.reference import ReferenceExecutable
from graphflow_runtime.session import BaseSession, InteractiveSession, Session
from graphflow_runtime.store import VariableStore

__all__ = [
    "BaseSession",
    "InteractiveSession",
    "NativeExecutable",
    "Profile",
    "ProfileRow",
    "ReferenceExecutable",
    "Session",
    "Statistics",
    "VariableStore",
]
