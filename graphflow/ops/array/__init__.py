"""Ops on arrays: sources, shapes, and elements moved, picked and put together."""
