"""Gradients of the ops in `graphflow/ops/control_flow/`."""
