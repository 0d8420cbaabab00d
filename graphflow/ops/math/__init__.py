"""Arithmetic, comparisons, products and reductions."""
