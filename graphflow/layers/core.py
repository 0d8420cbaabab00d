"""`tf.layers`: layers as functions and as objects, which make their own variables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphflow.framework.build import convert_to_tensor, name_scope
from graphflow.framework.default_graph import get_collection
from graphflow.framework.dtypes import float32
from graphflow.framework.errors import ArgumentError, ShapeError
from graphflow.framework.graph import Tensor
from graphflow.framework.graph_keys import GraphKeys
from graphflow.ops.array.identity import identity
from graphflow.ops.array.reshape import reshape
from graphflow.ops.array.shape import shape, size
from graphflow.ops.math.binary import maximum
from graphflow.ops.math.cast import cast
from graphflow.ops.math.matmul import matmul
from graphflow.ops.math.select import where, where_v2
from graphflow.ops.math.statistics import moments
from graphflow.ops.nn import dropout as dropout_ops
from graphflow.ops.nn import normalization
from graphflow.ops.nn.bias import bias_add
from graphflow.train.moving_averages import assign_moving_average
from graphflow.variables.initializers import Ones, Zeros
from graphflow.variables.scope import VariableScope, get_variable, variable_scope
from graphflow.variables.variable import may_train

__all__ = [
    "BatchNormalization", "Dense", "Dropout", "Flatten", "Layer", "batch_normalization", "dense", "dropout", "flatten",
]  # fmt: skip


def _snake_case(name: str) -> str:
    return "".join("_" + c.lower() if c.isupper() and i else c.lower() for i, c in enumerate(name))


class Layer:
    """A layer: `build` makes its variables at the first call, later calls share them, and `call` computes the result."""

    def __init__(
        self,
        trainable: bool = True,
        name: str | None = None,
        dtype: Any = None,
        activity_regularizer: Callable[[Tensor], Any] | None = None,
        _reuse: Any = None,
    ) -> None:
        self.trainable = trainable
        self.dtype = dtype
        self.built = False
        self._given_name = name
        self._reuse = _reuse
        self._scope: VariableScope | None = None
        self._variables: list[Any] = []
        self._updates: list[Any] = []
        self._losses: list[Any] = []
        self.activity_regularizer = activity_regularizer

    @property
    def name(self) -> str:
        if self._scope is not None:
            full: str = self._scope.name
            return full.split("/")[-1]
        return self._given_name or _snake_case(type(self).__name__)

    variables = property(lambda self: list(self._variables))
    weights = variables
    trainable_variables = property(lambda self: [v for v in self._variables if v.trainable])
    trainable_weights = trainable_variables
    non_trainable_variables = property(lambda self: [v for v in self._variables if not v.trainable])
    updates = property(lambda self: list(self._updates))
    losses = property(lambda self: list(self._losses), doc="The regularization losses of its variables and of its results.")

    def add_loss(self, losses: Any, inputs: Any = None) -> None:
        """Adds losses (a tensor or a list of them) to those of the layer, and to the collection REGULARIZATION_LOSSES."""
        for loss in losses if isinstance(losses, (list, tuple)) else [losses]:
            if loss is not None:
                self._losses.append(loss)
                loss.graph.add_to_collection(GraphKeys.REGULARIZATION_LOSSES, loss)

    def add_variable(
        self,
        name: str,
        shape: Any,
        dtype: Any = None,
        initializer: Any = None,
        regularizer: Any = None,
        trainable: bool | None = None,
        constraint: Any = None,
        synchronization: Any = None,
        aggregation: Any = None,
        **ignored: Any,
    ) -> Any:
        """A variable of the layer, under the layer's name. Errors as of `get_variable`."""
        if self._scope is None:
            with variable_scope(self._given_name, _snake_case(type(self).__name__), reuse=self._reuse) as opened:
                self._scope = opened
        known = get_collection(GraphKeys.REGULARIZATION_LOSSES)
        with variable_scope(self._scope, reuse=True if self.built else self._reuse, auxiliary_name_scope=False):
            variable = get_variable(
                name,
                shape,
                dtype or self.dtype or float32,
                initializer,
                regularizer,
                trainable=may_train(trainable, synchronization) and self.trainable,
                constraint=constraint,
                aggregation=aggregation,
            )
        # None where the variable is shared: its loss is that of the layer that made it.
        self._losses += get_collection(GraphKeys.REGULARIZATION_LOSSES)[len(known) :]
        self._variables.append(variable)
        return variable

    add_weight = add_variable

    def build(self, input_shape: Any) -> None:
        """Makes the variables."""

    def call(self, inputs: Tensor, **kwargs: Any) -> Any:
        raise NotImplementedError

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        x = convert_to_tensor(inputs)
        # The first call opens a scope with a name of its own; later calls enter that scope again.
        if self._scope is None:
            scope = variable_scope(self._given_name, _snake_case(type(self).__name__), [x], reuse=self._reuse)
        else:
            scope = variable_scope(self._scope, values=[x], reuse=True if self.built else None)
        with scope as opened:
            self._scope = self._scope or opened
            if not self.built:
                # Variables take the dtype of the first input, but an integer input does not make integer weights.
                self.dtype = self.dtype or (x.base_dtype if x.base_dtype.is_floating else float32)
                self.build(x.shape)
                self.built = True
            result = self.call(x, *args, **kwargs)
            if self.activity_regularizer is not None:
                for output in result if isinstance(result, (list, tuple)) else [result]:
                    with name_scope("ActivityRegularizer"):
                        loss = self.activity_regularizer(output)
                    self.add_loss(loss, inputs=x)
            return result

    apply = __call__


