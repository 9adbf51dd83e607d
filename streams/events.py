"""The event contract: what travels in the logs, as JSON, and its strict decoder.

Times are int milliseconds since the epoch, UTC. ``events`` holds impressions, activations,
feedback, controls and ticks; ``catalogue`` holds items, users and pools.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from streams.errors import BadEventError
from streams.nesting import DEEPEST, is_too_deep
from streams.refusals import explain, holds_nul

__all__ = [
    "Activation",
    "Control",
    "Event",
    "Features",
    "Feedback",
    "Id",
    "Impression",
    "Item",
    "Millis",
    "Pool",
    "ShownItem",
    "Slot",
    "Tick",
    "User",
    "Weight",
    "decode_event",
    "encode_event",
]

MAX_MAGNITUDE = 1e9  # squares of rewards times weights stay far from overflow
MAX_SLATE = 1000

Id = Annotated[str, Meta(min_length=1, max_length=256)]
Millis = Annotated[int, Meta(ge=0, le=2**53)]
Version = Annotated[int, Meta(ge=0, le=2**62)]
Slot = Annotated[int, Meta(ge=0, lt=MAX_SLATE)]
Text = Annotated[str, Meta(max_length=1024)]
Probability = Annotated[float, Meta(ge=1e-100, le=1)]  # the square of 1 / p stays finite
Recurrence = Annotated[int, Meta(ge=1, le=2**53)]
Reward = Annotated[float, Meta(ge=-MAX_MAGNITUDE, le=MAX_MAGNITUDE)]
Weight = Annotated[float, Meta(gt=0, le=1e6)]  # 1 / sampling rate
Whole = Annotated[int, Meta(ge=-(2**53), le=2**53)]
Share = Annotated[float, Meta(ge=-MAX_MAGNITUDE, le=MAX_MAGNITUDE)]
Shares = Annotated[dict[Id, Share], Meta(max_length=1000)]  # weights of clusters, say
Features = Annotated[dict[Id, float | Whole | Text | bool | Shares | None], Meta(max_length=1000)]


class ShownItem(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
    gc=False,
):
    """One slot of a slate.

    ``propensity`` is the probability of this item given the slots before it; ``method`` says how
    it was got, ``error`` how far off it may be (0 when exact). ``pinned`` slots were filled by the
    request. ``recurrence`` is, of a propensity by ``monte_carlo``, the number of draws until the
    item came again. ``features`` are those of the item that the policy's schema names.
    """

    item_id: Id
    propensity: Probability
    method: Id
    error: Annotated[float, Meta(ge=0, le=1)] = 0.0
    score: float | None = None
    features: Features | None = None
    recurrence: Recurrence | None = None

    @property
    def unbiased(self) -> float:
        """A propensity whose reciprocal is unbiased: an estimate's own is not, 1 / N is."""
        return 1.0 / self.recurrence if self.recurrence else self.propensity


class _Event(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
    tag_field="type",
    tag=str.lower,
    gc=False,
):
    """What all records share: ``ts``, when the producer says it happened."""

    ts: Millis


class Impression(_Event, frozen=True):
    """A slate served, self-contained: with the features and propensities used when serving.

    ``context`` holds the user's catalogue features overlaid by the request's own; ``weight`` is
    1 / sampling rate; ``deferred`` slates open their reward window at an `Activation`.
    """

    request_id: Id
    recommender: Id
    slate: Annotated[tuple[ShownItem, ...], Meta(min_length=1, max_length=MAX_SLATE)]
    user_id: Id | None = None
    context: Features = {}
    pool: Id | None = None
    pool_version: Version | None = None
    candidates: tuple[Id, ...] | None = None
    exclude: tuple[Id, ...] = ()
    schema: Text = ""
    catalogue_version: Version = 0
    policy: Text = ""
    policy_hash: Text = ""
    view: Version = 0
    weight: Weight = 1.0
    fallback: Id | None = None
    shadow: dict[Id, tuple[Annotated[float, Meta(ge=0, le=1)], ...]] | None = None
    deferred: bool = False

    def __post_init__(self) -> None:
        if len({shown.item_id for shown in self.slate}) < len(self.slate):
            ids = [shown.item_id for shown in self.slate]
            slot = next(at for at, item_id in enumerate(ids) if item_id in ids[:at])
            raise BadEventError(
                "value",
                f"item {ids[slot]!r} is in the slate twice; show an item once",
                f"/slate/{slot}/item_id",
            )


class Activation(_Event, frozen=True):
    """A deferred slate was seen (only the given ``slots`` of it): its window starts here."""

    request_id: Id
    slots: Annotated[tuple[Slot, ...], Meta(min_length=1)] | None = None


class Feedback(_Event, frozen=True):
    """What a user did with one item of a slate."""

    event_id: Id
    request_id: Id
    item_id: Id
    kind: Id
    value: Reward = 1.0
    slot: Slot | None = None


class Control(_Event, frozen=True):
    """A change of what state depends on.

    ``configure``: ``settings`` is an `EngineConfig` as plain data. ``reset`` empties the state of
    the policy that ``settings`` name; ``decay`` halves its sums ``halvings`` times.
    """

    change: Literal["configure", "decay", "reset"]
    settings: dict[str, Any]


class Tick(_Event, frozen=True):
    """The clock of an idle partition."""


class Item(_Event, frozen=True):
    """An item as of now: replaces what the catalogue held under the id."""

    id: Id
    features: Features = {}
    available_from: Millis | None = None
    expires_at: Millis | None = None
    deleted: bool = False


class User(_Event, frozen=True):
    """A user as of now: replaces what the catalogue held under the id."""

    id: Id
    features: Features = {}


class Pool(_Event, frozen=True):
    """A named candidate set as of now; its version is its offset in the catalogue log."""

    name: Id
    item_ids: tuple[Id, ...]


Event = Impression | Activation | Feedback | Control | Tick | Item | User | Pool

_DECODER: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)
_ENCODER = msgspec.json.Encoder()


def decode_event(value: bytes) -> Event:
    """Decode one record's value.

    Raises
    ------
    BadEventError
        With reason ``encoding`` (broken UTF-8), ``json``, ``type`` (no or unknown event type),
        ``schema`` (missing or unknown field, wrong type) or ``value`` (a number or an id out of
        its range, a NUL; NaN and infinities are not JSON and come out as ``json``).
    """
    if is_too_deep(value):
        raise BadEventError("json", f"nested deeper than {DEEPEST} levels; flatten it")
    try:
        event = _DECODER.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _explain(value, error) from error
    if holds_nul(value):
        raise BadEventError("value", "a text holds the character NUL; leave it out")
    return event


def encode_event(event: Event) -> bytes:
    """Encode an event as JSON; fields at their defaults are left out."""
    return _ENCODER.encode(event)


def _explain(value: bytes, error: Exception) -> BadEventError:
    try:
        value.decode()
    except UnicodeDecodeError as broken:
        return BadEventError("encoding", f"{broken}; give UTF-8")
    if not isinstance(error, msgspec.ValidationError):
        return BadEventError("json", f"{error}; give one JSON object")
    if isinstance(error.__cause__, BadEventError):
        return error.__cause__
    kind, detail, pointer = explain(error, value, _DECODER.decode)
    if pointer == "/type":
        return BadEventError("type", f"{detail}; see the event contract for types", pointer)
    return BadEventError("value" if kind == "out_of_range" else "schema", detail, pointer)
