"""Loading the compiled code that folds a log, before the first record needs it."""

from __future__ import annotations

from streams.config import EngineConfig, PolicyConfig, RecommenderConfig
from streams.events import Activation, Event, Feedback, Impression, ShownItem, Tick, encode_event
from streams.log.base import EVENTS
from streams.log.memory import MemoryLog
from streams.scan import warm_up_columns
from streams.shard import Shard, Snapshot

__all__ = ["warm_up_fold"]

HOUR = {"type": "numeric", "name": "hour"}
PRICE = {"type": "numeric", "name": "price", "of": "item"}


def warm_up_fold() -> None:
    """Decode, join and restore a made-up log: every kernel between a log and a policy runs."""
    warm_up_columns()
    log = MemoryLog(0)
    for event in _events():
        log.time_ms += 10
        log.append(EVENTS, [("", encode_event(event))])
    shard = Shard()
    shard.fold(log.poll(EVENTS, 0, 100))
    joiner = shard.joiner
    assert joiner.next_deadline is not None  # noqa: S101
    snapshot = Snapshot(
        join_point=joiner.join_point(),
        next_offset=joiner.next_offset,
        clock=joiner.clock,
        config=shard.config,
        counts=joiner.counts,
        closed=joiner.closed,
        states=shard.states,
    )
    Shard.restore(snapshot, lambda offset, limit: log.poll(EVENTS, offset, limit))


def _events() -> list[Event]:
    window = RecommenderConfig(policy="p", window_seconds=0.05)
    before, after = (
        EngineConfig(
            policies={"p": PolicyConfig(spec="uniform", features=features)},
            recommenders={"r": window},
        )
        for features in ((HOUR,), (HOUR, PRICE))
    )
    return [
        before.to_control(0),
        _slate("a"),
        Activation(ts=0, request_id="a"),
        Feedback(ts=0, event_id="e", request_id="a", item_id="i", kind="click"),
        Feedback(ts=0, event_id="e", request_id="b", item_id="i", kind="click"),
        _slate("b"),
        after.to_control(0),
        Tick(ts=0),
        Tick(ts=0),
        _slate("c"),
    ]


def _slate(request_id: str) -> Impression:
    shown = ShownItem(item_id="i", propensity=1.0, method="exact", features={"price": 1.0})
    return Impression(
        ts=0, request_id=request_id, recommender="r", slate=(shown,), context={"hour": 1.0}
    )
