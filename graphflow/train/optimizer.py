"""`Optimizer`, the base of all optimizers; a subclass says what one step does to one variable."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from graphflow.autodiff.gradients import gradients
from graphflow.framework import context
from graphflow.framework.build import convert_to_tensor, name_scope
from graphflow.framework.dtypes import DType
from graphflow.framework.errors import ArgumentError
from graphflow.framework.graph import Graph, Operation, Tensor
from graphflow.framework.graph_keys import GraphKeys
from graphflow.framework.indexed_slices import IndexedSlices
from graphflow.framework.shapes import TensorShape
from graphflow.ops.control_flow.control import group
from graphflow.ops.math.cast import cast
from graphflow.ops.state.variable import assign_add
from graphflow.train.slots import create_slot, create_slot_with_initializer, create_zeros_slot
from graphflow.variables.variable import Variable, init_scope, trainable_variables

GradientAndVariable = tuple[Any, Any]


class Optimizer:
    """Base of the optimizers; subclass it for one of your own.

    A subclass gives `_apply_dense` (and `_apply_sparse` for gradients of gather), and where it needs them
    `_create_slots`, `_prepare` (hyper-parameters as tensors) and `_finish`.
    """

    GATE_NONE = 0
    GATE_OP = 1
    GATE_GRAPH = 2

    def __init__(self, use_locking: bool, name: str) -> None:
        if not name:
            raise ArgumentError("Must specify the optimizer name")
        self._use_locking = use_locking
        self._name = name
        self._slots: dict[str, dict[Operation, Any]] = {}
        self._non_slots: dict[tuple[str, Graph], Any] = {}

    def get_name(self) -> str:
        return self._name

    # ------------------------------------------------------------------ for users
    def minimize(
        self,
        loss: Any,
        global_step: Any = None,
        var_list: Any = None,
        gate_gradients: int = GATE_OP,
        aggregation_method: Any = None,
        colocate_gradients_with_ops: bool = False,
        name: str | None = None,
        grad_loss: Any = None,
    ) -> Operation:
        """An operation that makes one step: `compute_gradients`, then `apply_gradients`.

        Args:
            loss: the tensor to make smaller.
            global_step: an integer variable to be increased by one per step.
            var_list: the variables to change; all trainable ones by default.
            name: of the operation; the optimizer's by default.
            grad_loss: the gradient that flows into `loss`.

        Raises:
            ValueError: `loss` depends on none of the variables.
        """
        pairs = self.compute_gradients(
            loss, var_list, gate_gradients, aggregation_method, colocate_gradients_with_ops, grad_loss
        )
        # An optimizer that changes nothing is always a mistake, such as a loss cut off by stop_gradient.
        if all(g is None for g, _ in pairs):
            raise ArgumentError(
                "No gradients provided for any variable, check your graph for ops that do not support gradients, "
                f"between variables {[str(v) for _, v in pairs]} and loss {loss}."
            )
        return self.apply_gradients(pairs, global_step, name)

    def compute_gradients(
        self,
        loss: Any,
        var_list: Any = None,
        gate_gradients: int = GATE_OP,
        aggregation_method: Any = None,
        colocate_gradients_with_ops: bool = False,
        grad_loss: Any = None,
    ) -> list[GradientAndVariable]:
        """(gradient, variable) for each variable; the gradient is None where `loss` does not depend on it."""
        if callable(loss):
            loss = loss()
        if gate_gradients not in (self.GATE_NONE, self.GATE_OP, self.GATE_GRAPH):
            raise ArgumentError(
                "gate_gradients must be one of: Optimizer.GATE_NONE, Optimizer.GATE_OP, Optimizer.GATE_GRAPH. Not "
                f"{gate_gradients}"
            )
        loss = convert_to_tensor(loss)
        self._check_dtypes([loss])
        if var_list is None:
            with loss.graph.as_default():
                var_list = trainable_variables()
        variables = [var_list] if isinstance(var_list, (Variable, Tensor)) else _flatten(var_list)
        if not variables:
            raise ArgumentError("No variables to optimize.")
        found = gradients(
            loss,
            variables,
            grad_loss,
            colocate_gradients_with_ops=colocate_gradients_with_ops,
            aggregation_method=aggregation_method,
        )
        self._check_dtypes([v for g, v in zip(found, variables, strict=True) if g is not None])
        return list(zip(found, variables, strict=True))

    def apply_gradients(
        self, grads_and_vars: Iterable[GradientAndVariable], global_step: Any = None, name: str | None = None
    ) -> Operation:
        """An operation that applies the gradients to their variables; pairs whose gradient is None are left out."""
        pairs = [(_as_gradient(g), v) for g, v in grads_and_vars]
        if not pairs:
            raise ArgumentError("No variables provided.")
        variables = [v for g, v in pairs if g is not None]
        if not variables:
            raise ArgumentError(f"No gradients provided for any variable: {[str(v) for _, v in pairs]}.")
        graph = variables[0].graph
        with graph.as_default():
            # Slots, like variables, must not depend on what surrounds this call.
            with init_scope(graph):
                self._create_slots(variables)
            with name_scope(name, self._name) as scope:
                self._prepare()
                updates = []
                for gradient, variable in pairs:
                    if gradient is not None:
                        with name_scope(f"update_{variable.op.name}"), graph.colocate_with(variable.op):
                            updates.append(self._update(gradient, variable))
                if global_step is None:
                    done: Any = self._finish(updates, scope)
                else:
                    # The step counts once all variables have changed.
                    with graph.control_dependencies([self._finish(updates, "update")]):
                        done = assign_add(global_step, 1, name=scope)
            operation: Operation = done if isinstance(done, Operation) else done.op
            train_ops = graph.get_collection_ref(GraphKeys.TRAIN_OP)
            # The collection is how scripts and tools find the training op.
            if operation not in train_ops:
                train_ops.append(operation)
            return operation

    def _update(self, gradient: Tensor | IndexedSlices, variable: Any) -> Any:
        if isinstance(gradient, IndexedSlices):
            done = self._apply_sparse_duplicate_indices(gradient, variable)
        else:
            done = self._apply_dense(gradient, variable)
        constraint = getattr(variable, "constraint", None)
        if constraint is None:
            return done
        # The constraint applies to the value after the step.
        with variable.graph.control_dependencies([done]):
            return variable.assign(constraint(variable))

    def get_slot(self, var: Any, name: str) -> Any:
        """The slot `name` of a variable, or None."""
        return self._slots.get(name, {}).get(var.op)

    def get_slot_names(self) -> list[str]:
        return sorted(self._slots)

    def variables(self) -> list[Any]:
        """The optimizer's own variables in the default graph: slots and others."""
        graph = context.get_default_graph()
        own = [v for (_, g), v in self._non_slots.items() if g is graph]
        own += [v for by_var in self._slots.values() for v in by_var.values() if v.graph is graph]
        return sorted(own, key=lambda v: v.name)

    # ------------------------------------------------------------------ for subclasses
    def _create_slots(self, var_list: Sequence[Any]) -> None:
        """Makes the slots of the given variables."""

    def _prepare(self) -> None:
        """Makes tensors of the hyper-parameters, once per `apply_gradients`."""

    def _apply_dense(self, grad: Tensor, var: Any) -> Any:
        """The op that applies a gradient to a variable."""
        raise NotImplementedError

    def _apply_sparse_duplicate_indices(self, grad: IndexedSlices, var: Any) -> Any:
        """Applies rows of a gradient whose indices may repeat: adds repeated rows up, then calls `_apply_sparse`."""
        # Here: these families are for sparse gradients only.
        from graphflow.ops.array.one_hot_where_unique import unique
        from graphflow.ops.array.scatter import unsorted_segment_sum
        from graphflow.ops.array.shape import shape

        indices, position = unique(grad.indices)
        values = unsorted_segment_sum(grad.values, position, shape(indices)[0])
        return self._apply_sparse(IndexedSlices(values, indices, grad.dense_shape), var)

    def _apply_sparse(self, grad: IndexedSlices, var: Any) -> Any:
        """The op that applies rows of a gradient, at indices that occur once each."""
        raise NotImplementedError

    def _finish(self, update_ops: Sequence[Any], name_scope: str) -> Operation:
        """What follows the updates; returns the operation of the whole step."""
        return group(*update_ops, name=name_scope)

    def _valid_dtypes(self) -> set[DType]:
        from graphflow.framework.dtypes import FLOATS

        return set(FLOATS)

    def _check_dtypes(self, tensors: Sequence[Any]) -> None:
        for t in tensors:
            if t.dtype.base_dtype not in self._valid_dtypes():
                raise ArgumentError(
                    f"Invalid type {t.dtype} for {t.name}, expected: {sorted(d.name for d in self._valid_dtypes())}."
                )

    @staticmethod
    def _call_if_callable(param: Any) -> Any:
        return param() if callable(param) else param

    def _hyper(self, value: Any, name: str) -> Tensor:
        """A hyper-parameter (number, tensor or function of no arguments) as a tensor."""
        return convert_to_tensor(self._call_if_callable(value), name=name)

    @staticmethod
    def _like(tensors: Iterable[Any], var: Any) -> list[Tensor]:
        """Hyper-parameters in the variable's dtype."""
        return [cast(t, var.dtype.base_dtype) for t in tensors]

    def _slot_dict(self, slot_name: str) -> dict[Operation, Any]:
        return self._slots.setdefault(slot_name, {})

    def _get_or_make_slot(self, var: Any, val: Tensor, slot_name: str, op_name: str) -> Any:
        named = self._slot_dict(slot_name)
        if var.op not in named:
            named[var.op] = create_slot(var, val, op_name)
        return named[var.op]

    def _get_or_make_slot_with_initializer(
        self, var: Any, initializer: Any, shape: TensorShape, dtype: DType, slot_name: str, op_name: str
    ) -> Any:
        named = self._slot_dict(slot_name)
        if var.op not in named:
            named[var.op] = create_slot_with_initializer(var, initializer, shape, dtype, op_name)
        return named[var.op]

    def _zeros_slot(self, var: Any, slot_name: str, op_name: str) -> Any:
        named = self._slot_dict(slot_name)
        if var.op not in named:
            named[var.op] = create_zeros_slot(var, op_name)
        return named[var.op]

    def _create_non_slot_variable(self, initial_value: Any, name: str, colocate_with: Any) -> Any:
        key = (name, colocate_with.graph)
        # By graph, because an optimizer may be used in several.
        if key not in self._non_slots:
            self._non_slots[key] = Variable(initial_value, name=name, trainable=False)
        return self._non_slots[key]

    def _get_non_slot_variable(self, name: str, graph: Graph | None = None) -> Any:
        return self._non_slots.get((name, context.get_default_graph() if graph is None else graph))


def _flatten(variables: Any) -> list[Any]:
    """Variables of nested lists and tuples."""
    found: list[Any] = []
    todo = [variables]
    while todo:
        v = todo.pop(0)
        if isinstance(v, (list, tuple, set, frozenset)) or hasattr(v, "__next__") or type(v).__name__.startswith("dict_"):
            # In the order given: names and numbers of the ops follow it.
            todo[:0] = list(v)
        else:
            found.append(v)
    return found


def _as_gradient(g: Any) -> Tensor | IndexedSlices | None:
    if g is None or isinstance(g, (Tensor, IndexedSlices)):
        return g
    try:
        return convert_to_tensor(g)
    except TypeError as e:
        raise TypeError(f"Gradient must be convertible to a Tensor or IndexedSlices, or None: {g!r}") from e
