"""Any regressor or classifier of the river library as a model of rewards.

Source: Montiel et al. 2021, "River: machine learning for streaming data in Python"; replicas
after Oza and Russell 2001, "Online bagging and boosting".
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from engine.batches import Belief, Floats, Ints, Outcomes, Posterior, Requests
from engine.errors import ConfigError, ShapeError
from engine.features import Schema
from engine.kernels.sums import add_rows
from engine.models.bagged import MAX_REPLICAS, bootstrap
from engine.models.base import Axes, Model, Traits
from engine.models.foreign import Foreign, Pickles, digest_object, load_object, save_object
from engine.models.river_estimator import (
    ITEM,
    Row,
    is_classifier,
    make_estimator,
    parse_setting,
)
from engine.state import Part, State

__all__ = ["River"]

EVERY = ""  # key of that model


@dataclass(frozen=True, slots=True, kw_only=True)
class River(Model):
    """A river model per item over the context's columns, or one for all over the joint row.

    Learning and predicting run in Python, one outcome and one candidate at a time: some
    microseconds to some hundreds each, where the other models take nanoseconds. A prediction that
    is not finite, of a model that diverged, counts as 0. Rows of x have the schema's columns as
    names; the intercept's is left out, for most models have their own.

    river's models take no weights: an outcome with a sampling weight is learned once, and only
    the count of outcomes is weighted.

    Parameters
    ----------
    model
        Where it is in river: ``linear_model.LinearRegression``, ``tree.HoeffdingTreeRegressor``,
        ``forest.ARFClassifier``.
    settings
        Its own settings that are numbers or true or false, like ``l2=0.1``.
    per_item
        A model for every item, or one for all, whose rows add the item's columns, the products of
        both, and ``item=ID`` as 1 for items that have learned something.
    scaled
        Scale every column but that of the item by its running mean and variance.
    intercept
        Leave the column of ones in the row, for a model without an intercept of its own.
    threshold
        For a classifier: the least reward that is a success.
    replicas
        When above 0, this many copies, each learning an outcome a Poisson(1) number of times:
        they give the mean and the spread. Else no spread is told.
    model_seed
        Seeds the replicas, and the model itself where it draws random numbers.
    """

    model: str = "linear_model.LinearRegression"
    settings: tuple[str, ...] = ()
    per_item: bool = True
    scaled: bool = False
    intercept: bool = False
    threshold: float = 0.5
    replicas: int = 0
    model_seed: int = 0

    def __post_init__(self) -> None:
        if not math.isfinite(self.threshold):
            raise ConfigError(f"threshold is {self.threshold}; give a finite reward")
        if not (self.replicas == 0 or 2 <= self.replicas <= MAX_REPLICAS):
            raise ConfigError(f"replicas is {self.replicas}; give 0 (none), or 2 to {MAX_REPLICAS}")
        if not 0 <= self.model_seed < 2**31:
            raise ConfigError(f"model_seed is {self.model_seed}; give 0 to 2^31 - 1")
        for entry in self.settings:
            parse_setting(entry)

    @property
    def traits(self) -> Traits:
        """Means, with replicas or without, of models that know neither weights nor forgetting.

        The models are published in one array that belongs to no item, so any change derives the
        whole; a change of the schema starts afresh, for what each model makes of a column that
        comes or goes is its own.
        """
        return Traits(
            family="mean",
            merging="refused",
            replicated=self.replicas > 0,
            pooled=True,
            forgets=False,
            examines=False,
            weighs=False,
            reads_items=not self.per_item,
            aligns=False,
        )

    def check(self, schema: Schema) -> None:
        """Refuse a model that cannot be made, learn, predict without changing, or be saved."""
        if not self.per_item and any(name.startswith(ITEM) for name in self._names(schema)):
            raise ConfigError(
                f"a feature has columns {ITEM!r}, which stand for item ids here; rename it"
            )
        made, again = self._make(), self._make()
        try:
            for tried in (made, again):
                self._try(tried, schema)
            before = digest_object(made)
            saved = load_object(save_object(made))
            row = dict.fromkeys(self._names(schema), 0.5)
            self._predict(made, row, is_classifier(self.model))
            after = digest_object(made)
        except Exception as error:
            raise ConfigError(
                f"river's {self.model} failed on rows {self._names(schema)}: {error!r}"
            ) from error
        if after != before:
            raise ConfigError(f"river's {self.model} changes when it predicts; choose another")
        if not before == digest_object(saved) == digest_object(again):
            raise ConfigError(
                f"river's {self.model} is not the same when saved or made again; give its seed, "
                "or choose another"
            )

    def axes(self) -> Axes:
        """Weight of each item's outcomes; what was learned is in the parts."""
        return Axes(items={"count": ()})

    def parts(self, schema: Schema) -> dict[str, Part]:
        """No models yet, and how an untrained one begins."""
        start = [self._make() for _ in range(max(self.replicas, 1))]
        return {"models": Foreign(save_object(start), f"river's {self.model}")}

    def update(
        self, state: State, rows: Ints, outcomes: Outcomes, weight: Floats, schema: Schema
    ) -> None:
        """Let each model learn its outcomes in order. Writes: state."""
        add_rows(state.sums["count"], rows, weight)
        models = cast("Foreign", state.parts["models"])
        n = len(outcomes.reward)
        repeats = np.ones((n, 1))
        if self.replicas:
            repeats = bootstrap(outcomes, self.replicas, self.model_seed)
        features = self._rows(outcomes.x, outcomes.z, schema)
        classifies = is_classifier(self.model)
        for i, (item_id, x) in enumerate(zip(outcomes.item_ids, features, strict=True)):
            reward = float(outcomes.reward[i])
            y = reward >= self.threshold if classifies else reward
            if not self.per_item:
                x[ITEM + item_id] = 1.0
            replicas = models.change(item_id if self.per_item else EVERY)
            for replica, times in zip(replicas, repeats[i].tolist(), strict=True):
                for _ in range(int(times)):
                    self._learn(replica, x, y, item_id)

    def _learn(self, replica: Any, x: Row, y: float, item_id: str) -> None:
        try:
            replica.learn_one(x, y)
        except Exception as error:
            raise ShapeError(
                f"river's {self.model} could not learn {y} of item {item_id!r}: {error!r}"
            ) from error

    def derive(self, sums: dict[str, Floats], state: State, schema: Schema) -> dict[str, Floats]:
        """Return the count of every item ``(m,)``."""
        return {"count": sums["count"].copy()}

    def derive_shared(self, state: State, schema: Schema) -> dict[str, np.ndarray[Any, Any]]:
        """Pickle all models into one array of bytes."""
        models = cast("Foreign", state.parts["models"])
        return {"models": np.frombuffer(models.pack(), dtype=np.uint8).copy()}

    def believe(self, posterior: Posterior, requests: Requests, schema: Schema) -> Belief:
        """Predictions of the candidates' models; an item asked twice of one row is asked once.

        In Python, candidate by candidate: slower by nature than other models.
        """
        models = posterior.cached("river", lambda: Pickles.of(posterior.shared["models"].tobytes()))
        replicas = np.empty((max(self.replicas, 1), len(requests.rows)))
        known: dict[tuple[int, bytes, bytes], list[float]] = {}
        request = requests.of_candidate
        for j, row in enumerate(requests.rows.tolist()):
            x, z = requests.x[request[j]], requests.z[j]
            key = (row, x.tobytes(), b"" if self.per_item else z.tobytes())
            if key not in known:
                known[key] = self._ask(models, posterior, row, x, z, schema)
            replicas[:, j] = known[key]
        if not self.replicas:
            return self.belief(posterior, requests, mean=replicas[0])
        return self.belief(
            posterior,
            requests,
            mean=replicas.mean(axis=0),
            sd=replicas.std(axis=0),
            replicas=replicas,
        )

    def _ask(
        self, models: Pickles, posterior: Posterior, row: int, x: Floats, z: Floats, schema: Schema
    ) -> list[float]:
        item_id = posterior.item_ids[row - 1] if row else None
        features = next(self._rows(x[None, :], z[None, :], schema))
        if not self.per_item and item_id is not None:
            features[ITEM + item_id] = 1.0
        chosen = models[item_id if self.per_item else EVERY]
        classifies = is_classifier(self.model)
        return [self._predict(replica, features, classifies) for replica in chosen]

    def _predict(self, replica: Any, x: Row, classifies: bool) -> float:
        if classifies:
            chances = replica.predict_proba_one(x)
            # Nothing is said before the first outcome, nor of a class not met yet.
            value = chances.get(True, 0.0) if chances else 0.5
        else:
            value = replica.predict_one(x)
        return float(value) if math.isfinite(value) else 0.0

    def _names(self, schema: Schema) -> tuple[str, ...]:
        """Names of the columns of a row, but for the item's id."""
        names = schema.columns if self.intercept else schema.columns[1:]
        if self.per_item:
            return names
        return (*names, *schema.item_columns, *schema.products)

    def _rows(self, x: Floats, z: Floats, schema: Schema) -> Iterator[Row]:
        names = self._names(schema)
        full = x if self.per_item else schema.joint(x, z)
        for row in full[:, 0 if self.intercept else 1 :].tolist():
            yield dict(zip(names, row, strict=True))

    def _try(self, made: Any, schema: Schema) -> None:
        """Let a model learn some outcomes."""
        for value in (0.0, 1.0, 0.5):
            row = dict.fromkeys(self._names(schema), value)
            if not self.per_item:
                row[f"{ITEM}{value}"] = 1.0
            made.learn_one(row, value > 0.5 if is_classifier(self.model) else value)

    def _make(self) -> Any:
        return make_estimator(self.model, self.settings, self.scaled, self.model_seed)
