"""Passes: rewrites of Programs, and fusion of their nodes to kernels."""
