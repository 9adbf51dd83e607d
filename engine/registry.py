"""Policies by name: ``linear-thompson:alpha=0.5,floor=0.01``.

A name is ``MODEL-EXPLORATION``; every setting of the model, the exploration and the slate rule
may follow it. A setting is a number, a word, or several of either between ``|``.
"""

from __future__ import annotations

import functools
import typing
from dataclasses import fields
from typing import Any

import msgspec

from engine.clicks import Examination
from engine.errors import ConfigError, suggest
from engine.exploration.bagging import Bagging
from engine.exploration.base import Exploration
from engine.exploration.exp3 import Exp3
from engine.exploration.index import UCB, Epsilon, Greedy
from engine.exploration.inverse_gap import FastCB, SquareCB
from engine.exploration.kl_ucb import KLUCB
from engine.exploration.thompson import MarginalThompson, Thompson
from engine.exploration.weighted import Softmax, TopM
from engine.features import Schema
from engine.models.bagged import BaggedLinear
from engine.models.base import Model
from engine.models.columnwise import ColumnwiseLinear
from engine.models.conjugate import BetaBernoulli, GammaPoisson
from engine.models.diagonal import DiagonalLinear
from engine.models.factors import FactorizationMachine, MatrixFactorization
from engine.models.fourier import Fourier
from engine.models.groupwise import GroupwiseLinear
from engine.models.hybrid import HybridLinear
from engine.models.importance import ImportanceWeighted
from engine.models.linear import DisjointLinear
from engine.models.logistic import Logistic
from engine.models.normal import NormalInverseGamma
from engine.models.pairwise import PairwiseRanking
from engine.models.river import River
from engine.models.shared import SharedLinear
from engine.policy import Policy
from engine.slates.base import SlateRule
from engine.slates.plackett_luce import PlackettLuce
from engine.slates.ruled import RuledDraw
from engine.slates.sequential import SequentialDraw

__all__ = ["check_spec", "make_policy", "policy_names"]

MODELS: dict[str, type[Model]] = {
    "linear": DisjointLinear,
    "shared": SharedLinear,
    "hybrid": HybridLinear,
    "fourier": Fourier,
    "beta": BetaBernoulli,
    "logistic": Logistic,
    "bagged": BaggedLinear,
    "groupwise": GroupwiseLinear,
    "river": River,
    "poisson": GammaPoisson,
    "normal": NormalInverseGamma,
    "diagonal": DiagonalLinear,
    "columnwise": ColumnwiseLinear,
    "importance": ImportanceWeighted,
    "mf": MatrixFactorization,
    "fm": FactorizationMachine,
    "bpr": PairwiseRanking,
}
EXPLORATIONS: dict[str, type[Exploration]] = {
    "greedy": Greedy,
    "epsilon": Epsilon,
    "ucb": UCB,
    "thompson": Thompson,
    "marginal-thompson": MarginalThompson,
    "softmax": Softmax,
    "kl-ucb": KLUCB,
    "squarecb": SquareCB,
    "fastcb": FastCB,
    "exp3": Exp3,
    "top-m": TopM,
    "bagging": Bagging,
}
SLATES: dict[str, type[SlateRule]] = {
    "sequential": SequentialDraw,
    "plackett-luce": PlackettLuce,
    "ruled": RuledDraw,
}
COMMON = {
    "slate": str,
    "examination": str,
    "half_life_seconds": float,
    "seed": float,
}

_hints: Any = functools.cache(typing.get_type_hints)  # to read them takes longer than all the rest


def policy_names() -> list[str]:
    """Every name `make_policy` knows, with settings left at their defaults."""
    names = [f"{model}-{exploration}" for model in MODELS for exploration in EXPLORATIONS]
    return ["uniform", *(name for name in names if _can_combine(name))]


def _can_combine(name: str) -> bool:
    model, _, exploration = name.partition("-")
    try:
        EXPLORATIONS[exploration]().check(MODELS[model]())
    except ConfigError:
        return False
    return True


