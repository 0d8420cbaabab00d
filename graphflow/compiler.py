"""The compiler's public names: from a graph and a signature to a Plan. See docs/architecture.md."""

from __future__ import annotations

from graphflow.explaining import explain
from graphflow_compiler.compilation import CannotCompile, Options, compile
from graphflow_compiler.frontend import Signature, build_program
from graphflow_compiler.plan import Plan

__all__ = ["CannotCompile", "Options", "Plan", "Signature", "build_program", "compile", "explain"]
