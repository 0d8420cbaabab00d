"""Order, assertions, printing and Python functions."""
