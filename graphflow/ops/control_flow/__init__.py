"""Ops for order and effects: control dependencies, assertions, printing, Python functions."""
