"""How far a shard is, what moves it forward, and how both look as a row."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from engine.errors import SnapshotError
from engine.policy import Policy
from engine.state import State
from streams.agenda import JoinPoint, Remembered
from streams.config import EngineConfig
from streams.counts import Counts
from streams.errors import RefusedError
from streams.requests import DeadLetter

__all__ = [
    "START",
    "Bodies",
    "Chain",
    "Commit",
    "Mark",
    "Position",
    "Saved",
    "Tail",
    "from_row",
    "to_row",
]

MIN_BASE_BYTES = 1 << 16
Bodies = dict[str, bytes]  # policy name -> saved state
Mark = tuple[int, int]  # offset of a source, and how many outcomes were produced there before
Chain = Mapping[str, Mark]
START = "start"  # in a chain: offset of `OUTCOMES` that learning began at, when not 0


@dataclass(frozen=True, kw_only=True)
class Position:
    """How far a shard is, and under which claim.

    ``chain`` says, of a shard of `EVENTS`, up to where its outcomes are written to each partition
    of `OUTCOMES`; of a shard of `OUTCOMES`, up to where each source's are learned. ``delta_bytes``
    are those of deltas that no base was written for yet.
    """

    topic: str
    partition: int
    log: str
    partitions: int
    epoch: int
    seq: int
    next_offset: int
    clock: int
    join_point: JoinPoint
    counts: Counts
    config: EngineConfig
    delta_bytes: int
    base_bytes: int
    chain: Chain

    @property
    def wants_base(self) -> bool:
        """Whether a base may be written: no more is spent on bases than deltas took."""
        return self.delta_bytes > max(self.base_bytes, MIN_BASE_BYTES)

    def after(self, commit: Commit) -> Position:
        """Return the position that a commit on top of this one leads to."""
        size = _size(commit.bodies)
        spent = self.delta_bytes + (_size(commit.delta or {}) if commit.base else size)
        if commit.base:
            # A base larger than the deltas before it is made up for by those after it.
            spent = 0 if commit.delta is None else _made_up(spent, size)
        return replace(
            self,
            seq=self.seq + 1,
            next_offset=commit.next_offset,
            clock=commit.clock,
            join_point=commit.join_point,
            counts=Counts(commit.counts.to_dict()),
            config=commit.config,
            delta_bytes=spent,
            base_bytes=size if commit.base else self.base_bytes,
            chain=dict(commit.chain),
        )

    def with_base(self, begun: Position, size: int) -> Position:
        """Return this position once there is a base of an earlier one, of ``size`` bytes."""
        since = self.delta_bytes - begun.delta_bytes
        spent = _made_up(begun.delta_bytes, size) + since
        return replace(self, delta_bytes=spent, base_bytes=size)

    def states(self, saved: Saved) -> dict[str, State]:
        """Rebuild every policy's state.

        Raises
        ------
        RefusedError
            When one is damaged, or a delta does not follow what is there.
        """
        states = {}
        for name, config in self.config.policies.items():
            try:
                states[name] = _rebuild(config.build(name), name, saved)
            except SnapshotError as error:
                raise RefusedError(
                    f"stored state of policy {name!r} in shard {self.topic}-{self.partition} "
                    f"cannot be put together: {error}; load a snapshot with 'slatestream restore', "
                    "or learn anew with 'slatestream reset'"
                ) from error
            states[name].advance(self.clock)
        return states

    @classmethod
    def fresh(
        cls, topic: str, partition: int, log: str, partitions: int, begin: int = 0
    ) -> Position:
        """Return the position of a shard that nobody claimed yet."""
        empty = EngineConfig()
        return cls(
            topic=topic,
            partition=partition,
            log=log,
            partitions=partitions,
            epoch=0,
            seq=0,
            next_offset=begin,
            clock=0,
            join_point=JoinPoint(begin, 0, empty),
            counts=Counts(),
            config=empty,
            delta_bytes=0,
            base_bytes=0,
            chain={},
        )


@dataclass(frozen=True, kw_only=True)
class Commit:
    """What one commit adds.

    ``bodies`` hold, by policy, rows touched since the last commit (absolute values), or whole
    states when ``base``. ``delta`` are the rows touched beside a base, so that an older base
    leads past this commit too; None when rows alone cannot tell what changed. ``remembered`` are
    requests closed; ``chain`` is the position's after it.
    """

    next_offset: int
    clock: int
    join_point: JoinPoint
    counts: Counts
    config: EngineConfig
    bodies: Mapping[str, bytes]
    base: bool
    remembered: Remembered
    dead: Sequence[DeadLetter]
    chain: Chain = field(default_factory=dict)
    delta: Mapping[str, bytes] | None = None

    @property
    def size(self) -> int:
        """Bytes of state it writes."""
        return _size(self.bodies) + _size(self.delta or {}) + 16 * len(self.remembered.keys)


@dataclass(frozen=True, kw_only=True)
class Saved:
    """What a shard is restored from: a base, the deltas since, closed requests."""

    base: Bodies
    deltas: list[Bodies]
    closed: Remembered


@dataclass(frozen=True, kw_only=True)
class Tail:
    """What was committed of a shard since a reader last looked.

    ``base`` is None when ``deltas`` alone lead from what the reader has to ``position``.
    """

    position: Position
    base: Bodies | None
    deltas: list[Bodies]


def to_row(position: Position) -> dict[str, Any]:
    """Columns that a commit writes: all but the shard, its log and the epoch."""
    return {
        "seq": position.seq,
        "next_offset": position.next_offset,
        "clock": position.clock,
        "join_offset": position.join_point.offset,
        "join_clock": position.join_point.clock,
        "delta_bytes": position.delta_bytes,
        "base_bytes": position.base_bytes,
        "counts": json.dumps(position.counts.to_dict()),
        "config": json.dumps(position.config.to_dict()),
        "join_config": json.dumps(position.join_point.config.to_dict()),
        "chain": json.dumps(dict(position.chain)),
    }


def from_row(row: Mapping[str, Any]) -> Position:
    """Read a row back."""
    join_config = EngineConfig.from_dict(json.loads(row["join_config"]))
    return Position(
        topic=row["topic"],
        partition=row["part"],
        log=row["log"],
        partitions=row["partitions"],
        epoch=row["epoch"],
        seq=row["seq"],
        next_offset=row["next_offset"],
        clock=row["clock"],
        join_point=JoinPoint(row["join_offset"], row["join_clock"], join_config),
        counts=Counts(json.loads(row["counts"])),
        config=EngineConfig.from_dict(json.loads(row["config"])),
        delta_bytes=row["delta_bytes"],
        base_bytes=row["base_bytes"],
        chain={name: (at, n) for name, (at, n) in json.loads(row["chain"]).items()},
    )


def _rebuild(policy: Policy, name: str, saved: Saved) -> State:
    state = policy.load(saved.base[name]) if name in saved.base else policy.init()
    for delta in saved.deltas:
        if name in delta:
            state.put_bytes(delta[name])
    return state


def _made_up(spent: int, size: int) -> int:
    """What deltas are ahead of bases by, when a base of ``size`` follows them."""
    return max(min(spent - size, 0), -size)


def _size(bodies: Mapping[str, bytes]) -> int:
    return sum(map(len, bodies.values()))
