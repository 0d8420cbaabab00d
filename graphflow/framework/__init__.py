"""The graph and what everything else speaks of: tensors, ops' definitions, types, shapes, errors."""
