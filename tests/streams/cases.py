"""Streams and settings that the tests of this folder share."""

import random
from collections.abc import Iterable, Sequence

import numpy as np
from msgspec import structs

from streams.columns import RecordSpans
from streams.config import EngineConfig, Forgetting, PolicyConfig, RecommenderConfig
from streams.events import (
    Activation,
    Event,
    Feedback,
    Impression,
    ShownItem,
    Tick,
    encode_event,
)
from streams.join import Joiner, JoinPoint
from streams.joined import Joined
from streams.log.base import EVENTS, Record
from streams.log.memory import MemoryLog
from streams.scan import decode_columns
from tests.naive.windows import Outcome

HOUR = {"type": "numeric", "name": "hour", "center": 12, "scale": 6}
DEVICE = {"type": "categorical", "name": "device", "values": ["ios", "web"]}
PRICE = {"type": "numeric", "name": "price", "of": "item", "center": 5, "scale": 2}
START = 1_700_000_000_000


def settings(
    *features: dict, window: float = 20.0, learn: str = "close", spec: str = "linear-greedy"
) -> EngineConfig:
    """One policy ``main`` behind one recommender ``default``."""
    return EngineConfig(
        policies={"main": PolicyConfig(spec=spec, features=features)},
        recommenders={
            "default": RecommenderConfig(
                policy="main", window_seconds=window, learn=learn, kinds={"click": 1.0, "buy": 5.0}
            )
        },
    )


def impression(request_id: str, items: Iterable[str] = "ab", **fields: object) -> Impression:
    slate = tuple(ShownItem(item_id=item, propensity=0.5, method="exact") for item in items)
    given = {"recommender": "default", "context": {"hour": 3.0, "device": "ios"}, **fields}
    return Impression(ts=0, request_id=request_id, slate=slate, **given)


def click(request_id: str, item_id: str = "a", event_id: str = "e", **fields: object) -> Feedback:
    given = {"kind": "click", **fields}
    return Feedback(ts=0, event_id=event_id, request_id=request_id, item_id=item_id, **given)


def take_in(joiner: Joiner, records: Sequence[Record]) -> None:
    """Let a joiner take in records."""
    spans = RecordSpans.of(records)
    while spans.n:
        columns = decode_columns(joiner.plan, spans)
        joiner.add(columns)
        spans = spans.cut(columns.n, spans.n)


def told(joined: Iterable[Joined]) -> list[Outcome]:
    """Outcomes one by one, in the order they were joined."""
    found = []
    for policy, outcomes, number, offset, opened in joined:
        for each in np.unique(number):
            rows = np.flatnonzero(number == each)
            row = rows[0]
            part = outcomes.take(rows)
            outcome = Outcome(
                offset=int(offset[row]),
                opened=int(opened[row]),
                policy=policy,
                slots=tuple(part.slot.tolist()),
                item_ids=tuple(part.item_ids),
                x=part.x[0],
                reward=tuple(part.reward.tolist()),
                weight=float(part.weight[0]),
                time_ms=int(part.time_ms[0]),
                propensity=tuple(part.propensity.tolist()),
                last=int(part.last[0]),
                z=part.z if part.z.shape[1] else None,
            )
            assert (part.x == outcome.x).all()
            assert set(part.time_ms.tolist()) == {outcome.time_ms}
            assert set(part.last.tolist()) == {outcome.last}
            assert (part.slate == each).all()
            found.append((int(each), outcome))
    return [outcome for _, outcome in sorted(found, key=lambda pair: pair[0])]


class Bench:
    """A joiner fed one event at a time, at times in seconds."""

    def __init__(self, config: EngineConfig, **options: object) -> None:
        self.joiner = Joiner(JoinPoint(0, 0, config), **options)

    def at(self, seconds: float, event: Event | bytes) -> "Bench":
        offset = self.joiner.next_offset
        value = event if isinstance(event, bytes) else encode_event(event)
        take_in(self.joiner, [Record(offset, START + round(1000 * seconds), "", value)])
        assert self.joiner.counts.exact
        assert self.joiner.counts.pending == self.joiner.pending()
        return self

    def tick(self, seconds: float) -> "Bench":
        return self.at(seconds, Tick(ts=0))

    @property
    def outcomes(self) -> list[Outcome]:
        return told(self.joiner.outcomes)

    def fates(self, kind: str) -> dict[str, int]:
        return {fate: n for fate, n in self.joiner.counts.to_dict()[kind].items() if n}

    def rewards(self) -> list[tuple[str, float]]:
        return [
            (item, reward)
            for outcome in self.outcomes
            for item, reward in zip(outcome.item_ids, outcome.reward, strict=True)
        ]


