"""The optimizers: gradient descent, momentum, Adam, RMSProp, Adagrad, Adadelta, FTRL. `optimizer_updates` has the formulas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphflow.framework.build import build
from graphflow.framework.errors import ArgumentError
from graphflow.framework.graph import Operation, Tensor
from graphflow.framework.indexed_slices import IndexedSlices
from graphflow.framework.registry import NO_ATTRS, OpDef
from graphflow.ops.control_flow.control import group
from graphflow.ops.state import optimizer_updates
from graphflow.ops.state.rows import scatter_sub
from graphflow.ops.state.variable import mutable
from graphflow.train.optimizer import Optimizer
from graphflow.variables.initializers import Constant, Ones, Zeros

__all__ = [
    "AdadeltaOptimizer", "AdagradOptimizer", "AdamOptimizer", "FtrlOptimizer", "GradientDescentOptimizer",
    "MomentumOptimizer", "RMSPropOptimizer",
]  # fmt: skip


class _SlotOptimizer(Optimizer):
    """An optimizer whose step is one op per variable, on (variable, slots, hyper-parameters, gradient)."""

    _dense_op: OpDef
    _sparse_op: OpDef
    _slot_names: tuple[str, ...] = ()

    def __init__(self, use_locking: bool, name: str) -> None:
        super().__init__(use_locking, name)
        self._hyper_tensors: list[Tensor] = []

    def _attrs(self) -> Any:
        return NO_ATTRS

    def _create_slots(self, var_list: Sequence[Any]) -> None:
        for v in var_list:
            for slot in self._slot_names:
                self._zeros_slot(v, slot, self._name)

    def _refs(self, var: Any) -> list[Tensor]:
        owners = (var, *(self.get_slot(var, slot) for slot in self._slot_names))
        return [mutable(v, self._dense_op.name) for v in owners]

    def _hypers(self, var: Any) -> list[Tensor]:
        return self._like(self._hyper_tensors, var)

    def _apply_dense(self, grad: Tensor, var: Any) -> Tensor:
        return build(self._dense_op, [*self._refs(var), *self._hypers(var), grad], self._attrs())

    def _apply_sparse_duplicate_indices(self, grad: IndexedSlices, var: Any) -> Tensor:
        # Without the base class's `unique`, which runs only on the reference back end: the op itself adds up repeated rows.
        inputs = [*self._refs(var), *self._hypers(var), grad.values, grad.indices]
        return build(self._sparse_op, inputs, self._attrs())

    _apply_sparse = _apply_sparse_duplicate_indices


class GradientDescentOptimizer(_SlotOptimizer):
    """``var -= learning_rate * gradient``."""

    _dense_op = optimizer_updates.APPLY_GRADIENT_DESCENT

    def __init__(self, learning_rate: Any, use_locking: bool = False, name: str = "GradientDescent") -> None:
        super().__init__(use_locking, name)
        self._learning_rate = learning_rate

    def _prepare(self) -> None:
        self._learning_rate_tensor = self._hyper(self._learning_rate, "learning_rate")
        self._hyper_tensors = [self._learning_rate_tensor]

    def _apply_sparse_duplicate_indices(self, grad: IndexedSlices, var: Any) -> Tensor:
        # Subtraction needs no sum beforehand: repeated rows are subtracted one after the other.
        (rate,) = self._hypers(var)
        return scatter_sub(var, grad.indices, grad.values * rate)

    _apply_sparse = _apply_sparse_duplicate_indices


class MomentumOptimizer(_SlotOptimizer):
    """``accum = momentum * accum + gradient; var -= learning_rate * accum``; Nesterov's form on request."""

    _dense_op = optimizer_updates.APPLY_MOMENTUM
    _sparse_op = optimizer_updates.SPARSE_APPLY_MOMENTUM
    _slot_names = ("momentum",)

    def __init__(
        self,
        learning_rate: Any,
        momentum: Any,
        use_locking: bool = False,
        name: str = "Momentum",
        use_nesterov: bool = False,
    ) -> None:
        super().__init__(use_locking, name)
        self._learning_rate = learning_rate
        self._momentum = momentum
        self._use_nesterov = use_nesterov

    def _attrs(self) -> optimizer_updates.MomentumAttrs:
        return optimizer_updates.MomentumAttrs(self._use_nesterov)

    def _prepare(self) -> None:
        self._learning_rate_tensor = self._hyper(self._learning_rate, "learning_rate")
        self._momentum_tensor = self._hyper(self._momentum, "momentum")
        self._hyper_tensors = [self._learning_rate_tensor, self._momentum_tensor]


