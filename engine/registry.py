"""Policies by name: ``linear-thompson:alpha=0.5,floor=0.01``."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from engine.errors import ConfigError, suggest
from engine.exploration.index import UCB, Epsilon, Greedy
from engine.exploration.thompson import Thompson
from engine.features import Schema
from engine.models.conjugate import BetaBernoulli
from engine.models.linear import DisjointLinear
from engine.policy import Exploration, Model, Policy
from engine.slates.sequential import SequentialDraw

__all__ = ["make_policy", "policy_names"]

MODELS: dict[str, tuple[Callable[..., Model], tuple[str, ...]]] = {
    "linear": (DisjointLinear, ("ridge",)),
    "beta": (BetaBernoulli, ("prior_a", "prior_b")),
}
EXPLORATIONS: dict[str, tuple[Callable[..., Exploration], tuple[str, ...]]] = {
    "greedy": (Greedy, ()),
    "epsilon": (Epsilon, ("epsilon",)),
    "ucb": (UCB, ("alpha",)),
    "thompson": (Thompson, ("alpha",)),
}
COMMON = ("floor", "half_life_seconds", "seed")


def policy_names() -> list[str]:
    """Every name `make_policy` knows."""
    return [
        "uniform",
        *(f"{model}-{exploration}" for model in MODELS for exploration in EXPLORATIONS),
    ]


def make_policy(
    spec: str, *, schema: Schema | None = None, name: str | None = None, seed: int = 0
) -> Policy:
    """Build a policy from ``name`` or ``name:key=value,key=value``.

    ``uniform`` picks at random, with exact propensities, and still counts clicks by item.

    Raises
    ------
    ConfigError
        When the name or a setting is unknown (with the nearest known one), or a value is wrong.
    """
    kind, _, given = spec.partition(":")
    if kind not in policy_names():
        raise ConfigError(f"policy {kind!r} is unknown{suggest(kind, policy_names())}")
    model_name, _, exploration_name = kind.partition("-")
    if kind == "uniform":
        model_name, exploration_name = "beta", "epsilon"
    make_model, model_keys = MODELS[model_name]
    make_exploration, exploration_keys = EXPLORATIONS[exploration_name]
    allowed = (*model_keys, *exploration_keys, *COMMON)
    settings = _parse(spec, given, COMMON if kind == "uniform" else allowed)
    if kind == "uniform":
        settings["epsilon"] = 1.0
    floor = {"floor": settings["floor"]} if "floor" in settings else {}
    return Policy(
        name=name or kind,
        model=make_model(**{key: settings[key] for key in model_keys if key in settings}),
        exploration=make_exploration(
            **{key: settings[key] for key in exploration_keys if key in settings}
        ),
        slate=SequentialDraw(**floor),
        schema=schema or Schema(),
        half_life_ms=_whole(spec, "half_life_seconds", settings.get("half_life_seconds", 0), 1000),
        seed=_whole(spec, "seed", settings.get("seed", seed)),
    )


def _parse(spec: str, given: str, allowed: Iterable[str]) -> dict[str, float]:
    settings: dict[str, float] = {}
    for part in filter(None, given.split(",")):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if key in settings:
            raise ConfigError(f"policy {spec!r}: setting {key!r} stands there twice; give it once")
        if key not in allowed:
            raise ConfigError(f"policy {spec!r}: setting {key!r} is unknown{suggest(key, allowed)}")
        try:
            settings[key] = float(value)
        except ValueError:
            raise ConfigError(
                f"policy {spec!r}: {part!r} must be {key}=number" + ("" if equals else ", with '='")
            ) from None
    return settings


def _whole(spec: str, key: str, value: float, unit: int = 1) -> int:
    scaled = value * unit
    if not (0 <= scaled < 2**53 and scaled == round(scaled)):
        raise ConfigError(
            f"policy {spec!r}: {key} is {value}; give a multiple of {1 / unit:g}, 0 or more"
        )
    return int(scaled)
