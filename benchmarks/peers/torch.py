"""PyTorch: eager and torch.compile. Inference mode where nothing is trained; Adam is the fused one."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from workloads import (
    ADAM_RATE,
    TINY_RATE,
    Array,
    Classifier,
    Step,
    Variants,
    chain_input,
    matmul_inputs,
    mlp_inputs,
    norm_inputs,
    scalars,
    tiny_inputs,
)


def version() -> str:
    return str(torch.__version__)


def _inference(function: Any, inputs: tuple[Array, ...]) -> Variants:
    def build(made: Any) -> Step:
        tensors = [torch.from_numpy(a) for a in inputs]

        def step() -> float:
            with torch.inference_mode():
                return float(made(*tensors).item())

        return step

    return {"eager": lambda: build(function), "compile": lambda: build(torch.compile(function, dynamic=False))}


def scalar() -> Variants:
    a, b = scalars()

    def step() -> Any:
        with torch.inference_mode():
            return (torch.from_numpy(a) + torch.from_numpy(b)).numpy()

    return {"eager": lambda: step}


def chain(count: int) -> Variants:
    return _inference(
        lambda x: (torch.tanh(x * 2.0 + 1.0) * torch.sigmoid(x) + torch.exp(-x * x)).mean(), (chain_input(count),)
    )


def norm() -> Variants:
    def function(x: Any, scale: Any, offset: Any) -> Any:
        return F.layer_norm(F.softmax(x, -1), (x.shape[1],), scale, offset, 1e-5).square().mean()

    return _inference(function, norm_inputs())


def matmul(m: int, k: int, n: int) -> Variants:
    return _inference(lambda x, w, b: F.relu(torch.addmm(b, x, w)).mean(), matmul_inputs(m, k, n))


def _logits(p: Any, x: Any) -> Any:
    h = F.relu(torch.addmm(p[1], x, p[0]))
    return torch.addmm(p[5], F.relu(torch.addmm(p[3], h, p[2])), p[4])


def _trainer(loss_of: Any, p: list[Any], optimizer: Any) -> Any:
    def step(x: Any, y: Any) -> float:
        loss = loss_of(p, x, y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return float(loss.item())

    return step


def _parameters(start: list[Array]) -> list[Any]:
    return [torch.nn.Parameter(torch.from_numpy(a.copy())) for a in start]


def tiny() -> Variants:
    start, images, targets = tiny_inputs()
    x, y = torch.from_numpy(images), torch.from_numpy(targets)

    def loss_of(p: Any, x: Any, y: Any) -> Any:
        return F.binary_cross_entropy(torch.sigmoid(_logits(p, x)), y)

    def build(loss_of: Any) -> Step:
        p = _parameters(start)
        step = _trainer(loss_of, p, torch.optim.SGD(p, TINY_RATE, foreach=True))
        return lambda: step(x, y)

    return {"eager": lambda: build(loss_of), "compile": lambda: build(torch.compile(loss_of, dynamic=False))}


def _cross_entropy(p: Any, x: Any, y: Any) -> Any:
    return F.cross_entropy(_logits(p, x), y)


def mlp(batch: int) -> Variants:
    start, images, labels = mlp_inputs(batch)
    x, y = torch.from_numpy(images), torch.from_numpy(labels.astype(np.int64))

    def build(loss_of: Any) -> Step:
        p = _parameters(start)
        step = _trainer(loss_of, p, torch.optim.Adam(p, ADAM_RATE, fused=True))
        return lambda: step(x, y)

    return {"eager": lambda: build(_cross_entropy), "compile": lambda: build(torch.compile(_cross_entropy, dynamic=False))}


def classifier(start: list[Array]) -> Classifier:
    p = _parameters(start)
    train = _trainer(_cross_entropy, p, torch.optim.Adam(p, ADAM_RATE, fused=True))

    def predict(x: Array) -> Array:
        with torch.inference_mode():
            return _logits(p, torch.from_numpy(x)).numpy()

    return lambda x, y: train(torch.from_numpy(x), torch.from_numpy(y).long()), predict


BUILD = {"scalar": scalar, "chain": chain, "norm": norm, "matmul": matmul, "tiny": tiny, "mlp": mlp}