def make_policy(
    spec: str, *, schema: Schema | None = None, name: str | None = None, seed: int = 0
) -> Policy:
    """Build a policy from ``name`` or ``name:key=value,key=value``.

    ``uniform`` picks at random, with exact propensities, and still counts clicks by item.

    Raises
    ------
    ConfigError
        When the name or a setting is unknown (with the nearest known one), a value is wrong, or
        the parts cannot be combined (with the reason).
    """
    return Policy(
        name=name or spec.partition(":")[0], schema=schema or Schema(), **_read(spec, seed)
    )


def check_spec(spec: str) -> None:
    """Raise ``ConfigError`` for what is wrong with a spec whatever features there will be."""
    parts = _read(spec)
    parts["exploration"].check(parts["model"])


def _read(spec: str, seed: int = 0) -> dict[str, Any]:
    """Parts and settings of a policy, as `Policy` takes them."""
    kind, _, given = spec.partition(":")
    model_name, _, exploration_name = kind.partition("-")
    if kind == "uniform":
        model_name, exploration_name = "beta", "epsilon"
    if model_name not in MODELS or exploration_name not in EXPLORATIONS:
        raise ConfigError(f"policy {kind!r} is unknown{suggest(kind, policy_names())}")
    entries = _split(spec, given)
    slate_name = entries.get("slate", "sequential")
    if slate_name not in SLATES:
        raise ConfigError(
            f"policy {spec!r}: slate {slate_name!r} is unknown{suggest(slate_name, SLATES)}"
        )
    parts = MODELS[model_name], EXPLORATIONS[exploration_name], SLATES[slate_name]
    types = COMMON | {"floor": float}
    if kind != "uniform":
        types |= {key: kind for part in parts for key, kind in _settings(part).items()}
    settings = {key: _convert(spec, key, value, types) for key, value in entries.items()}
    if kind == "uniform":
        settings["epsilon"] = 1.0
    if settings.get("half_life_seconds"):
        settings.setdefault("second_sums", True)
    model, exploration, slate = (
        part(**{key: settings[key] for key in _settings(part) if key in settings}) for part in parts
    )
    return {
        "model": model,
        "exploration": exploration,
        "slate": slate,
        "half_life_ms": _whole(
            spec, "half_life_seconds", settings.get("half_life_seconds", 0), 1000
        ),
        "seed": _whole(spec, "seed", settings.get("seed", seed)),
        "examination": _examination(spec, settings.get("examination", "")),
    }


def _settings(part: type) -> dict[str, Any]:
    hints = _hints(part)
    return {f.name: hints[f.name] for f in fields(part)}


def _split(spec: str, given: str) -> dict[str, str]:
    entries: dict[str, str] = {}
    for part in filter(None, given.split(",")):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if key in entries:
            raise ConfigError(f"policy {spec!r}: setting {key!r} stands there twice; give it once")
        if not equals:
            raise ConfigError(f"policy {spec!r}: {part!r} must be {key}=number, with '='")
        entries[key] = value
    return entries


def _convert(spec: str, key: str, value: str, types: dict[str, Any]) -> Any:
    if key not in types:
        raise ConfigError(f"policy {spec!r}: setting {key!r} is unknown{suggest(key, types)}")
    several = typing.get_origin(types[key]) is tuple
    try:
        return msgspec.convert(value.split("|") if several else value, types[key], strict=False)
    except msgspec.ValidationError as error:
        kind = "number" if types[key] in {float, int} else "value"
        raise ConfigError(
            f"policy {spec!r}: {key}={value!r} must be {key}={kind}: {error}"
        ) from None


def _examination(spec: str, given: str) -> Examination:
    if not given or given == "cascade":
        return Examination(cascade=given == "cascade")
    try:
        return Examination(chances=tuple(float(chance) for chance in given.split("|")))
    except ValueError:
        raise ConfigError(
            f"policy {spec!r}: examination is {given!r}; give 'cascade', or the chance of every "
            "slot, like 1|0.6|0.4"
        ) from None


def _whole(spec: str, key: str, value: float, unit: int = 1) -> int:
    scaled = value * unit
    if not (0 <= scaled < 2**53 and scaled == round(scaled)):
        raise ConfigError(
            f"policy {spec!r}: {key} is {value}; give a multiple of {1 / unit:g}, 0 or more"
        )
    return int(scaled)
