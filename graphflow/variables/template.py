"""`make_template`: a function whose variables are made by its first call and shared by the later ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphflow.framework.default_graph import get_collection
from graphflow.framework.errors import ArgumentError
from graphflow.framework.graph_keys import GraphKeys
from graphflow.variables.scope import VariableScope, variable_scope

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
        self._variables_created = False
        if create_scope_now:
            # No op is made yet, so the first call is the first to use the name.
            with self._new_scope(auxiliary_name_scope=False) as scope:
                self._variable_scope = scope
        self.__doc__ = func.__doc__
        self.__name__ = getattr(func, "__name__", name)

    def _new_scope(self, auxiliary_name_scope: bool = True) -> variable_scope:
        return variable_scope(
            self._unique_name,
            self._name,
            custom_getter=self._custom_getter,
            auxiliary_name_scope=auxiliary_name_scope,
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._variable_scope is None:
            with self._new_scope() as scope:
                self._variable_scope = scope
                return self._run(args, kwargs)
        # Only a call that came to its end has made all variables; with `create_scope_now`
        # the scope exists before any call.
        with variable_scope(self._variable_scope, reuse=True if self._variables_created else None):
            return self._run(args, kwargs)

    def _run(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        before = get_collection(GraphKeys.TRAINABLE_VARIABLES)
        result = self._func(*args, **kwargs)
        made = get_collection(GraphKeys.TRAINABLE_VARIABLES)[len(before) :]
        if made and self._variables_created:
            raise ArgumentError(
                "Trainable variable created when calling a template after the first time, perhaps you used tf.Variable when "
                f"you meant tf.get_variable: {made}"
            )
        self._variables_created = True
        return result

    name = property(lambda self: self._name)
    func = property(lambda self: self._func)
    variable_scope = property(lambda self: self._variable_scope, doc="The scope of its variables; None before the first call.")
    var_scope = variable_scope

    @property
    def variable_scope_name(self) -> str | None:
        """The name of that scope with a ``/`` behind it, as the names of the variables begin."""
        return None if self._variable_scope is None else self._variable_scope.name + "/"

    def _made(self, key: str) -> list[Any]:
        made: list[Any] = self._variable_scope.get_collection(key) if self._variable_scope and self._variables_created else []
        return made

    global_variables = property(lambda self: self._made(GraphKeys.GLOBAL_VARIABLES))
    local_variables = property(lambda self: self._made(GraphKeys.LOCAL_VARIABLES))
    variables = property(lambda self: self.global_variables + self.local_variables)
    trainable_variables = property(lambda self: self._made(GraphKeys.TRAINABLE_VARIABLES))

    @property
    def non_trainable_variables(self) -> list[Any]:
        trained = set(self.trainable_variables)
        return [v for v in self.global_variables if v not in trained]

    weights = variables
    trainable_weights = trainable_variables
    non_trainable_weights = non_trainable_variables


def make_template(
    name_: str,
    func_: Callable[..., Any],
    create_scope_now_: bool = False,
    unique_name_: str | None = None,
    custom_getter_: Any = None,
    **kwargs: Any,
) -> Template:
    """`func_` with shared variables, in a scope called `name_` (made unique) or `unique_name_` (taken as it is).

    The keyword arguments are passed to every call. A later call may make no trainable variable that the first has not made.
    """
    function = func_
    if kwargs:

        def function(*args: Any, **more: Any) -> Any:
            return func_(*args, **{**kwargs, **more})

        function.__doc__ = func_.__doc__
    return Template(name_, function, create_scope_now_, unique_name_, custom_getter_)
