"""The service's own pieces in one process, in a small world whose every value is known."""

import itertools

import numpy as np

from engine.batches import Candidates, Requests
from streams.config import EngineConfig, PolicyConfig, RecommenderConfig
from streams.events import Feedback, Impression, Item, Pool, ShownItem, Tick, encode_event
from streams.log.base import CATALOGUE, EVENTS
from streams.log.memory import MemoryLog
from streams.shard import Shard

ITEMS = ("a", "b", "c", "d", "e")
SEGMENTS = ("new", "old")
# Chance of a click in the first slot; the second is looked at 60 % of the time.
CHANCE = {
    "new": dict(zip(ITEMS, (0.6, 0.2, 0.3, 0.1, 0.4), strict=True)),
    "old": dict(zip(ITEMS, (0.2, 0.5, 0.1, 0.4, 0.3), strict=True)),
}
LOOK = (1.0, 0.6)
START, WINDOW_MS = 1_700_000_000_000, 3000
SEGMENT = {"type": "categorical", "name": "segment", "values": list(SEGMENTS)}


def settings(spec="linear-thompson:floor=0.3,alpha=0.5", learn="close"):
    return EngineConfig(
        policies={"main": PolicyConfig(spec=spec, features=(SEGMENT,))},
        recommenders={
            "default": RecommenderConfig(
                policy="main", window_seconds=WINDOW_MS / 1000, learn=learn
            )
        },
    )


def true_value(table):
    """Expected clicks of a slate drawn without replacement from fixed item probabilities."""
    total = 0.0
    for first, second in itertools.permutations(ITEMS, 2):
        chance = table[first] * table[second] / (1 - table[first])
        for segment in SEGMENTS:
            clicks = CHANCE[segment][first] * LOOK[0] + CHANCE[segment][second] * LOOK[1]
            total += chance * clicks / len(SEGMENTS)
    return total


def serve(seed, slates=3000, batch=100, config=None):
    """Serve slates from a policy that learns as delayed clicks come in; return the log."""
    config = config or settings()
    rng = np.random.default_rng([seed, 1])
    log, shard, policy = MemoryLog(START), Shard(), config.policies["main"].build("main")
    log.append(EVENTS, [("control", encode_event(config.to_control(START)))])
    log.append(CATALOGUE, [(item, encode_event(Item(id=item, ts=START))) for item in ITEMS])
    log.append(CATALOGUE, [("pool", encode_event(Pool(name="home", ts=START, item_ids=ITEMS)))])
    clicks = []  # (due, event), each within its window
    for number in range(0, slates, batch):
        shard.fold(log.poll(EVENTS, shard.next_offset, 10**6))
        posterior = policy.derive(shard.states["main"])
        segments = [str(segment) for segment in rng.choice(SEGMENTS, batch)]
        ids = [f"run-{seed}-{number + i}" for i in range(batch)]  # they seed the draws
        contexts = [{"segment": segment} for segment in segments]
        candidates = [Candidates.of(posterior, ITEMS)] * batch
        requests = Requests.of(policy.schema.encode(contexts), ids, candidates)
        ranked = policy.rank(posterior, requests, 2)
        for i in range(batch):
            log.time_ms += 20
            while clicks and clicks[0][0] <= log.time_ms:
                log.append(EVENTS, [("r", encode_event(clicks.pop(0)[1]))])
            picks = [ITEMS[pick] for pick in ranked.picks[i]]
            shown = [
                ShownItem(item_id=item, propensity=float(p), method=ranked.method)
                for item, p in zip(picks, ranked.propensity[i], strict=True)
            ]
            impression = Impression(
                request_id=ids[i],
                ts=log.time_ms,
                recommender="default",
                slate=tuple(shown),
                context=contexts[i],
                pool="home",
                catalogue_version=len(ITEMS) + 1,
            )
            log.append(EVENTS, [(ids[i], encode_event(impression))])
            for slot, item in enumerate(picks):
                if rng.random() < CHANCE[segments[i]][item] * LOOK[slot]:
                    due = log.time_ms + int(rng.integers(0, WINDOW_MS - 500))
                    event = Feedback(
                        event_id=f"{ids[i]}-{slot}",
                        request_id=ids[i],
                        ts=due,
                        item_id=item,
                        kind="click",
                    )
                    clicks.append((due, event))
            clicks.sort(key=lambda pair: pair[0])
    for due, event in clicks:
        log.time_ms = max(log.time_ms, due)
        log.append(EVENTS, [("r", encode_event(event))])
    log.time_ms += 2 * WINDOW_MS
    log.append(EVENTS, [("tick", encode_event(Tick(ts=log.time_ms)))])
    return log