def comparable(outcome: Outcome) -> tuple:
    """An outcome as plain data, its features to the bit."""
    z = None if outcome.z is None else outcome.z.tobytes()
    return tuple(outcome._replace(x=outcome.x.tobytes(), z=z))


STEPS_MS = [0, 0, 1, 500, 4_000, 9_000, 15_000, 20_000, 30_000, 130_000]


def random_config(rng: random.Random) -> EngineConfig:
    """Settings that differ in everything control records may change."""
    features = rng.choice([(), (HOUR,), (HOUR, DEVICE), (DEVICE,), (PRICE, HOUR)])
    spec = rng.choice(["linear-greedy", "linear-ucb:half_life_seconds=20", "beta-thompson"])
    names = rng.sample(["default", "other"], rng.randint(1, 2))
    return EngineConfig(
        policies={
            f"policy-{name}": PolicyConfig(spec=spec, features=features)
            for name in rng.sample(names, len(names))
        },
        recommenders={
            name: RecommenderConfig(
                policy=f"policy-{name}",
                window_seconds=rng.choice([0.001, 20, 100]),
                default_reward=rng.choice([0, -0.5]),
                kinds=rng.choice([{"click": 1.0}, {"click": 1.0, "view": 0.5}, {"view": -2.0}]),
                **rng.choice(
                    [
                        {"learn": "first"},
                        *({"aggregation": each} for each in ("earliest", "last", "max", "sum")),
                    ]
                ),
            )
            for name in names
        },
    )


REQUESTS = ("r0", "r1", "r2", "r3", "r4", "r\u00e95", 'r"6')
EVENTS_SEEN = ("e0", "e1", "e2", "e3", "\u20ac4", "e\\5")


def random_event(rng: random.Random) -> bytes:
    """One record: few request ids, so that they repeat, come early, late and come back."""
    request_id = rng.choice(REQUESTS)
    items = "".join(rng.sample("abcde\u00e4", rng.randint(1, 4)))
    draw = rng.random()
    if draw < 0.4:
        event: Event = random_impression(rng, request_id, items)
    elif draw < 0.7:
        event = click(
            request_id,
            rng.choice("abcde\u00e4"),
            rng.choice(EVENTS_SEEN),
            kind=rng.choice(["click", "click", "view"]),
            value=rng.choice([1.0, 0.25]),
            slot=rng.choice([None, None, None, 0, 2]),
        )
    elif draw < 0.85:
        slots = rng.choice([None, (0,), (1, 3), (9,)])
        event = Activation(ts=0, request_id=request_id, slots=slots)
    elif draw < 0.92:
        event = Tick(ts=0)
    elif draw < 0.94:
        event = random_config(rng).to_control(0)
    elif draw < 0.97:
        policy = rng.choice(["policy-default", "policy-other", "nobody"])
        event = Forgetting(policy=policy, halvings=rng.choice([0, 1, 3, 2000])).to_control(0)
    else:
        return rng.choice([b"{", b"\xff", b'{"type":"item","ts":0,"id":"a"}', b"null"])
    return encode_event(event)


def random_impression(rng: random.Random, request_id: str, items: str) -> Impression:
    """A slate, now and then with features that do not fit, or escapes in its JSON."""
    seen = impression(
        request_id,
        items,
        recommender=rng.choice(["default", "default", "other", "nobody"]),
        deferred=rng.random() < 0.5,
        weight=rng.choice([1.0, 2.5]),
        context=rng.choice([{}, {"hour": 5}, {"hour": 7.5, "device": "web"}, {"hour": "x"}]),
    )
    priced = [
        structs.replace(
            shown, features=rng.choice([None, {}, {"price": 3.5}, {"price": 9, "colour": "red"}])
        )
        for shown in seen.slate
    ]
    if rng.random() < 0.05:
        priced[-1] = structs.replace(priced[-1], features={"price": "dear"})
    return structs.replace(seen, slate=tuple(priced))


def random_log(seed: int, length: int) -> MemoryLog:
    """A log that starts with a control record, its stamps in bursts and leaps."""
    rng = random.Random(seed)
    log = MemoryLog(START)
    log.append(EVENTS, [("control", encode_event(random_config(rng).to_control(0)))])
    for _ in range(length):
        log.time_ms += rng.choice(STEPS_MS)
        log.append(EVENTS, [("", random_event(rng))])
    return log
