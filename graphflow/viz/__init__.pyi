# Written by pytest tests/test_public_names.py --update-golden from graphflow/public_names.py.
from graphflow.viz.kernels_view import KernelBox as KernelBox, kernels_to_dot as kernels_to_dot
from graphflow.viz.render import render as render, save_picture as save_picture, save_svg as save_svg
from graphflow.viz.dot import to_dot as to_dot
