"""What the joiner holds of a request: an open reward window, or records that came too early."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streams.config import RecommenderConfig
from streams.events import Activation, Feedback, Impression
from streams.rows import SlateRows

Floats = NDArray[np.float64]
Reply = Feedback | Activation  # what may come of a slate
_COMBINE: dict[str, Callable[[float, float], float]] = {
    "last": lambda _, new: new,
    "max": max,
    "sum": operator.add,
}


class Outcome(NamedTuple):
    """Slots of one slate, learned together, produced by the record at ``offset``.

    ``time_ms`` is when the rewards became final: the feedback's stamp, or the window's deadline.
    It never goes back from one outcome to the next.
    """

    offset: int
    opened: int  # offset of the impression
    policy: str
    slots: tuple[int, ...]
    item_ids: tuple[str, ...]
    x: Floats  # (d,), shared by the slots
    reward: tuple[float, ...]
    weight: float
    time_ms: int
    propensity: tuple[float, ...]
    last: int  # last slot of the slate with a reaction so far, -1 for none
    z: Floats | None = None  # (slots, e); None when the schema has no item features


class Early:
    """A feedback or activation that waits for its impression."""

    __slots__ = ("alive", "deadline", "event", "offset", "started")

    def __init__(self, event: Reply, offset: int, started: int, deadline: int) -> None:
        self.event = event
        self.offset = offset
        self.started = started
        self.deadline = deadline
        self.alive = True


class Window:
    """An impression whose reward window runs.

    ``recommender`` is the configuration in force when it opened; None when its slots are not
    learned (unknown recommender, policy gone): the window then only tells its feedback apart
    from orphans. ``slots`` are those learned, None for a deferred slate not yet activated.
    """

    __slots__ = (
        "alive",
        "deadline",
        "events",
        "forget",
        "impression",
        "learned",
        "offset",
        "recommender",
        "replies",
        "rewards",
        "rows",
        "settled",
        "slots",
        "started",
        "unlearned",
    )

    def __init__(
        self,
        impression: Impression,
        offset: int,
        recommender: RecommenderConfig | None,
        rows: SlateRows | None,
    ) -> None:
        self.impression = impression
        self.offset = offset
        self.recommender = recommender
        self.rows = rows
        self.slots: frozenset[int] | None = None
        if not impression.deferred:
            self.slots = frozenset(range(len(impression.slate)))
        self.started = 0  # clock when it opened, ms
        self.deadline = 0
        self.forget = 0
        self.settled = False  # whether the impression has its fate
        self.rewards: dict[int, float] = {}  # by slot
        self.replies: dict[int, int] = {}  # feedback that each reward is made of
        self.unlearned = 0  # feedback among them that is still pending
        self.learned: set[int] = set()
        self.events: set[str] = set()  # event ids seen
        self.alive = True

    @property
    def learns_at_once(self) -> bool:
        """Whether a slot is learned at its first feedback, and may be by now."""
        recommender = self.recommender
        return recommender is not None and recommender.learn == "first" and self.slots is not None

    @property
    def window_ms(self) -> int:
        """How long the window runs."""
        assert self.recommender is not None
        return self.recommender.window_ms

    def judge(self, feedback: Feedback) -> tuple[str, int]:
        """Fate of a feedback and the slot it is about; when ``applied``, it is in the reward."""
        if feedback.event_id in self.events:
            return "duplicate", -1
        self.events.add(feedback.event_id)
        slot = self._find_slot(feedback)
        if slot < 0 or (self.slots is not None and slot not in self.slots):
            return "not_shown", slot
        recommender = self.recommender
        if recommender is None or feedback.kind not in recommender.kinds:
            return "filtered", slot
        value = recommender.kinds[feedback.kind] * feedback.value
        if slot in self.rewards:
            if recommender.aggregation == "earliest":
                return "filtered", slot
            value = _COMBINE[recommender.aggregation](self.rewards[slot], value)
        self.rewards[slot] = value
        self.replies[slot] = self.replies.get(slot, 0) + 1
        return "applied", slot

    def activate(self, activation: Activation) -> tuple[str, int]:
        """Fate of an activation, and how much pending feedback is on slots it leaves out."""
        if self.recommender is None or not self.impression.deferred:
            return "filtered", 0
        if self.slots is not None:
            return "duplicate", 0
        shown = range(len(self.impression.slate))
        seen = frozenset(shown if activation.slots is None else activation.slots) & set(shown)
        if not seen:
            return "not_shown", 0
        self.slots = seen
        unseen = [slot for slot in self.rewards if slot not in seen]
        dropped = sum([self.replies.pop(slot) for slot in unseen])
        for slot in unseen:
            del self.rewards[slot]
        self.unlearned -= dropped
        return "applied", dropped

    def _find_slot(self, feedback: Feedback) -> int:
        slate = self.impression.slate
        if feedback.slot is not None:
            shown = feedback.slot < len(slate)
            same = shown and slate[feedback.slot].item_id == feedback.item_id
            return feedback.slot if same else -1
        for slot, item in enumerate(slate):
            if item.item_id == feedback.item_id:
                return slot
        return -1

    def outcome(self, offset: int, slots: list[int], time_ms: int) -> Outcome:
        """Make the outcome of some slots; marks them learned."""
        assert self.recommender is not None
        assert self.rows is not None
        self.learned.update(slots)
        default = self.recommender.default_reward
        slate = self.impression.slate
        shown = [slate[slot] for slot in slots]
        rewards = self.rewards
        x, z = self.rows
        return Outcome(
            offset=offset,
            opened=self.offset,
            policy=self.recommender.policy,
            slots=tuple(slots),
            item_ids=tuple([item.item_id for item in shown]),
            x=x,
            reward=tuple([rewards.get(slot, default) for slot in slots]),
            weight=self.impression.weight,
            time_ms=time_ms,
            propensity=tuple([item.unbiased for item in shown]),
            last=max(rewards, default=-1),
            z=None if z is None else z[slots],
        )
