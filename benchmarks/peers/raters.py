"""Others' learners of ratings, each with its grid; all are asked and taught event by event.

river's ``BiasedMF`` and Vowpal Wabbit through its Python wheel: its matrix factorisation
(``--rank``) and, since that is not its best, its adaptive linear learner on the same ids.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from benchmarks.contest import Absent, absent
from engine.batches import Floats, Ints
from simulator.progressive import Rater

__all__ = ["RATERS", "Mean", "Setting", "river", "vowpal_linear", "vowpal_rank"]

Setting = tuple[str, Callable[[], Rater]]
"""What is tried, in words, and how it is made anew."""

LOW, HIGH = 0, 10  # of the scale, told to those who can be told
L2 = 0.02  # river's penalty, on biases and factors
RANK = 10
WARM = "--l2 0.001"  # without it all of --rank starts, and stays, at 0


class Mean:
    """The mean of what was seen: the floor."""

    def __init__(self) -> None:
        self.total = self.count = 0.0

    def predict(self, user: Ints, item: Ints, time_ms: Ints) -> Floats:  # noqa: ARG002
        """Predict the same for all."""
        return np.full(len(user), self.total / max(self.count, 1.0))

    def update(self, user: Ints, item: Ints, value: Floats, time_ms: Ints) -> None:  # noqa: ARG002
        """Add to the mean."""
        self.total += float(value.sum())
        self.count += len(value)


class _River:
    def __init__(self, factors: int, bias_rate: float, factor_rate: float) -> None:
        from river import optim, reco  # noqa: PLC0415

        self.model = reco.BiasedMF(
            n_factors=factors,
            bias_optimizer=optim.SGD(bias_rate),
            latent_optimizer=optim.SGD(factor_rate),
            l2_bias=L2,
            l2_latent=L2,
            weight_initializer=optim.initializers.Zeros(),
            latent_initializer=optim.initializers.Normal(mu=0.0, sigma=0.1, seed=7),
        )

    def predict(self, user: Ints, item: Ints, time_ms: Ints) -> Floats:  # noqa: ARG002
        pairs = zip(user.tolist(), item.tolist(), strict=True)
        return np.array([self.model.predict_one(*pair) for pair in pairs])

    def update(self, user: Ints, item: Ints, value: Floats, time_ms: Ints) -> None:  # noqa: ARG002
        for each in zip(user.tolist(), item.tolist(), value.tolist(), strict=True):
            self.model.learn_one(*each)


class _Vowpal:
    def __init__(self, arguments: str) -> None:
        import vowpalwabbit  # noqa: PLC0415  (an optional extra)

        scale = f"--min_prediction {LOW} --max_prediction {HIGH}"
        self.workspace: Any = vowpalwabbit.Workspace(f"--quiet {scale} {arguments}")

    def predict(self, user: Ints, item: Ints, time_ms: Ints) -> Floats:  # noqa: ARG002
        return np.array([self.workspace.predict(text) for text in self._texts(user, item)])

    def update(self, user: Ints, item: Ints, value: Floats, time_ms: Ints) -> None:  # noqa: ARG002
        for text, each in zip(self._texts(user, item), value.tolist(), strict=True):
            self.workspace.learn(f"{each:g} {text}")

    @staticmethod
    def _texts(user: Ints, item: Ints) -> list[str]:
        return [f"|u {a} |i {b}" for a, b in zip(user.tolist(), item.tolist(), strict=True)]


def river() -> Iterator[Setting]:
    """Nine settings of ``BiasedMF``: rates of biases, and number and rates of factors."""
    sizes = ((1, 0.05), (10, 0.01), (10, 0.05))
    for bias_rate, (factors, rate) in product((0.035, 0.05, 0.07), sizes):
        size = f"{factors} factor{'s' * (factors > 1)}"
        words = f"{size}, SGD {bias_rate:g} for biases, {rate:g} for factors"
        yield words, partial(_River, factors, bias_rate, rate)


def vowpal_rank() -> Iterator[Setting]:
    """Nine settings of ``--rank``: its learning rate, and how it falls."""
    for rate, power in product((0.06, 0.12, 0.25), (0.0, 0.1, 0.25)):
        words = f"-q ui {WARM} --learning_rate {rate:g} --power_t {power:g}"
        yield f"`--rank {RANK} {words}`", partial(_Vowpal, f"--rank {RANK} {words}")


def vowpal_linear() -> Iterator[Setting]:
    """Nine settings of the adaptive linear learner: biases alone."""
    for rate, power in product((0.7, 1.0, 1.5), (0.3, 0.4, 0.5)):
        words = f"--learning_rate {rate:g} --power_t {power:g}"
        yield f"`{words}`", partial(_Vowpal, words)


RATERS: dict[str, tuple[Callable[[], Iterator[Setting]], Absent | None]] = {
    "river BiasedMF": (river, absent("river BiasedMF", "river")),
    "Vowpal Wabbit --rank": (vowpal_rank, absent("Vowpal Wabbit --rank", "vowpalwabbit")),
    "Vowpal Wabbit, linear": (vowpal_linear, absent("Vowpal Wabbit, linear", "vowpalwabbit")),
}
