"""The joiner one event at a time, by dicts: what `streams.join` does over columns.

The clock is the running maximum of the append stamps and nothing closes except at a record: each
record first moves the clock, then every window whose deadline is reached closes, in the order
(deadline, offset), then the record itself is taken in. Why a suffix of the log may be folded again
to recover is told in `streams.agenda`.
"""

from __future__ import annotations

from engine.errors import ConfigError
from engine.features import Schema
from streams.agenda import ConfigHistory, JoinPoint, Remembered, request_key
from streams.config import EngineConfig, Forgetting
from streams.counts import Counts
from streams.errors import BadEventError
from streams.events import (
    Activation,
    Control,
    Event,
    Feedback,
    Impression,
    Item,
    Pool,
    User,
    encode_event,
)
from streams.log.base import Record
from streams.requests import DeadLetter
from streams.rows import encode_slate
from tests.naive.agenda import Agenda, ClosedRequests
from tests.naive.windows import Early, Outcome, Reply, Window

MIN_MEMORY_MS = 60_000


class NaiveJoiner:
    """The fold. Callers take ``outcomes`` away, and ``dead`` and ``remembered`` at commits.

    Parameters
    ----------
    start
        Where the fold starts; nothing is open there.
    fixed
        Keep to the settings given: control records only move the clock.

    Attributes
    ----------
    outcomes
        What was joined and not yet taken by the caller, in log order.
    dead
        Records that could not be used, since `mark_committed`.
    forgetting
        What the last record makes a policy forget.
    """

    def __init__(self, start: JoinPoint, *, fixed: bool = False) -> None:
        self.config = start.config
        self.clock = start.clock
        self.next_offset = start.offset
        self.counts = Counts()
        self.outcomes: list[Outcome] = []
        self.dead: list[DeadLetter] = []
        self.forgetting: Forgetting | None = None
        self._closed = ClosedRequests()
        self._open: dict[str, Window] = {}
        self._early: dict[str, dict[int, Early]] = {}  # by request id and offset
        self._agenda = Agenda()
        self._configs = ConfigHistory(start.offset, start.config)
        self._skipped: frozenset[int] = frozenset()
        self._schemas = _schemas(start.config)
        self._fixed = fixed

    @property
    def next_deadline(self) -> int | None:
        """When (ms) the first open window or early record expires, None without any."""
        return self._agenda.next_deadline()

    @property
    def closed(self) -> Remembered:
        """Closed requests still remembered."""
        return Remembered.of(self._closed.to_dict())

    @property
    def remembered(self) -> Remembered:
        """Closed requests whose forget time was set since `mark_committed`, and that time."""
        return Remembered.of(self._closed.changes)

    def mark_committed(self) -> None:
        """Start ``remembered`` and ``dead`` anew."""
        self._closed.changes, self.dead = {}, []

    def join_point(self) -> JoinPoint:
        """Where a fold must start to find again all that is open or early now."""
        offset, clock = self._agenda.start() or (self.next_offset, self.clock)
        return JoinPoint(offset, clock, self._configs.at(offset))

    def pending(self) -> dict[str, int]:
        """Count what is held, by type, from the windows and early records themselves."""
        held = {"impression": 0, "feedback": 0, "activation": 0}
        for window in self._open.values():
            held["impression"] += not window.settled
            held["feedback"] += window.unlearned
        for waiting in self._early.values():
            for early in waiting.values():
                held[_name(early.event)] += 1
        return {kind: n for kind, n in held.items() if n}

    def skip(self, closed: Remembered) -> None:
        """Begin to fold again, passing over the requests that a commit holds as closed."""
        self._skipped = frozenset(closed.keys.tolist())

    def resume(self, counts: Counts, closed: Remembered) -> None:
        """End folding again: what it produced is dropped, the commit's own counts hold."""
        self._skipped = frozenset()
        self.counts = counts
        self.outcomes, self.dead, self.forgetting = [], [], None
        self._closed = ClosedRequests(closed.to_dict())

    def add(self, record: Record, event: Event | BadEventError) -> None:
        """Take in the next record; ``event`` is what its value decodes to."""
        self.clock = max(self.clock, record.stamp)
        self._expire(record.offset)
        self.next_offset = record.offset + 1
        self.forgetting = None
        if isinstance(event, Impression | Feedback | Activation):
            if not self._skipped or request_key(event.request_id) not in self._skipped:
                self._join(event, record)
            return
        name = "unknown" if isinstance(event, BadEventError) else _name(event)
        self.counts.consume(name)
        if isinstance(event, Control) and not self._fixed:
            event = self._obey(event, record.offset)
        elif isinstance(event, Item | User | Pool):
            event = BadEventError("type", f"{name} records belong in the catalogue log", "/type")
        if isinstance(event, BadEventError):
            self.dead.append(DeadLetter.of(record, event))
        self.counts.settle(name, "dead" if isinstance(event, BadEventError) else "applied")

    def _expire(self, offset: int) -> None:
        while (due := self._agenda.pop_due(self.clock)) is not None:
            if isinstance(due, Window):
                self._close(due, offset)
            else:
                self._drop_early(due)
        self._closed.forget(self.clock)

    def _close(self, window: Window, offset: int) -> None:
        request_id = window.impression.request_id
        del self._open[request_id]
        if window.forget > self.clock:
            self._closed.remember(request_key(request_id), window.forget)
        if window.slots is None:
            self._mute(window, "filtered")
        elif window.recommender is not None:
            silent = sorted(window.slots - window.learned)
            self._learn(window, silent, offset, window.deadline)

    def _learn(self, window: Window, slots: list[int], offset: int, time_ms: int) -> None:
        if slots:
            self.outcomes.append(window.outcome(offset, slots, time_ms))
        self.counts.settle("feedback", "applied", window.unlearned, held=True)
        window.unlearned = 0
        if not window.settled and window.slots == frozenset(window.learned):
            window.settled = True
            self.counts.settle("impression", "applied", held=True)

    def _mute(self, window: Window, fate: str) -> None:
        if not window.settled:
            self.counts.settle("impression", fate, held=True)
        self.counts.settle("feedback", "filtered", window.unlearned, held=True)
        window.settled, window.unlearned = True, 0
        window.recommender = window.rows = None

    def _drop_early(self, early: Early) -> None:
        waiting = self._early[early.event.request_id]
        del waiting[early.offset]
        if not waiting:
            del self._early[early.event.request_id]
        self.counts.settle(_name(early.event), "orphan", held=True)

    def _join(self, event: Impression | Feedback | Activation, record: Record) -> None:
        name = _name(event)
        self.counts.consume(name)
        window = self._open.get(event.request_id)
        if window is not None:
            window.forget = max(window.forget, self._memory())
            if isinstance(event, Impression):
                self.counts.settle(name, "duplicate")
            else:
                self._apply(window, event, record.offset, held=False)
        elif (key := request_key(event.request_id)) in self._closed:
            self._closed.remember(key, self._memory())
            self.counts.settle(name, "duplicate" if isinstance(event, Impression) else "late")
        elif isinstance(event, Impression):
            self._open_window(event, record)
        else:
            deadline = self.clock + self.config.longest_window_ms
            early = Early(event, record.offset, self.clock, deadline)
            self._early.setdefault(event.request_id, {})[record.offset] = early
            self._agenda.track(early, record.offset, self.clock)
            self.counts.hold(name)

    def _open_window(self, impression: Impression, record: Record) -> None:
        recommender = self.config.recommenders.get(impression.recommender)
        rows = None
        if recommender is not None:
            try:
                rows = encode_slate(self._schemas[recommender.policy], impression)
            except BadEventError as error:
                self.dead.append(DeadLetter.of(record, error))
                self.counts.settle("impression", "dead")
                return
        window = Window(impression, record.offset, recommender, rows)
        window.started, window.forget = self.clock, self._memory()
        longest = self.config.longest_window_ms
        window.deadline = self.clock + (recommender.window_ms if recommender else longest)
        self._open[impression.request_id] = window
        if recommender is None:
            window.settled = True
            self.counts.settle("impression", "filtered")
        else:
            self.counts.hold("impression")
        waiting = self._early.pop(impression.request_id, {})
        self._adopt(window, list(waiting.values()), record.offset)

    def _adopt(self, window: Window, waiting: list[Early], offset: int) -> None:
        start = (window.offset, window.started)
        for early in waiting:
            early.alive = False
            start = min(start, (early.offset, early.started))
        self._agenda.track(window, *start)
        for early in waiting:
            self._apply(window, early.event, offset, held=True)

    def _apply(self, window: Window, event: Reply, offset: int, *, held: bool) -> None:
        if isinstance(event, Activation):
            fate = self._activate(window, event, offset)
        else:
            fate, slot = window.judge(event)
            if fate == "applied" and window.learns_at_once:
                self._learn(window, [slot], offset, self.clock)
            elif fate == "applied":
                window.unlearned += 1
                if not held:
                    self.counts.hold("feedback")
                return
        self.counts.settle(_name(event), fate, held=held)

    def _activate(self, window: Window, activation: Activation, offset: int) -> str:
        fate, unseen = window.activate(activation)
        if fate == "applied":
            self.counts.settle("feedback", "not_shown", unseen, held=True)
            window.deadline = self.clock + window.window_ms
            self._agenda.expect(window)
            if window.learns_at_once:
                self._learn(window, list(window.rewards), offset, self.clock)
        return fate

    def _obey(self, control: Control, offset: int) -> Control | BadEventError:
        try:
            if control.change == "configure":
                self._configure(EngineConfig.from_control(control), offset)
            else:
                self.forgetting = Forgetting.from_control(control, self.config)
        except ConfigError as error:
            return BadEventError("config", str(error), "/settings")
        return control

    def _configure(self, config: EngineConfig, offset: int) -> None:
        before, self._schemas = self._schemas, _schemas(config)
        self.config = config
        self._configs.put(offset + 1, config)
        for window in sorted(self._open.values(), key=lambda window: window.offset):
            if window.recommender is not None:
                self._fit(window, before)

    def _fit(self, window: Window, before: dict[str, Schema]) -> None:
        assert window.recommender is not None
        name = window.recommender.policy
        schema = self._schemas.get(name)
        if schema is None:
            self._mute(window, "filtered")
        elif schema != before[name]:
            try:
                window.rows = encode_slate(schema, window.impression)
            except BadEventError as error:
                value = encode_event(window.impression)
                record = Record(window.offset, window.started, "", value)
                self.dead.append(DeadLetter.of(record, error))
                self._mute(window, "dead")

    def _memory(self) -> int:
        longest = self.config.longest_window_ms
        return self.clock + longest + max(longest, MIN_MEMORY_MS)


def _name(event: Event) -> str:
    return str(event.__struct_config__.tag)


def _schemas(config: EngineConfig) -> dict[str, Schema]:
    return {name: policy.schema for name, policy in config.policies.items()}
