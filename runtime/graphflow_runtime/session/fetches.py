"""Fetches: nested structures are flattened to tensors and operations, and results put back into the structure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from graphflow.framework.errors import FetchError, FetchTypeError
from graphflow.framework.graph import Graph
from graphflow.framework.indexed_slices import IndexedSlices, IndexedSlicesValue
from graphflow.framework.tensor import Operation, Tensor

Element: TypeAlias = "Tensor | Operation"
Rebuild: TypeAlias = "Callable[[Sequence[Any]], Any]"


class FetchStructure:
    """`elements` are the distinct things to compute; `rebuild(values)` makes the user's structure of their values."""

    def __init__(self, graph: Graph, fetches: Any) -> None:
        self._graph = graph
        self._number: dict[Element, int] = {}
        self.rebuild: Rebuild = self._structure(fetches)
        self.elements: tuple[Element, ...] = tuple(self._number)
        #: Whether the value of the one element is the result, without a structure around it.
        self.is_single = len(self.elements) == 1 and not (
            isinstance(fetches, (dict, list, tuple, IndexedSlices)) or hasattr(fetches, "_fetch_parts")
        )
        #: For a plain list or tuple of elements, which native code can build, the number of each; else None.
        self.members: tuple[int, ...] | None = None
        self.is_list = type(fetches) is list
        if type(fetches) in (list, tuple):
            found = [self._plain(f) for f in fetches]
            self.members = None if None in found else tuple(found)  # type: ignore[arg-type]

    def _plain(self, fetch: Any) -> int | None:
        if isinstance(fetch, (dict, list, tuple, IndexedSlices)) or hasattr(fetch, "_fetch_parts"):
            return None
        return self._number[self._graph.as_graph_element(fetch)]

    def _structure(self, fetch: Any) -> Rebuild:
        if isinstance(fetch, dict):
            return self._dict(fetch)
        if isinstance(fetch, (list, tuple)):
            parts = [self._structure(f) for f in fetch]
            cls: Any = type(fetch)
            if hasattr(fetch, "_fields"):
                return lambda values: cls(*[p(values) for p in parts])
            return lambda values: cls([p(values) for p in parts])
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

    def _dict(self, fetch: dict[Any, Any]) -> Rebuild:
        parts = {key: self._structure(f) for key, f in fetch.items()}
        cls = type(fetch)

        def rebuild(values: Sequence[Any]) -> Any:
            result = cls()  # a defaultdict or a Counter takes no pairs
            for key, part in parts.items():
                result[key] = part(values)
            return result

        return rebuild

    def _element(self, fetch: Any) -> Rebuild:
        try:
            element: Element = self._graph.as_graph_element(fetch)
        except TypeError as e:
            raise FetchTypeError(
                f'Argument `fetch` = {fetch} has invalid type "{type(fetch).__name__}" must be a string or Tensor. ({e})'
            ) from None
        except (KeyError, ValueError) as e:
            why = e.args[0] if e.args else e  # str() of a KeyError is a repr
            raise FetchError(f"Argument `fetch` = {fetch} cannot be interpreted as a Tensor. ({why})") from None
        i = self._number.setdefault(element, len(self._number))
        return lambda values: values[i]
