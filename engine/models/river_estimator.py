"""Estimators of the river library: found by name, made, put behind a scaler."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

from engine.errors import ConfigError, suggest
from engine.features import INTERCEPT

__all__ = [
    "ITEM",
    "Row",
    "Scaled",
    "find_estimator",
    "is_classifier",
    "make_estimator",
    "parse_setting",
]

ITEM = "item="  # before the id of an item, in the row of a model for all items

Row = dict[str, float]


def make_estimator(path: str, settings: tuple[str, ...], scaled: bool, seed: int) -> Any:
    """Build an untrained estimator, with the seed where it takes one.

    Raises
    ------
    ConfigError
        When it is unknown, or does not take the settings.
    """
    found = find_estimator(path)
    given = dict(parse_setting(entry) for entry in settings)
    known = inspect.signature(found).parameters
    for name in given:
        if name not in known:
            raise ConfigError(f"river's {path} has no setting {name!r}{suggest(name, known)}")
    if "seed" in known:
        given.setdefault("seed", seed)
    try:
        made = found(**given)
    except Exception as error:
        raise ConfigError(f"river's {path} refused {given}: {error}") from error
    if not scaled:
        return made
    return Scaled(importlib.import_module("river.preprocessing").StandardScaler(), made)


def parse_setting(entry: str) -> tuple[str, float | bool]:
    """Read ``name=number``, ``name=true`` or ``name=false``; raises ``ConfigError``."""
    name, equals, value = entry.partition("=")
    words = {"true": True, "false": False}
    for kind in (words.__getitem__, int, float):
        try:
            if equals:
                return name.strip(), kind(value.strip())
        except (KeyError, ValueError):
            continue
    raise ConfigError(f"settings has {entry!r}; give name=number, name=true or name=false")


def find_estimator(path: str) -> type:
    """Return river's class at a path; ``ConfigError`` when it is no model of one reward."""
    module, _, name = path.rpartition(".")
    base = _base()
    try:
        found = getattr(importlib.import_module(f"river.{module}"), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"river has no {path!r}; give a path like linear_model.LinearRegression"
        ) from error
    if not (inspect.isclass(found) and issubclass(found, base.Regressor | base.Classifier)):
        raise ConfigError(f"river's {path} is neither a regressor nor a classifier")
    return found


def _base() -> Any:
    """River's base classes, imported when first used: it takes more than a second."""
    try:
        return importlib.import_module("river.base")
    except ImportError as error:
        raise ConfigError(
            "river is not installed; install slatestream[river] to use its models"
        ) from error


def is_classifier(path: str) -> bool:
    """Whether the estimator predicts classes, not numbers."""
    return bool(issubclass(find_estimator(path), _base().Classifier))


class Scaled:
    """A model behind a scaler of all columns but the item's and the intercept's.

    As river's own pipeline of the two, whose ``Select`` would order columns by the hashes of their
    names: other sums in every process.
    """

    def __init__(self, scaler: Any, model: Any) -> None:
        self.scaler = scaler
        self.model = model

    def learn_one(self, x: Row, y: float) -> None:
        """Learn an outcome, the scaler first. Writes: both."""
        self.scaler.learn_one(_numbers(x))
        self.model.learn_one(self._scale(x), y)

    def predict_one(self, x: Row) -> Any:
        """Predict a reward."""
        return self.model.predict_one(self._scale(x))

    def predict_proba_one(self, x: Row) -> Any:
        """Predict the chance of every class met."""
        return self.model.predict_proba_one(self._scale(x))

    def _scale(self, x: Row) -> Row:
        return {**x, **self.scaler.transform_one(_numbers(x))}


def _numbers(x: Row) -> Row:
    return {k: v for k, v in x.items() if k != INTERCEPT and not k.startswith(ITEM)}
