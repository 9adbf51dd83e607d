"""What learned state depends on, as frozen settings that travel in the log as control records."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, get_args

import msgspec

from engine.drift import Drift
from engine.errors import ConfigError, suggest
from engine.features import Schema
from engine.policy import Policy
from engine.registry import make_policy
from streams.events import Control

__all__ = ["Aggregation", "EngineConfig", "Forgetting", "PolicyConfig", "RecommenderConfig"]

Aggregation = Literal["earliest", "last", "max", "sum"]
AGGREGATIONS = get_args(Aggregation)
MAX_WEIGHT = 1e9
MAX_WINDOW_SECONDS = 30 * 86400.0


@dataclass(frozen=True, kw_only=True)
class PolicyConfig:
    """A policy by its spec, ``name`` or ``name:key=value,…``, and the features it reads.

    ``drift`` says how its learner watches its rewards, None not at all. State depends on what a
    watch leads to, which is in the log, and not on the watch.
    """

    spec: str
    features: tuple[dict[str, Any], ...] = ()
    drift: Drift | None = None

    @property
    def schema(self) -> Schema:
        """The features as a schema."""
        return Schema.from_list(self.features)

    def build(self, name: str) -> Policy:
        """Make the policy; raises ``ConfigError`` when the spec or a feature is not valid."""
        policy = make_policy(self.spec, schema=self.schema, name=name)
        if self.drift is not None:
            self.drift.check(policy.model)
        return policy


@dataclass(frozen=True, kw_only=True)
class RecommenderConfig:
    """How feedback on one recommender's slates becomes rewards.

    Parameters
    ----------
    policy
        Name of the policy that serves and learns.
    window_seconds
        Feedback counts within this time of the slate (of its activation when deferred).
    default_reward
        Reward of a slot without feedback.
    kinds
        Weight of each kind of feedback; kinds not named are filtered.
    aggregation
        How several feedbacks on one slot make one reward, in log order: the ``earliest`` counts,
        or the ``last``, or the ``max``, or their ``sum``.
    learn
        ``close`` learns every slot when its window closes; ``first`` learns a slot at its first
        feedback and the silent ones at the close; that feedback being final, it takes
        ``aggregation="earliest"``.
    """

    policy: str
    window_seconds: float = 600.0
    default_reward: float = 0.0
    kinds: dict[str, float] = field(default_factory=lambda: {"click": 1.0})
    aggregation: Aggregation = "earliest"
    learn: Literal["close", "first"] = "close"

    def __post_init__(self) -> None:
        if not 0.001 <= self.window_seconds <= MAX_WINDOW_SECONDS:
            raise ConfigError(
                f"window_seconds is {self.window_seconds}; give 0.001 to {MAX_WINDOW_SECONDS:.0f}"
            )
        if self.aggregation not in AGGREGATIONS or self.learn not in {"close", "first"}:
            raise ConfigError(
                f"aggregation is {self.aggregation!r} and learn is {self.learn!r}; "
                f"give one of {list(AGGREGATIONS)}, and 'close' or 'first'"
            )
        if self.learn == "first" and self.aggregation != "earliest":
            raise ConfigError(
                f"learn is 'first' and aggregation is {self.aggregation!r}: a slot learned at its "
                "first feedback takes no more; give aggregation='earliest' or learn='close'"
            )
        for name, number in {"default_reward": self.default_reward, **self.kinds}.items():
            if not math.isfinite(number) or abs(number) > MAX_WEIGHT:
                raise ConfigError(f"{name} is {number}; give a number within ±{MAX_WEIGHT:.0e}")
        # Whole numbers become floats, as they do on their way through the log: one hash for both.
        object.__setattr__(self, "window_seconds", float(self.window_seconds))
        object.__setattr__(self, "default_reward", float(self.default_reward))
        object.__setattr__(self, "kinds", {kind: float(n) for kind, n in self.kinds.items()})

    @cached_property
    def window_ms(self) -> int:
        """The reward window in milliseconds, at least 1."""
        return max(round(self.window_seconds * 1000), 1)


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """Every policy and recommender; ``EngineConfig()`` knows none."""

    policies: dict[str, PolicyConfig] = field(default_factory=dict)
    recommenders: dict[str, RecommenderConfig] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, recommender in self.recommenders.items():
            if recommender.policy not in self.policies:
                raise ConfigError(
                    f"recommender {name!r} uses policy {recommender.policy!r}, which is not "
                    f"configured; give one of {sorted(self.policies)}"
                )

    @cached_property
    def longest_window_ms(self) -> int:
        """The longest reward window, one minute when there is no recommender."""
        windows = [recommender.window_ms for recommender in self.recommenders.values()]
        return max(windows, default=60_000)

    @cached_property
    def state_hash(self) -> str:
        """Sixteen hex digits of what state depends on: not exploration, slate rule or seed."""
        states = {name: policy.build(name).state_hash for name, policy in self.policies.items()}
        body = msgspec.json.encode([states, self.recommenders], order="deterministic")
        return hashlib.sha256(body).hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        """Plain data that `from_dict` turns back into this config."""
        plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> EngineConfig:
        """Build a config, and its policies once to check them; raises ``ConfigError``."""
        try:
            config = msgspec.convert(plain, cls)
        except msgspec.ValidationError as error:
            raise ConfigError(f"engine config: {error}") from error
        for name, policy in config.policies.items():
            try:
                policy.build(name)
            except ConfigError as error:
                raise ConfigError(f"policies.{name}: {error}") from error
        return config

    def to_control(self, ts: int) -> Control:
        """Wrap the config in the control record that makes it the log's own."""
        return Control(ts=ts, change="configure", settings=self.to_dict())

    @classmethod
    def from_control(cls, control: Control) -> EngineConfig:
        """Read the config of a control record; raises ``ConfigError``."""
        return cls.from_dict(control.settings)


class Forgetting(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a control record makes one policy forget.

    ``halvings`` is how many times its sums are halved, 0 to empty its state; ``cause`` is for
    whoever reads the log.
    """

    policy: str
    halvings: int = 0
    cause: str = ""

    def to_control(self, ts: int) -> Control:
        """Wrap in the control record that makes it so."""
        change: Literal["decay", "reset"] = "decay" if self.halvings else "reset"
        settings = {"policy": self.policy, "halvings": self.halvings, "cause": self.cause}
        return Control(
            ts=ts, change=change, settings={key: value for key, value in settings.items() if value}
        )

    @classmethod
    def from_control(cls, control: Control, config: EngineConfig) -> Forgetting:
        """Read a control record; raises ``ConfigError`` when it cannot be done under ``config``."""
        try:
            read = msgspec.convert(control.settings, cls)
        except msgspec.ValidationError as error:
            raise ConfigError(f"control {control.change!r}: {error}") from error
        if read.policy not in config.policies:
            known = suggest(read.policy, config.policies)
            raise ConfigError(f"policy {read.policy!r} is not configured{known}")
        if control.change == "reset":
            return msgspec.structs.replace(read, halvings=0)
        drift = Drift(action="decay", halvings=read.halvings)
        drift.check(config.policies[read.policy].build(read.policy).model)
        return read
