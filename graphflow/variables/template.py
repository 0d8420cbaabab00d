"""`make_template`: a function whose variables are made by its first call and shared by the later ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphflow.framework import context
from graphflow.framework.errors import ArgumentError
from graphflow.framework.graph_keys import GraphKeys
from graphflow.variables.scope import AUTO_REUSE, VariableScope, variable_scope

__all__ = ["Template", "make_template"]


class Template:
    """The callable that `make_template` returns."""

    def __init__(
        self, name: str, func: Callable[..., Any], create_scope_now: bool, unique_name: str | None, custom_getter: Any
    ) -> None:
        if name is None:
            raise ValueError("name cannot be None.")
        self._func = func
        self._name = name
        self._unique_name = unique_name
        self._custom_getter = custom_getter
        self._variable_scope: VariableScope | None = None
        self._called = False
        if create_scope_now:
            with self._new_scope() as scope:
                self._variable_scope = scope
        self.__doc__ = func.__doc__
        self.__name__ = getattr(func, "__name__", name)

    def _new_scope(self) -> variable_scope:
        return variable_scope(
            self._unique_name,
            self._name,
            custom_getter=self._custom_getter,
            # A unique name may be that of another template, which then shares its variables.
            reuse=AUTO_REUSE if self._unique_name else None,
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._variable_scope is None:
            with self._new_scope() as scope:
                self._variable_scope = scope
                return self._run(args, kwargs)
        # Only a call that came to its end has made all variables; with `create_scope_now`
        # the scope exists before any call.
        trained = context.get_default_graph().get_collection(GraphKeys.TRAINABLE_VARIABLES)
        with variable_scope(self._variable_scope, reuse=True if self._called else None):
            again = self._called
            result = self._run(args, kwargs)
        made = context.get_default_graph().get_collection(GraphKeys.TRAINABLE_VARIABLES)[len(trained) :]
        if again and made:
            raise ArgumentError(
                "Trainable variable created when calling a template after the first time, perhaps you used tf.Variable when "
                f"you meant tf.get_variable: {made}"
            )
        return result

    def _run(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        result = self._func(*args, **kwargs)
        self._called = True
        return result

    @property
    def name(self) -> str:
        return self._name

    @property
    def variable_scope(self) -> VariableScope | None:
        """The scope of its variables; None before the first call."""
        return self._variable_scope

    @property
    def variable_scope_name(self) -> str | None:
        return None if self._variable_scope is None else self._variable_scope.name

    @property
    def variables(self) -> list[Any]:
        return self.global_variables + self.local_variables

    @property
    def global_variables(self) -> list[Any]:
        return [] if self._variable_scope is None else self._variable_scope.global_variables()

    @property
    def local_variables(self) -> list[Any]:
        return [] if self._variable_scope is None else self._variable_scope.local_variables()

    @property
    def trainable_variables(self) -> list[Any]:
        return [] if self._variable_scope is None else self._variable_scope.trainable_variables()


def make_template(
    name_: str,
    func_: Callable[..., Any],
    create_scope_now_: bool = False,
    unique_name_: str | None = None,
    custom_getter_: Any = None,
    **kwargs: Any,
) -> Template:
    """`func_` with shared variables, in a scope called `name_` (made unique) or `unique_name_` (taken as it is).

    The keyword arguments are passed to every call.
    """
    function = func_
    if kwargs:

        def function(*args: Any, **more: Any) -> Any:
            return func_(*args, **{**kwargs, **more})

        function.__doc__ = func_.__doc__
    return Template(name_, function, create_scope_now_, unique_name_, custom_getter_)
