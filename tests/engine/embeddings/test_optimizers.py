"""Every optimizer against its twin, and what each promises."""

from __future__ import annotations

import numpy as np
import pytest

from engine.embeddings.config import OPTIMIZERS, TableConfig, VectorConfig
from engine.embeddings.table import EmbeddingTable
from engine.kernels.embeddings import layout as at
from engine.kernels.embeddings.layout import HEADER
from tests.naive.table import NaiveTable

STEPS = 300


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("dimension", [1, 7, 16])
@pytest.mark.parametrize("optimizer", list(OPTIMIZERS))
def test_steps_are_the_twins(optimizer: str, dimension: int, bias: bool) -> None:
    feature = VectorConfig(
        name="id", dimension=dimension, bias=bias, optimizer=optimizer, rate=0.07, bias_rate=0.02,
        l2=0.01, bias_l2=0.001, beta1=0.9 if optimizer == "adam" else 1.0,
        beta2=0.99 if optimizer == "adam" else 0.05,
    )  # fmt: skip
    config = TableConfig(features=(feature,), seed=3)
    table, naive = EmbeddingTable(config), NaiveTable(config)
    rng = np.random.default_rng(1)
    keys = rng.integers(0, 9, STEPS).astype(np.uint64)
    gradients = rng.normal(size=(STEPS, feature.width)).astype(np.float32)
    rows = table.learn(keys, 0, np.full(STEPS, 5), gradients)
    for key, gradient in zip(keys, gradients, strict=True):
        naive.learn(int(key), 0, 5, gradient)
    for key, row in zip(keys, rows, strict=True):
        record = naive.rows[naive.of[int(key)]]
        told = table.table.floats[row, HEADER:]
        expected = np.array(record.vector + record.state, dtype=np.float32)
        assert int(table.table.words[row, at.STEP]) == record.steps
        if optimizer == "adam":  # powers differ in their last bit between libraries
            assert np.allclose(told[: len(expected)], expected, rtol=2e-5, atol=1e-6)
        else:
            assert told[: len(expected)].tolist() == expected.tolist()


@pytest.mark.parametrize("optimizer", list(OPTIMIZERS))
def test_every_optimizer_finds_the_least_squares(optimizer: str) -> None:
    feature = VectorConfig(
        name="id", dimension=3, optimizer=optimizer, rate=0.05 if optimizer == "sgd" else 0.3,
        beta1=0.9 if optimizer == "adam" else 1.0, beta2=0.99 if optimizer == "adam" else 0.0,
    )  # fmt: skip
    table = EmbeddingTable(TableConfig(features=(feature,)))
    key, goal = np.array([5], dtype=np.uint64), np.array([[1.0, -2.0, 0.5]], np.float32)
    for _ in range(2000):
        table.learn(key, 0, np.array([5]), table.lookup(key)[0] - goal)
        if not table.lookup(key)[1].all():
            raise AssertionError
    assert np.allclose(table.lookup(key)[0], goal, atol=0.02)


def test_ftrl_forgets_numbers_that_tell_nothing() -> None:
    feature = VectorConfig(name="id", dimension=2, optimizer="ftrl", beta1=1.0, beta2=3.0)
    table = EmbeddingTable(TableConfig(features=(feature,)))
    key = np.array([5], dtype=np.uint64)
    table.claim(key, 0, np.array([5]))
    for _ in range(100):
        table.learn(key, 0, np.array([5]), np.array([[0.0, -1.0]], np.float32))
    signs = np.array([[1.0, -1.0]] * 8, np.float32)
    for gradient in signs:
        table.learn(key, 0, np.array([5]), gradient[None] * np.array([[3.0, 0.0]], np.float32))
    vector = table.lookup(key)[0][0]
    assert vector[1] > 0.1
