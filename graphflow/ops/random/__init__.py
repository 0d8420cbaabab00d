"""Ops that draw random values."""
