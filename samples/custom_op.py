"""A new op in one place: its shape rule, scalar rule, gradient and numpy reference. The compiler fuses it like any other.

The op is Swish, x * sigmoid(beta * x) (Ramachandran, Zoph and Le, "Searching for activation functions", 2017).
"""

from dataclasses import dataclass

import numpy as np
from graphflow.custom_ops import Elementwise, OpDef, Sample, build, convert_to_tensor, register, same_shape_infer

import graphflow as tf


@dataclass(frozen=True)
class SwishAttrs:
    beta: float


def swish_rule(b, attrs, x):
    """One element: `b` builds scalar code for the CPU, the GPU or numpy, whichever asks."""
    return b.mul(x, b.call("sigmoid", b.mul(x, attrs.beta)))


def swish_grad(op, grad):
    """d swish = sigmoid(bx) + b x sigmoid(bx) (1 - sigmoid(bx)), built from ordinary ops: so it differentiates again."""
    x, beta = op.inputs[0], op.attrs.beta
    s = tf.sigmoid(beta * x)
    return [grad * (s + beta * x * s * (1 - s))]


SWISH = register(
    OpDef(
        name="Swish",
        kind=Elementwise(swish_rule, cheap=False),
        infer=same_shape_infer,
        grad=swish_grad,
        reference=lambda attrs, x: x / (1 + np.exp(-attrs.beta * x)),
        samples=lambda: [Sample((np.linspace(-3, 3, 7, dtype=np.float32),), SwishAttrs(1.5))],
        attrs=SwishAttrs,
        dtypes=(tf.float32, tf.float64),
        doc="x * sigmoid(beta * x)",
    )
)


def swish(x, beta=1.0, name="Swish"):
    return build(SWISH, [convert_to_tensor(x)], SwishAttrs(beta), name)


def main() -> tuple[np.ndarray, np.ndarray]:
    with tf.Graph().as_default():
        x = tf.placeholder(tf.float32, [None], name="x")
        y = swish(x, beta=1.5)
        (dy,) = tf.gradients(y, x)
        with tf.Session() as session:
            values, slopes = session.run([y, dy], {x: np.linspace(-3, 3, 7, dtype=np.float32)})
            print("swish  ", np.round(values, 3))
            print("slope  ", np.round(slopes, 3))
            print(tf.explain([y, dy], session=session, feed_shapes={x: [7]}))
    return values, slopes


if __name__ == "__main__":
    main()
