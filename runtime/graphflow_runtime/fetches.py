"""What is fetched: nested structures flattened to tensors and operations, and results put back into the structure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from graphflow.core.graph import Graph
from graphflow.core.indexed_slices import IndexedSlices, IndexedSlicesValue
from graphflow.core.tensor import Operation, Tensor
from graphflow.errors import FetchError, FetchTypeError

Element = Tensor | Operation
Rebuild = Callable[[Sequence[Any]], Any]


class FetchPlan:
    """`elements` are the distinct things to compute; `rebuild(values)` makes the user's structure of their values."""

    def __init__(self, graph: Graph, fetches: Any) -> None:
        self._graph = graph
        self._number: dict[Element, int] = {}
        self.rebuild: Rebuild = self._structure(fetches)
        self.elements: tuple[Element, ...] = tuple(self._number)
        #: Whether the value of the one element is the result, without a structure around it.
        self.is_single = len(self.elements) == 1 and not isinstance(fetches, (dict, list, tuple, IndexedSlices))

    def _structure(self, fetch: Any) -> Rebuild:
        if isinstance(fetch, dict):
            keys = list(fetch)
            parts = [self._structure(fetch[k]) for k in keys]
            cls = type(fetch)
            return lambda values: cls((k, p(values)) for k, p in zip(keys, parts, strict=True))
        if isinstance(fetch, tuple) and hasattr(fetch, "_fields"):
            parts = [self._structure(f) for f in fetch]
            made = type(fetch)
            return lambda values: made(*[p(values) for p in parts])
        if isinstance(fetch, (list, tuple)):
            parts = [self._structure(f) for f in fetch]
            kind = type(fetch)
            return lambda values: kind([p(values) for p in parts])
        if isinstance(fetch, IndexedSlices):
            slices = [self._structure(p) for p in (fetch.values, fetch.indices)]
            shape = None if fetch.dense_shape is None else self._structure(fetch.dense_shape)
            return lambda values: IndexedSlicesValue(
                slices[0](values), slices[1](values), None if shape is None else shape(values)
            )
        composite = getattr(fetch, "_fetch_parts", None)
        if composite is not None:  # SparseTensor
            tensors, build = composite()
            parts = [self._structure(t) for t in tensors]
            return lambda values: build(*[p(values) for p in parts])
        return self._element(fetch)

    def _element(self, fetch: Any) -> Rebuild:
        try:
            element: Element = self._graph.as_graph_element(fetch)
        except TypeError as e:
            raise FetchTypeError(
                f"Argument `fetch` = {fetch} has invalid type \"{type(fetch).__name__}\" must be a string or Tensor. ({e})"
            ) from None
        except KeyError as e:
            raise FetchError(f"Argument `fetch` = {fetch} cannot be interpreted as a Tensor. ({e})") from None
        except ValueError as e:
            raise FetchError(f"Argument `fetch` = {fetch} cannot be interpreted as a Tensor. ({e})") from None
        i = self._number.setdefault(element, len(self._number))
        return lambda values: values[i]
