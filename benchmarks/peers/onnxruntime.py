"""ONNX Runtime: weights are initializers, inputs are bound once. It does not train. Needs the `onnx` package too."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper
from workloads import Array, Step, Variants, chain_input, matmul_inputs, norm_inputs, scalars

Node = tuple[str, list[str], str, dict[str, Any]]


def version() -> str:
    return str(ort.__version__)


def _session(nodes: list[Node], inputs: dict[str, Array], constants: dict[str, Array]) -> Any:
    graph = helper.make_graph(
        [helper.make_node(op, names, [out], **attributes) for op, names, out, attributes in nodes],
        "graph",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, a.shape) for name, a in inputs.items()],
        [helper.make_tensor_value_info("result", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(a, name) for name, a in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def _mean(nodes: list[Node], last: str, inputs: dict[str, Array], constants: dict[str, Array]) -> Variants:
    """The mean of `last`, inputs bound once."""

    def build() -> Step:
        session = _session([*nodes, ("ReduceMean", [last], "result", {"keepdims": 0})], inputs, constants)
        binding = session.io_binding()
        resident = {name: ort.OrtValue.ortvalue_from_numpy(a) for name, a in inputs.items()}
        for name, value in resident.items():
            binding.bind_ortvalue_input(name, value)
        binding.bind_output("result")

        def step() -> float:
            session.run_with_iobinding(binding)
            return float(binding.copy_outputs_to_cpu()[0])

        return step

    return {"": build}


def scalar() -> Variants:
    a, b = scalars()
    feeds = {"a": a, "b": b}

    def build() -> Step:
        session = _session([("Add", ["a", "b"], "result", {})], feeds, {})
        return lambda: session.run(None, feeds)[0]

    return {"": build}


def chain(count: int) -> Variants:
    nodes: list[Node] = [
        ("Mul", ["x", "two"], "double", {}),
        ("Add", ["double", "one"], "shifted", {}),
        ("Tanh", ["shifted"], "tanh", {}),
        ("Sigmoid", ["x"], "sigmoid", {}),
        ("Mul", ["tanh", "sigmoid"], "product", {}),
        ("Mul", ["x", "x"], "square", {}),
        ("Neg", ["square"], "negative", {}),
        ("Exp", ["negative"], "exp", {}),
        ("Add", ["product", "exp"], "sum", {}),
    ]
    constants: dict[str, Array] = {"two": np.array(2, np.float32), "one": np.array(1, np.float32)}
    return _mean(nodes, "sum", {"x": chain_input(count)}, constants)


def norm() -> Variants:
    x, scale, offset = norm_inputs()
    nodes: list[Node] = [
        ("Softmax", ["x"], "softmax", {"axis": -1}),
        ("LayerNormalization", ["softmax", "scale", "offset"], "norm", {"axis": -1, "epsilon": 1e-5}),
        ("Mul", ["norm", "norm"], "square", {}),
    ]
    return _mean(nodes, "square", {"x": x}, {"scale": scale, "offset": offset})


def matmul(m: int, k: int, n: int) -> Variants:
    x, w, b = matmul_inputs(m, k, n)
    nodes: list[Node] = [("Gemm", ["x", "w", "b"], "product", {}), ("Relu", ["product"], "relu", {})]
    return _mean(nodes, "relu", {"x": x}, {"w": w, "b": b})


BUILD = {"scalar": scalar, "chain": chain, "norm": norm, "matmul": matmul}