class Dense(Layer):
    """activation(inputs @ kernel + bias) on the last axis; kernel [in, units], bias [units]."""

    def __init__(
        self,
        units: int,
        activation: Callable[[Tensor], Tensor] | None = None,
        use_bias: bool = True,
        kernel_initializer: Any = None,
        bias_initializer: Any = None,
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        trainable: bool = True,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(trainable, name, activity_regularizer=activity_regularizer, **kwargs)
        self.units = int(units)
        self.activation = activation
        self.use_bias = use_bias
        self.kernel_initializer = kernel_initializer
        self.bias_initializer = Zeros() if bias_initializer is None else bias_initializer
        self.kernel_regularizer = kernel_regularizer
        self.bias_regularizer = bias_regularizer
        self.kernel_constraint = kernel_constraint
        self.bias_constraint = bias_constraint
        self.kernel: Any = None
        self.bias: Any = None

    def build(self, input_shape: Any) -> None:
        # The kernel needs the size of the last axis when it is made.
        if input_shape.ndims is None or input_shape.ndims < 1 or input_shape[-1].value is None:
            raise ShapeError("The last dimension of the inputs to `Dense` should be defined. Found `None`.")
        self.kernel = self.add_variable(
            "kernel",
            [input_shape[-1].value, self.units],
            initializer=self.kernel_initializer,
            regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint,
        )
        if self.use_bias:
            self.bias = self.add_variable(
                "bias",
                [self.units],
                initializer=self.bias_initializer,
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
            )

    def call(self, inputs: Tensor, **kwargs: Any) -> Tensor:
        if inputs.shape.ndims == 2:
            out = matmul(inputs, self.kernel)
        else:
            # All leading axes as rows of one product, which is one kernel and needs no batches of products.
            sizes = inputs.shape.as_list()
            rows = matmul(reshape(inputs, [-1, sizes[-1]]), self.kernel)
            known = sizes if sizes.count(None) == 0 else [shape(inputs)[i] if d is None else d for i, d in enumerate(sizes)]
            out = reshape(rows, [*known[:-1], self.units])
        if self.use_bias:
            out = bias_add(out, self.bias)
        return out if self.activation is None else self.activation(out)


def dense(
    inputs: Any,
    units: int,
    activation: Callable[[Tensor], Tensor] | None = None,
    use_bias: bool = True,
    kernel_initializer: Any = None,
    bias_initializer: Any = None,
    kernel_regularizer: Any = None,
    bias_regularizer: Any = None,
    activity_regularizer: Any = None,
    kernel_constraint: Any = None,
    bias_constraint: Any = None,
    trainable: bool = True,
    name: str | None = None,
    reuse: Any = None,
) -> Tensor:
    """A fully connected layer on the last axis of `inputs` [..., in] -> [..., units].

    Raises:
        ValueError: the last dimension of `inputs` is unknown.
    """
    layer = Dense(
        units,
        activation,
        use_bias,
        kernel_initializer,
        bias_initializer,
        kernel_regularizer,
        bias_regularizer,
        activity_regularizer,
        kernel_constraint,
        bias_constraint,
        trainable,
        name,
        _reuse=reuse,
    )
    out: Tensor = layer(inputs)
    return out


def _by_training(training: Any, active: Callable[[], Tensor], passive: Callable[[], Tensor]) -> Tensor:
    """One of two tensors: a Python `training` decides now, so only one of them is built; a tensor decides in each run."""
    if isinstance(training, (bool, int)):
        return active() if training else passive()
    # Where a run says what shape it has, it broadcasts to that of the branches, never beyond it.
    flag = convert_to_tensor(training)
    return (where if flag._shape is None else where_v2)(flag, active(), passive())


class Dropout(Layer):
    """Zeroes a share `rate` of the elements while training, scaling up the rest."""

    def __init__(
        self, rate: Any = 0.5, noise_shape: Any = None, seed: int | None = None, name: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.rate, self.noise_shape, self.seed = rate, noise_shape, seed

    def call(self, inputs: Tensor, training: Any = False, **kwargs: Any) -> Tensor:
        return _by_training(
            training,
            lambda: dropout_ops.dropout(inputs, rate=self.rate, noise_shape=self.noise_shape, seed=self.seed),
            lambda: identity(inputs),
        )


def dropout(
    inputs: Any,
    rate: Any = 0.5,
    noise_shape: Any = None,
    seed: int | None = None,
    training: Any = False,
    name: str | None = None,
) -> Tensor:
    """Zeroes a share `rate` of the elements if `training` (bool or bool tensor) is true."""
    out: Tensor = Dropout(rate, noise_shape, seed, name)(inputs, training=training)
    return out


class Flatten(Layer):
    """[batch, ...] -> [batch, product of the rest]."""

    def call(self, inputs: Tensor, **kwargs: Any) -> Tensor:
        sizes = inputs.shape
        if sizes.ndims is None:
            return reshape(inputs, [shape(inputs)[0], -1])
        if sizes.ndims == 1:
            return reshape(inputs, [-1, 1])
        rest = sizes[1:].num_elements()
        # At most one size may be open in a reshape: the batch is read from the input, or known.
        if rest is None:
            return reshape(inputs, [shape(inputs)[0], -1] if sizes[0].value is None else [sizes[0].value, -1])
        return reshape(inputs, [-1, rest])


def flatten(inputs: Any, name: str | None = None, data_format: str = "channels_last") -> Tensor:
    """[batch, ...] -> [batch, product of the rest]."""
    out: Tensor = Flatten(name=name)(inputs)
    return out


class BatchNormalization(Layer):
    """Normalises over all axes but `axis` by the batch's mean and variance while training, by moving ones otherwise.

    The two updates of the moving averages go into UPDATE_OPS; run them with the training op.
    """

    def __init__(
        self,
        axis: int = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = None,
        gamma_initializer: Any = None,
        moving_mean_initializer: Any = None,
        moving_variance_initializer: Any = None,
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        trainable: bool = True,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(trainable, name, **kwargs)
        self.axis = axis[0] if isinstance(axis, (list, tuple)) else axis
        self.momentum, self.epsilon, self.center, self.scale = momentum, epsilon, center, scale
        self._initial = {
            "beta": beta_initializer or Zeros(),
            "gamma": gamma_initializer or Ones(),
            "moving_mean": moving_mean_initializer or Zeros(),
            "moving_variance": moving_variance_initializer or Ones(),
        }
        self._regularizers = {"beta": beta_regularizer, "gamma": gamma_regularizer}
        self._constraints = {"beta": beta_constraint, "gamma": gamma_constraint}
        self.gamma: Any = None
        self.beta: Any = None

    def _parameter(self, name: str, size: int, trainable: bool) -> Any:
        return self.add_variable(
            name,
            [size],
            initializer=self._initial[name],
            regularizer=self._regularizers.get(name),
            trainable=trainable,
            constraint=self._constraints.get(name),
        )

    def build(self, input_shape: Any) -> None:
        if input_shape.ndims is None:
            raise ArgumentError(f"Input has undefined rank: {input_shape}")
        # Counted from the front now that the rank is known.
        self._axis = self.axis % input_shape.ndims
        size = input_shape[self._axis].value
        if size is None:
            raise ArgumentError(f"Input has undefined `axis` dimension. Input shape: {input_shape}")
        if self.scale:
            self.gamma = self._parameter("gamma", size, True)
        if self.center:
            self.beta = self._parameter("beta", size, True)
        self.moving_mean = self._parameter("moving_mean", size, False)
        self.moving_variance = self._parameter("moving_variance", size, False)

    def call(self, inputs: Tensor, training: Any = False, **kwargs: Any) -> Tensor:
        rank = inputs.shape.ndims or 0
        axes = [i for i in range(rank) if i != self._axis]

        def spread(v: Any) -> Any:
            # Vectors broadcast along the last axis by themselves.
            if v is None or self._axis == rank - 1:
                return v
            return reshape(v, [v.shape[0].value if i == self._axis else 1 for i in range(rank)])

        if isinstance(training, (bool, int)) and not training:
            mean, variance = self.moving_mean.value(), self.moving_variance.value()
        else:
            # Reads of their own, before the updates below: otherwise the result would
            # depend on whether the updates run.
            old_mean, old_variance = self.moving_mean.read_value(), self.moving_variance.read_value()
            batch_mean, batch_variance = moments(inputs, axes)
            # Where a run does not train it uses the moving values, as they were before this run.
            mean = _by_training(training, lambda: batch_mean, lambda: old_mean)
            variance = _by_training(training, lambda: batch_variance, lambda: old_variance)
            target = variance
            if rank == 4:  # as TensorFlow's fused kernel, which keeps the unbiased variance
                count = cast(size(inputs), batch_variance.base_dtype) / inputs.shape[self._axis].value
                unbiased = batch_variance * count / maximum(count - 1.0, 1.0)
                target = _by_training(training, lambda: unbiased, lambda: old_variance)
            # Moving towards the old value changes nothing where the run does not train.
            for moving, value in ((self.moving_mean, mean), (self.moving_variance, target)):
                update = assign_moving_average(moving, value, self.momentum, zero_debias=False)
                self._updates.append(update)
                update.graph.add_to_collection(GraphKeys.UPDATE_OPS, update.op)
        return normalization.batch_normalization(
            inputs, spread(mean), spread(variance), spread(self.beta), spread(self.gamma), self.epsilon
        )


def batch_normalization(
    inputs: Any,
    axis: int = -1,
    momentum: float = 0.99,
    epsilon: float = 1e-3,
    center: bool = True,
    scale: bool = True,
    beta_initializer: Any = None,
    gamma_initializer: Any = None,
    moving_mean_initializer: Any = None,
    moving_variance_initializer: Any = None,
    beta_regularizer: Any = None,
    gamma_regularizer: Any = None,
    beta_constraint: Any = None,
    gamma_constraint: Any = None,
    training: Any = False,
    trainable: bool = True,
    name: str | None = None,
    reuse: Any = None,
    **ignored: Any,
) -> Tensor:
    """Batch normalisation; see BatchNormalization. `training` is a bool or a bool tensor."""
    layer = BatchNormalization(
        axis,
        momentum,
        epsilon,
        center,
        scale,
        beta_initializer,
        gamma_initializer,
        moving_mean_initializer,
        moving_variance_initializer,
        beta_regularizer,
        gamma_regularizer,
        beta_constraint,
        gamma_constraint,
        trainable,
        name,
        _reuse=reuse,
    )
    out: Tensor = layer(inputs, training=training)
    return out
