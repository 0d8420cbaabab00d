"""Pictures of graphs and of compiled kernels, as DOT text, SVG or PNG."""

from __future__ import annotations

from graphflow.viz.dot import to_dot
from graphflow.viz.kernels_view import KernelBox, kernels_to_dot
from graphflow.viz.render import render, save_picture, save_svg

__all__ = ["KernelBox", "kernels_to_dot", "render", "save_picture", "save_svg", "to_dot"]
