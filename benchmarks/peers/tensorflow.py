"""TensorFlow: the session of its version 1, by make_callable too; tf.function(jit_compile=True) where nothing is trained."""

from __future__ import annotations

import os
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf
from workloads import Array, Step, Variants, chain_input, matmul_inputs, norm_inputs

from peers.tf1_models import Models

tf1 = tf.compat.v1


def version() -> str:
    return str(tf.__version__)


def _session(graph: Any) -> Any:
    session = tf1.Session(graph=graph)
    with graph.as_default():
        session.run(tf1.global_variables_initializer())
    return session


models = Models(tf1, _session)
classifier = models.classifier


def _resident(function: Any, inputs: tuple[Array, ...]) -> Variants:
    def by_xla() -> Step:
        variables = [tf.Variable(a) for a in inputs]
        compiled = tf.function(lambda: function(*variables), jit_compile=True)
        return lambda: float(compiled().numpy())

    return {"make_callable": lambda: models.fetch(function, inputs), "XLA": by_xla}


def chain(count: int) -> Variants:
    return _resident(models.chain, (chain_input(count),))


def norm() -> Variants:
    return _resident(models.norm, norm_inputs())


def matmul(m: int, k: int, n: int) -> Variants:
    return _resident(models.matmul, matmul_inputs(m, k, n))


def tiny() -> Variants:
    return {"make_callable": models.tiny}


def mlp(batch: int) -> Variants:
    return {"make_callable": lambda: models.mlp(batch, fixed=False)}


BUILD = {"scalar": models.scalar, "chain": chain, "norm": norm, "matmul": matmul, "tiny": tiny, "mlp": mlp}