class AdamOptimizer(_SlotOptimizer):
    """Adam (Kingma and Ba), epsilon being the paper's "epsilon hat": outside the bias correction.

    Slots ``m`` and ``v`` are the variables ``<var>/Adam`` and ``<var>/Adam_1``; ``beta1_power`` and ``beta2_power``
    are shared.
    """

    _dense_op = optimizer_updates.APPLY_ADAM
    _sparse_op = optimizer_updates.SPARSE_APPLY_ADAM
    _slot_names = ("m", "v")

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta1: Any = 0.9,
        beta2: Any = 0.999,
        epsilon: Any = 1e-8,
        use_locking: bool = False,
        name: str = "Adam",
    ) -> None:
        super().__init__(use_locking, name)
        self._lr = learning_rate
        self._beta1 = beta1
        self._beta2 = beta2
        self._epsilon = epsilon

    def _attrs(self) -> optimizer_updates.MomentumAttrs:
        return optimizer_updates.MomentumAttrs()

    def _create_slots(self, var_list: Sequence[Any]) -> None:
        # As TensorFlow, which puts the shared variables beside the first one by name.
        first = min(var_list, key=lambda v: v.name)
        self._create_non_slot_variable(self._call_if_callable(self._beta1), "beta1_power", first)
        self._create_non_slot_variable(self._call_if_callable(self._beta2), "beta2_power", first)
        super()._create_slots(var_list)

    def _get_beta_accumulators(self) -> tuple[Any, Any]:
        return self._get_non_slot_variable("beta1_power"), self._get_non_slot_variable("beta2_power")

    def _prepare(self) -> None:
        self._lr_t = self._hyper(self._lr, "learning_rate")
        self._beta1_t = self._hyper(self._beta1, "beta1")
        self._beta2_t = self._hyper(self._beta2, "beta2")
        self._epsilon_t = self._hyper(self._epsilon, "epsilon")
        self._hyper_tensors = [
            *(v.value() for v in self._get_beta_accumulators()),
            self._lr_t,
            self._beta1_t,
            self._beta2_t,
            self._epsilon_t,
        ]

    def _finish(self, update_ops: Sequence[Any], name_scope: str) -> Operation:
        beta1_power, beta2_power = self._get_beta_accumulators()
        # After all variables: their steps read the powers of this step.
        with beta1_power.graph.control_dependencies(update_ops):
            powers = [
                beta1_power.assign(beta1_power * self._like([self._beta1_t], beta1_power)[0]),
                beta2_power.assign(beta2_power * self._like([self._beta2_t], beta2_power)[0]),
            ]
        return group(*update_ops, *powers, name=name_scope)


class RMSPropOptimizer(_SlotOptimizer):
    """Divides by a moving root of squared gradients, which starts at one; `centered` subtracts the squared mean."""

    def __init__(
        self,
        learning_rate: Any,
        decay: Any = 0.9,
        momentum: Any = 0.0,
        epsilon: Any = 1e-10,
        use_locking: bool = False,
        centered: bool = False,
        name: str = "RMSProp",
    ) -> None:
        super().__init__(use_locking, name)
        self._learning_rate = learning_rate
        self._decay = decay
        self._momentum = momentum
        self._epsilon = epsilon
        self._centered = centered
        self._dense_op = optimizer_updates.APPLY_CENTERED_RMS_PROP if centered else optimizer_updates.APPLY_RMS_PROP
        self._sparse_op = (
            optimizer_updates.SPARSE_APPLY_CENTERED_RMS_PROP if centered else optimizer_updates.SPARSE_APPLY_RMS_PROP
        )
        self._slot_names = ("mg", "rms", "momentum") if centered else ("rms", "momentum")

    def _create_slots(self, var_list: Sequence[Any]) -> None:
        for v in var_list:
            dtype = v.dtype.base_dtype
            if v.shape.is_fully_defined():
                # Ones, as in TensorFlow: the first steps are not divided by a root close to 0.
                self._get_or_make_slot_with_initializer(v, Ones(dtype), v.shape, dtype, "rms", self._name)
            else:
                from graphflow.ops.array.fill import ones_like

                self._get_or_make_slot(v, ones_like(v), "rms", self._name)
            if self._centered:
                self._zeros_slot(v, "mg", self._name)
            self._zeros_slot(v, "momentum", self._name)

    def _prepare(self) -> None:
        self._learning_rate_tensor = self._hyper(self._learning_rate, "learning_rate")
        self._decay_tensor = self._hyper(self._decay, "decay")
        self._momentum_tensor = self._hyper(self._momentum, "momentum")
        self._epsilon_tensor = self._hyper(self._epsilon, "epsilon")
        self._hyper_tensors = [
            self._learning_rate_tensor,
            self._decay_tensor,
            self._momentum_tensor,
            self._epsilon_tensor,
        ]


