"""Gradients of the ops in `graphflow/ops/nn/`."""
