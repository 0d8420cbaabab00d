"""Helpers for defining ops; they register nothing themselves."""
