"""A policy: what is believed (model), how it explores, and how a list is made of it.

`Policy` is frozen configuration; `State` holds the raw sums it learned; `Posterior` holds what
is derived from them and is all that ranking reads. Ranking is pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import msgspec
import numpy as np

from engine.batches import (
    Belief,
    Candidates,
    Floats,
    Ints,
    Outcomes,
    Posterior,
    Requests,
    Slates,
    hash_key,
)
from engine.clicks import Examination
from engine.embeddings.part import tables_of
from engine.errors import ConfigError, ShapeError, SnapshotError
from engine.exploration.base import Exploration
from engine.features import Schema
from engine.models.base import Model, resolve
from engine.pieces import Pieces, pack_pieces
from engine.slates.base import SlateRule, draw_slotwise
from engine.state import State

__all__ = [
    "Belief",
    "Candidates",
    "Exploration",
    "Model",
    "Outcomes",
    "Policy",
    "Posterior",
    "Requests",
    "SlateRule",
    "Slates",
    "hash_key",
]

BOUNDS = {"beta": (0.0, 1.0), "gamma": (0.0, np.inf), "logit": (0.0, 1.0)}  # of the mean, by family
MAX_SPAN = 256  # half-lives an outcome may lie after the landmark, or come late


class _Saved(msgspec.Struct):
    policy: str  # the settings the state depends on
    state: bytes


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Model × exploration × slate rule over a schema.

    Parameters
    ----------
    half_life_ms
        Outcomes this old count half; 0 never forgets. One that comes 256 half-lives late, or
        more, is not learned: there would be nothing left of it.
    seed
        Seeds the draws, together with request id, slot and item id.
    examination
        Which slots of a slate say something of their items.
    """

    name: str
    model: Model
    exploration: Exploration
    slate: SlateRule
    schema: Schema = field(default_factory=Schema)
    half_life_ms: int = 0
    seed: int = 0
    examination: Examination = field(default_factory=Examination)

    def __post_init__(self) -> None:
        if self.half_life_ms < 0:
            raise ConfigError(f"half_life_ms is {self.half_life_ms}; give 0 (never) or more")
        if not 0 <= self.seed < 2**64:
            raise ConfigError(f"seed is {self.seed}; give a whole number from 0 to 2^64 - 1")
        if self.half_life_ms and not self.model.traits.forgets:
            raise ConfigError(
                f"policy {self.name!r}: this model cannot forget by a half-life; "
                "reset it when drift is detected instead"
            )
        if self.examination.chances and not self.model.traits.examines:
            raise ConfigError(
                f"policy {self.name!r}: this model has no position-based form; "
                "use examination=cascade, or a linear or conjugate model"
            )
        if self.schema.ids and not self.model.traits.reads_ids:
            raise ConfigError(
                f"policy {self.name!r}: feature {self.schema.ids[0].name!r} is an id, and "
                f"{type(self.model).__name__} reads numbers alone; take it out of this policy's "
                "features, or use a model with an embedding table"
            )
        self.model.check(self.schema)
        self.slate.check(self.exploration, self.model, self.schema)

    @property
    def width(self) -> int:
        """Number of columns of a context row."""
        return len(self.schema.columns)

    @cached_property
    def state_hash(self) -> str:
        """Sixteen hex digits of the settings that learned state depends on."""
        return _digest([self.model_settings(), self.schema.to_list(), self.half_life_ms])

    @cached_property
    def hash(self) -> str:
        """Sixteen hex digits of every setting: what an impression logs."""
        parts = [self.exploration, self.slate]
        return _digest(
            [
                self.state_hash,
                [[type(p).__name__, msgspec.to_builtins(p)] for p in parts],
                self.seed,
            ]
        )

    def model_settings(self) -> list[object]:
        """Model and examination with their settings, as plain data."""
        name = type(self.model).__name__
        return [name, msgspec.to_builtins(self.model), msgspec.to_builtins(self.examination)]

    def init(self) -> State:
        """Return the state of a policy that has seen nothing."""
        axes, sizes = self.model.axes(), self.schema.sizes
        return State(
            resolve(axes.items, sizes),
            self.half_life_ms,
            shared=resolve(axes.shared, sizes),
            squared=axes.squared,
            parts=self.model.parts(self.schema),
        )

    def update(self, state: State, outcomes: Outcomes) -> None:
        """Learn from outcomes, in order, and forget up to the last of them. Writes: state."""
        found = (outcomes.x.shape[1], outcomes.z.shape[1])
        if found != (self.width, len(self.schema.item_columns)):
            raise ShapeError(
                f"outcomes.x and z have {found} columns; the schema has "
                f"({self.width}, {len(self.schema.item_columns)})"
            )
        latest = int(outcomes.time_ms.max(initial=state.landmark))
        # Rows also of items in slots that were not looked at.
        all_ids, all_rows = outcomes.item_ids, state.ensure_rows(outcomes.item_ids)
        outcomes = self.examination.apply(self._lasting(state, outcomes))
        for part in self._segments(state, outcomes):
            rows = all_rows if part.item_ids is all_ids else state.rows(part.item_ids)
            weight = part.weight
            if self.half_life_ms:
                # Whole half-lives apart from the rest, so that the landmark leaves no rounding.
                steps, rest = np.divmod(part.time_ms - state.landmark, self.half_life_ms)
                weight = np.ldexp(weight * np.exp2(rest / self.half_life_ms), steps)
            self.model.update(state, rows, part, weight, self.schema)
        state.advance(latest)

    def learn(self, state: State, posterior: Posterior, outcomes: Outcomes) -> Posterior:
        """Update a state and the posterior derived from it. Writes: state, posterior."""
        before = state.landmark
        self.update(state, outcomes)
        if state.landmark != before:
            return self.derive(state)
        return self.refresh(posterior, state, list(dict.fromkeys(outcomes.item_ids)))

    def _lasting(self, state: State, outcomes: Outcomes) -> Outcomes:
        """Leave out what had faded to nothing before it came.

        Its weight would be a number whose halves are not exact, or 0, as the landmark stands. Told
        by whole half-lives from the latest outcome before it, which no cut of the log changes.
        """
        if not self.half_life_ms:
            return outcomes
        steps = (outcomes.time_ms - state.landmark) // self.half_life_ms
        latest = np.maximum.accumulate(np.maximum(steps, 0))
        kept = latest - steps < MAX_SPAN
        return outcomes if kept.all() else outcomes.take(np.flatnonzero(kept))

    def _segments(self, state: State, outcomes: Outcomes) -> Iterator[Outcomes]:
        start, n = 0, len(outcomes.item_ids)
        while start < n:
            stop = n
            if self.half_life_ms:
                limit = state.landmark + MAX_SPAN * self.half_life_ms
                over = np.flatnonzero(outcomes.time_ms[start:] >= limit)
                stop = start + int(over[0]) if len(over) else n
            if stop == start:
                state.advance(int(outcomes.time_ms[start]))
            else:
                yield outcomes if stop - start == n else outcomes.take(slice(start, stop))
                start = stop

    def derive(self, state: State) -> Posterior:
        """Derive the beliefs of every item, and of the prior, from the sums alone."""
        sums = {
            name: np.concatenate([np.zeros((1, *kept.shape[1:])), kept])
            for name, kept in state.sums.items()
        }
        arrays, shared = self.model.derive_whole(sums, state, self.schema)
        return Posterior(state.item_ids, arrays, shared, {**tables_of(state.parts)})

    def refresh(self, posterior: Posterior, state: State, item_ids: Sequence[str]) -> Posterior:
        """Derive the named items again, to the same bits as `derive`. Writes: posterior.

        The landmark must be where it was when the posterior was derived: else every item's sums
        have changed. A model whose beliefs of one item rest on others' is derived whole.
        """
        if self.model.traits.pooled:
            return self.derive(state)
        if item_ids:  # no model is asked about no item
            posterior.put(item_ids, self.model.derive(state.take(item_ids), state, self.schema))
        posterior.shared = self.model.refresh_shared(
            posterior.shared, state, list(item_ids), self.schema
        )
        return posterior

    def rank(
        self, posterior: Posterior, requests: Requests, k: int, pins: Ints | None = None
    ) -> Slates:
        """Make a slate of ``k`` items for every request, with the probability of each choice.

        Parameters
        ----------
        pins
            ``(n, k)``: places of candidates that the caller puts into slots, -1 elsewhere. Their
            propensity is 1, and no other slot shows them.

        Raises
        ------
        ShapeError
            When a request has fewer than ``k`` candidates, or pins are no candidates.
        """
        requests.check(k)
        picks = np.full((len(requests.keys), k), -1, dtype=np.int64)
        return self._draw(posterior, requests, picks, pins)

    def score(
        self, posterior: Posterior, requests: Requests, picks: Ints, pins: Ints | None = None
    ) -> Slates:
        """State the probabilities this policy gives to slates ``(n, k)`` chosen by another.

        Each is conditional on the slots before it and on the pins. Raises ``ShapeError`` when a
        pick is not a position in its request's candidates, or stands twice in a slate.
        """
        requests.check(picks.shape[1])
        ordered = np.sort(picks, axis=1)
        if (
            len(picks) != len(requests.keys)
            or np.any(ordered[:, 0] < 0)
            or np.any(ordered[:, -1] >= np.diff(requests.offsets))
            or np.any(ordered[:, 1:] == ordered[:, :-1])
        ):
            raise ShapeError("picks hold a position that is not a candidate, or one twice")
        return self._draw(posterior, requests, picks.astype(np.int64), pins)

    def _draw(
        self, posterior: Posterior, requests: Requests, picks: Ints, pins: Ints | None
    ) -> Slates:
        belief = self.believe(posterior, requests)
        if not (np.isfinite(belief.mean).all() and not np.isnan(belief.sd).any()):
            raise ShapeError(
                "a candidate's expected reward is not a finite number; features may be too large: "
                "declare their center and scale"
            )
        if pins is None or np.all(pins < 0):
            return self.slate.draw(
                self.exploration, belief, requests, picks, self.seed, self.schema
            )
        return draw_slotwise(
            self.slate, self.exploration, belief, requests, picks, pins, self.seed, self.schema
        )

    def believe(self, posterior: Posterior, requests: Requests) -> Belief:
        """Mean and spread of every candidate of every request.

        Raises ``ShapeError`` when the requests do not fit the schema, or hold what is not finite:
        kernels check nothing.
        """
        self._check_widths(requests)
        if not (np.isfinite(requests.x).all() and np.isfinite(requests.z).all()):
            raise ShapeError("requests.x or z hold a value that is not finite")
        return self.model.believe(posterior, requests, self.schema)

    def _check_widths(self, requests: Requests) -> None:
        n, m = len(requests.offsets) - 1, len(requests.rows)
        x, z, e = requests.x, requests.z, len(self.schema.item_columns)
        given = z.shape[1] > 0 or (m > 0 and self.model.traits.reads_items)
        if x.shape != (n, self.width) or len(z) != m or (given and z.shape[1] != e):
            raise ShapeError(
                f"requests.x is {x.shape} and z {z.shape}; {n} requests and {m} candidates need "
                f"({n}, {self.width}) and ({m}, {e}): the schema has so many columns"
            )
        if not len(requests.keys) == n or not requests.offsets[-1] == len(requests.item_keys) == m:
            raise ShapeError(
                f"requests have {len(requests.keys)} keys, offsets up to {requests.offsets[-1]}, "
                f"{m} rows and {len(requests.item_keys)} item keys; they must agree"
            )

    def merge(self, states: Sequence[State]) -> State:
        """Add up the states of shards, in the order given: equal to one state of the whole.

        An ``approximate`` model's shards add up to what is near the whole. Raises
        ``ConfigError`` when the model's shards cannot be merged.
        """
        if self.model.traits.merging == "refused":
            raise ConfigError(
                f"policy {self.name!r} learns in order: shards of its model cannot be merged; "
                "let one owner learn it"
            )
        whole = self.init()
        whole.landmark = max((state.landmark for state in states), default=0)
        for state in states:
            shard = state.copy()
            shard.advance(whole.landmark)
            whole.add(shard)
        return whole

    def decay(self, state: State, now_ms: int) -> None:
        """Forget up to ``now_ms``, by whole half-lives. Writes: state."""
        state.advance(now_ms)

    def save(self, state: State) -> bytes:
        """Save a state together with the settings it depends on."""
        return msgspec.msgpack.encode(_Saved(policy=self.state_hash, state=state.to_bytes()))

    def snapshot(self, state: State) -> Pieces:
        """Begin `save` of this moment: large parts are read while the state goes on changing."""
        return pack_pieces({"policy": self.state_hash, "state": state.snapshot()})

    def load(self, saved: bytes) -> State:
        """Load what `save` made; ``SnapshotError`` when it belongs to other settings."""
        try:
            parts = msgspec.msgpack.decode(saved, type=_Saved)
        except msgspec.DecodeError as error:
            raise SnapshotError(f"saved state cannot be read: {error}") from error
        if parts.policy != self.state_hash:
            raise SnapshotError(
                f"saved state is of policy settings {parts.policy}; policy {self.name!r} "
                f"has {self.state_hash}: load it with the settings it was learned with"
            )
        state = self.init()
        state.put_bytes(parts.state)
        return state

    def item_summary(
        self, posterior: Posterior, item_ids: Sequence[str], x: Floats, z: Floats | None = None
    ) -> dict[str, Floats]:
        """Count, mean and 95 % interval ``low``, ``high`` of items at one context row ``(d,)``.

        ``z`` ``(n, e)`` are the items' own rows, for a schema with item features.
        """
        candidates = Candidates.of(posterior, item_ids, z=z)
        request = Requests.of(x[None, :], ["summary"], [candidates])
        belief = self.believe(posterior, request)
        spread = 1.96 * belief.sd * np.sqrt(belief.noise)
        least, most = BOUNDS.get(belief.family, (-np.inf, np.inf))
        return {
            "count": belief.count,
            "mean": belief.mean,
            "low": np.maximum(belief.mean - spread, least),
            "high": np.minimum(belief.mean + spread, most),
        }


def _digest(parts: object) -> str:
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:16]