class AdagradOptimizer(_SlotOptimizer):
    """Divides by the root of all squared gradients so far plus `initial_accumulator_value`."""

    _dense_op = optimizer_updates.APPLY_ADAGRAD
    _sparse_op = optimizer_updates.SPARSE_APPLY_ADAGRAD
    _slot_names = ("accumulator",)

    def __init__(
        self,
        learning_rate: Any,
        initial_accumulator_value: float = 0.1,
        use_locking: bool = False,
        name: str = "Adagrad",
    ) -> None:
        if initial_accumulator_value <= 0.0:
            raise ArgumentError(f"initial_accumulator_value must be positive: {initial_accumulator_value}")
        super().__init__(use_locking, name)
        self._learning_rate = learning_rate
        self._initial_accumulator_value = initial_accumulator_value

    def _create_slots(self, var_list: Sequence[Any]) -> None:
        for v in var_list:
            start = Constant(self._initial_accumulator_value)
            self._get_or_make_slot_with_initializer(v, start, v.shape, v.dtype.base_dtype, "accumulator", self._name)

    def _prepare(self) -> None:
        self._learning_rate_tensor = self._hyper(self._learning_rate, "learning_rate")
        self._hyper_tensors = [self._learning_rate_tensor]


class AdadeltaOptimizer(_SlotOptimizer):
    """Steps in the ratio of moving roots of squared updates and squared gradients."""

    _dense_op = optimizer_updates.APPLY_ADADELTA
    _sparse_op = optimizer_updates.SPARSE_APPLY_ADADELTA
    _slot_names = ("accum", "accum_update")

    def __init__(
        self,
        learning_rate: Any = 0.001,
        rho: Any = 0.95,
        epsilon: Any = 1e-8,
        use_locking: bool = False,
        name: str = "Adadelta",
    ) -> None:
        super().__init__(use_locking, name)
        self._lr = learning_rate
        self._rho = rho
        self._epsilon = epsilon

    def _prepare(self) -> None:
        self._lr_t = self._hyper(self._lr, "lr")
        self._rho_t = self._hyper(self._rho, "rho")
        self._epsilon_t = self._hyper(self._epsilon, "epsilon")
        self._hyper_tensors = [self._lr_t, self._rho_t, self._epsilon_t]


class FtrlOptimizer(_SlotOptimizer):
    """Follow the regularized leader, with L1, L2 and L2-shrinkage regularisation."""

    _dense_op = optimizer_updates.APPLY_FTRL
    _sparse_op = optimizer_updates.SPARSE_APPLY_FTRL
    _slot_names = ("accum", "linear")

    def __init__(
        self,
        learning_rate: Any,
        learning_rate_power: float = -0.5,
        initial_accumulator_value: float = 0.1,
        l1_regularization_strength: float = 0.0,
        l2_regularization_strength: float = 0.0,
        use_locking: bool = False,
        name: str = "Ftrl",
        accum_name: str | None = None,
        linear_name: str | None = None,
        l2_shrinkage_regularization_strength: float = 0.0,
    ) -> None:
        super().__init__(use_locking, name)
        for what, value in (
            ("initial_accumulator_value", initial_accumulator_value),
            ("l1_regularization_strength", l1_regularization_strength),
            ("l2_regularization_strength", l2_regularization_strength),
            ("l2_shrinkage_regularization_strength", l2_shrinkage_regularization_strength),
        ):
            if value < 0.0:
                raise ArgumentError(f"{what} {value} needs to be greater than or equal to zero")
        if learning_rate_power > 0.0:
            raise ArgumentError(f"learning_rate_power {learning_rate_power} needs to be negative or zero")
        self._learning_rate = learning_rate
        self._learning_rate_power = learning_rate_power
        self._initial_accumulator_value = initial_accumulator_value
        self._l1 = l1_regularization_strength
        self._l2 = l2_regularization_strength
        self._l2_shrinkage = l2_shrinkage_regularization_strength
        self._accum_name = accum_name
        self._linear_name = linear_name

    def _create_slots(self, var_list: Sequence[Any]) -> None:
        for v in var_list:
            dtype = v.dtype.base_dtype
            start = Constant(self._initial_accumulator_value)
            self._get_or_make_slot_with_initializer(v, start, v.shape, dtype, "accum", self._accum_name or self._name)
            self._get_or_make_slot_with_initializer(v, Zeros(), v.shape, dtype, "linear", self._linear_name or self._name)

    def _prepare(self) -> None:
        self._learning_rate_tensor = self._hyper(self._learning_rate, "learning_rate")
        self._hyper_tensors = [
            self._learning_rate_tensor,
            self._hyper(self._l1, "l1_regularization_strength"),
            self._hyper(self._l2, "l2_regularization_strength"),
            self._hyper(self._l2_shrinkage, "l2_shrinkage_regularization_strength"),
            self._hyper(self._learning_rate_power, "learning_rate_power"),
        ]
