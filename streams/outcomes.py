"""Outcomes as they travel: what one partition of `EVENTS` joined, for whoever learns it in order.

A policy whose model does not add is learned by one owner: the shard of that partition of
`OUTCOMES` that the policy's name chooses. Each source, a partition of `EVENTS`, writes what it
joined as a chain of records: each covers an interval of marks, and begins where the one before it
ended. A `Mark` ``(offset, n)`` stands before the n-th outcome produced at that offset of the
source, so that the same outcome has the same mark however often and however cut it is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

from engine.batches import hash_key
from engine.errors import ConfigError
from streams.config import EngineConfig, PolicyConfig
from streams.errors import BadEventError
from streams.events import Control, Features, Id, Millis, Slot, Tick, Weight
from streams.log.base import EVENTS, OUTCOMES, EventLog
from streams.positions import Mark
from streams.states import build_policies, learns_in_order

__all__ = [
    "MAX_BYTES",
    "OutcomeRecord",
    "Outgoing",
    "SentOutcome",
    "SentSlot",
    "choose_owner",
    "cut_outcomes",
    "decode_outcomes",
    "encode_outcomes",
    "own_config",
]

MAX_BYTES = 500_000  # of a record, well below what brokers take; one outcome alone may exceed it

Propensity = Annotated[float, Meta(gt=0, le=1)]


class Outgoing(NamedTuple):
    """Slots learned together of a policy that learns elsewhere, without what the log holds."""

    policy: str
    settings: PolicyConfig
    offset: int  # of the record they were learned at
    opened: int  # of the impression
    slots: tuple[int, ...]
    rewards: tuple[float, ...]
    time_ms: int
    last: int


class SentSlot(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One slot of a slate: its item with the features that were used when serving."""

    item_id: Id
    slot: Slot
    reward: float
    propensity: Propensity
    features: Features | None = None


class SentOutcome(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Slots of one slate, learned together; features by name, for the owner's own schema."""

    policy: Id
    mark: Mark
    time_ms: Millis
    slate: Annotated[tuple[SentSlot, ...], Meta(min_length=1)]
    context: Features = {}
    weight: Weight = 1.0
    last: int = -1


class OutcomeRecord(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    forbid_unknown_fields=True,
    tag_field="type",
    tag="outcomes",
):
    """All outcomes of a source from ``begin`` up to ``end``, for one partition of `OUTCOMES`.

    ``log`` is the identity of the source's topic, so that offsets of one created anew are not
    taken for those of the one before. ``policies`` are the settings that outcomes were joined
    under, for an owner that does not know a policy yet.
    """

    ts: Millis
    log: str
    source: int
    begin: Mark
    end: Mark
    policies: dict[str, PolicyConfig]
    outcomes: Annotated[tuple[SentOutcome, ...], Meta(min_length=1)]

    def __post_init__(self) -> None:
        marks = [outcome.mark for outcome in self.outcomes]
        ordered = all(one < next_ for one, next_ in pairwise(marks))
        if not (ordered and self.begin <= marks[0] and marks[-1] < self.end):
            raise BadEventError(
                "value",
                f"marks of outcomes are not in order within {self.begin} to {self.end}",
                "/outcomes",
            )
        for outcome in self.outcomes:
            if outcome.policy not in self.policies:
                raise BadEventError(
                    "value", f"no settings of policy {outcome.policy!r} are given", "/policies"
                )

    @property
    def chain(self) -> str:
        """Name of the chain this record belongs to."""
        return f"{self.log}-{self.source}"


_DECODER: msgspec.json.Decoder[OutcomeRecord | Control | Tick] = msgspec.json.Decoder(
    OutcomeRecord | Control | Tick
)
_ENCODER = msgspec.json.Encoder()


def encode_outcomes(record: OutcomeRecord) -> bytes:
    """Encode as JSON; fields at their defaults are left out."""
    return _ENCODER.encode(record)


def decode_outcomes(value: bytes) -> OutcomeRecord | Control | Tick:
    """Decode the value of a record of `OUTCOMES`; raises ``BadEventError``."""
    try:
        return _DECODER.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if isinstance(error.__cause__, BadEventError):
            raise error.__cause__ from error
        reason = "schema" if isinstance(error, msgspec.ValidationError) else "json"
        raise BadEventError(reason, str(error)) from error


def choose_owner(policy: str, partitions: int) -> int:
    """Partition of `OUTCOMES` that a policy is learned in."""
    return hash_key(policy) % partitions


def own_config(log: EventLog, config: EngineConfig, topic: str, partition: int) -> EngineConfig:
    """Return what the shard of a partition depends on, of all settings.

    Of `OUTCOMES` these are the policies learned there, and nothing of how rewards are joined.

    Raises
    ------
    ConfigError
        When a policy must learn in order and there is no topic to bring its outcomes together.
    LogError
        When the log does not answer.
    """
    if log.partitions(EVENTS) <= 1:
        return config if topic == EVENTS else EngineConfig()
    partitions = log.partitions(OUTCOMES)
    policies = build_policies(config)
    ordered = [name for name, policy in policies.items() if learns_in_order(policy)]
    if ordered and not partitions:
        raise no_topic(ordered[0])
    if topic == EVENTS:
        return config
    here = [name for name in ordered if choose_owner(name, partitions) == partition]
    return EngineConfig(policies={name: config.policies[name] for name in here})


def no_topic(policy: str) -> ConfigError:
    """Make the error of a policy without a topic for its outcomes."""
    return ConfigError(
        f"policy {policy!r} has a model that one owner must learn in order, topic {EVENTS} has "
        f"several partitions, and there is no topic {OUTCOMES} to bring its outcomes together: "
        f"create {OUTCOMES}, or choose a model that adds up, or use one partition"
    )


def cut_outcomes(
    outcomes: Sequence[SentOutcome], begin: Mark, end: Mark, limit: int = MAX_BYTES
) -> Iterator[tuple[Mark, Mark, Sequence[SentOutcome]]]:
    """Cut outcomes into parts of about ``limit`` bytes, each with its interval.

    The intervals follow on one another from ``begin`` to ``end``.
    """
    first, size = 0, 0
    for place, outcome in enumerate(outcomes):
        more = len(_ENCODER.encode(outcome))
        if place > first and size + more > limit:
            yield begin, outcome.mark, outcomes[first:place]
            begin, first, size = outcome.mark, place, 0
        size += more
    yield begin, end, outcomes[first:]
