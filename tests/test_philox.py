"""The generator against the known answers that its authors published (Random123, kat_vectors), and its use by draws."""

from __future__ import annotations

import numpy as np
import pytest

from graphflow.framework.numpy_builder import NumpyBuilder
from graphflow.framework.philox import SALTED, draws, philox4x32

KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def _words(text: str) -> list[int]:
    return [int(w, 16) for w in text.split()]


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN)
def test_known_answers(counter: str, key: str, answer: str) -> None:
    key0, key1 = _words(key)
    found = philox4x32(NumpyBuilder(), [np.asarray(w, np.uint32) for w in _words(counter)], (key0, key1))
    assert [int(x) for x in found] == _words(answer)
    assert all(x.dtype == np.uint32 for x in found)


def _bits(elements: np.ndarray, run: int, seed: int, seed2: int) -> np.ndarray:
    draw = draws(NumpyBuilder(), elements.astype(np.uint64), np.asarray(run, np.uint64), seed, seed2)
    return np.stack([draw(k) for k in range(4)])


def test_draws_put_element_and_run_into_the_counter() -> None:
    element, run = 5 + (7 << 32), 11
    expected = philox4x32(NumpyBuilder(), [np.asarray(w, np.uint32) for w in (5, 7, 11, 0)], (1, 2))
    assert _bits(np.asarray(element), run, 1, 2).tolist() == [int(x) for x in expected]


def test_an_element_does_not_depend_on_its_neighbours() -> None:
    whole = _bits(np.arange(1000), 3, 1, 2)
    assert np.array_equal(whole[:, 400:600], _bits(np.arange(400, 600), 3, 1, 2))


@pytest.mark.parametrize("change", [{"run": 4}, {"seed": 9}, {"seed2": 9}])
def test_runs_and_seeds_give_other_bits(change: dict[str, int]) -> None:
    base = {"run": 3, "seed": 1, "seed2": 2}
    a, b = (_bits(np.arange(256), **arguments) for arguments in (base, {**base, **change}))
    assert (a != b).mean() > 0.99


def test_the_salt_counts_only_for_ops_without_seeds() -> None:
    salt = 12345 << 32
    assert np.array_equal(_bits(np.arange(8), 3 + salt, 1, 2), _bits(np.arange(8), 3, 1, 2))
    assert not np.array_equal(_bits(np.arange(8), 3 + salt, 1, 2 + SALTED), _bits(np.arange(8), 3, 1, 2 + SALTED))


def test_bits_are_uniform() -> None:
    bits = _bits(np.arange(50_000), 0, 1, 2)
    ones = np.unpackbits(bits.view(np.uint8)).mean()
    assert abs(ones - 0.5) < 0.001
