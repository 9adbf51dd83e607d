"""What the service believes: a policy's view of one item, and which model is served."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping

import msgspec

from api.decoding import decode
from api.problems import ProblemError
from api.service import Service
from streams.errors import BadItemError
from streams.events import Features

__all__ = ["ItemBelief", "ModelReply", "PolicyReply", "item_belief", "model"]


class ItemBelief(msgspec.Struct, frozen=True, kw_only=True):
    """What a policy believes of an item's reward, in one context.

    ``count`` is the weight of outcomes learned; ``low`` and ``high`` bound the mean's 95 %
    interval.
    """

    policy: str
    item_id: str
    view: int
    count: float
    mean: float
    low: float
    high: float


class PolicyReply(msgspec.Struct, frozen=True, kw_only=True):
    """A policy: its settings, their hashes, and how many items it has learned of."""

    name: str
    spec: str
    hash: str
    state_hash: str
    items: int
    fallback: str | None


class Conservation(msgspec.Struct, frozen=True, kw_only=True):
    """Records consumed by type and what became of them; ``exact`` when none is unaccounted for."""

    exact: bool
    counts: dict[str, dict[str, int]]


class ModelReply(msgspec.Struct, frozen=True, kw_only=True):
    """Which model is served: the view and how much of the log it includes.

    Of each partition the view includes the events before ``offsets``, the newest of them stamped
    ``clocks`` (ms) by the log, which reaches to ``ends``; ``end`` is their sum. ``version`` is the
    view's as ``min_version`` takes it.
    """

    release: str
    view: int
    version: str
    offsets: dict[str, int]
    clocks: dict[str, int]
    ends: dict[str, int]
    end: int
    catalogue_version: int
    policies: tuple[PolicyReply, ...]
    recommenders: dict[str, str]
    conservation: Conservation


_CONTEXT = msgspec.json.Decoder(Features)


def item_belief(service: Service, name: str, item_id: str, context: str) -> ItemBelief:
    """Return a policy's belief of an item, with its features, at a context (JSON object).

    Raises
    ------
    ProblemError
        When the policy or the item is unknown, the context or the item's features do not fit the
        policy's schema, or nothing was learned yet.
    """
    ranker = service.ranker
    policy = ranker.policies.get(name)
    if policy is None:
        raise ProblemError(
            "unknown-policy",
            f"policy {name!r} is not configured; known are {', '.join(ranker.policies)}",
        )
    features = decode(_CONTEXT, context.encode()) if context else {}
    x = ranker.encode(name, features)[0]
    view = service.view()
    fallback = ranker.fallback(view, name)
    if view is None or fallback:
        raise ProblemError("no-state", f"no beliefs to show yet: {fallback}", retry_after=1)
    posterior = view.policies[name]
    item = service.catalogue.item(item_id)
    if (item is None or item.deleted) and not posterior.rows([item_id])[0]:
        raise ProblemError("unknown-item", f"item {item_id!r} is not in the catalogue")
    try:
        z = ranker.item_rows(name, (item_id,))
    except BadItemError as error:
        raise ProblemError("bad-features", str(error)) from error
    told = policy.item_summary(posterior, [item_id], x, z)
    figures = {key: float(values[0]) for key, values in told.items()}
    return ItemBelief(policy=name, item_id=item_id, view=view.version, **figures)


def model(service: Service, ends: Mapping[int, int]) -> ModelReply:
    """Describe what is served now; ``ends`` are the log's offsets by partition."""
    view = service.view()
    ranker = service.ranker
    policies = tuple(
        PolicyReply(
            name=name,
            spec=service.config.policies[name].spec,
            hash=policy.hash,
            state_hash=policy.state_hash,
            items=len(view.policies[name].item_ids) if view and name in view.policies else 0,
            fallback=ranker.fallback(view, name),
        )
        for name, policy in ranker.policies.items()
    )
    return ModelReply(
        release=importlib.metadata.version("slatestream"),
        view=view.version if view else 0,
        version=service.version,
        offsets=_by_partition(view.offsets if view else {}),
        clocks=_by_partition(view.clocks if view else {}),
        ends=_by_partition(ends),
        end=sum(ends.values()),
        catalogue_version=service.catalogue.version,
        policies=policies,
        recommenders={name: each.policy for name, each in service.config.recommenders.items()},
        conservation=Conservation(
            exact=view.counts.exact if view else True,
            counts=view.counts.to_dict() if view else {},
        ),
    )


def _by_partition(values: Mapping[int, int]) -> dict[str, int]:
    return {str(partition): value for partition, value in sorted(values.items())}
