"""What clients send: slates, reactions, repeats, rubbish, and settings changed by operators."""

from concurrent.futures import Future
from dataclasses import dataclass, field

from engine.drift import Drift
from streams.config import EngineConfig, Forgetting, PolicyConfig, RecommenderConfig
from streams.errors import LogError
from streams.events import Activation, Event, Feedback, Impression, ShownItem, Tick, encode_event
from streams.log.base import EVENTS, Place
from tests.simulation.broker import SteppedAppender
from tests.simulation.chaos import Chaos
from tests.streams.cases import DEVICE, HOUR

HOUR_MS = 3_600_000
ITEMS = "abcdef"
SPECS = (
    "linear-greedy",
    "linear-ucb:half_life_seconds=20",
    "beta-thompson",
    "poisson-ucb:half_life_seconds=300",
)
RUBBISH = (
    b"",
    b"{",
    b"null",
    b"\xff\xfe",
    b'{"type":"item","ts":0,"id":"a"}',
    b'{"type":"tick","ts":-1}',
    b'{"type":"feedback","ts":0,"event_id":"e","request_id":"r1","item_id":"a","kind":"click",'
    b'"value":1e999}',
    b'{"type":"impression","ts":0,"request_id":"r2","recommender":"default","slate":[]}',
    b'{"type":"control","ts":0,"change":"configure","settings":{"policies":{"p":{"spec":"no"}}}}',
    b"[" * 300,
)


def draw_config(chaos: Chaos) -> EngineConfig:
    """Draw settings that differ in all that control records may change."""
    names = chaos.rng.sample(["default", "other"], chaos.rng.randint(1, 2))
    drift = Drift(
        detector="page-hinkley",
        action=chaos.pick(["decay", "reset"]),
        delta=0.01,
        threshold=chaos.pick([0.5, 3.0]),
    )
    return EngineConfig(
        policies={
            f"policy-{name}": PolicyConfig(
                spec=chaos.pick(SPECS),
                features=chaos.pick([(), (HOUR,), (HOUR, DEVICE), (DEVICE,)]),
                drift=chaos.pick([None, drift]),
            )
            for name in names
        },
        recommenders={name: _draw_recommender(chaos, f"policy-{name}") for name in names},
    )


def _draw_recommender(chaos: Chaos, policy: str) -> RecommenderConfig:
    first = chaos.chance(0.3)
    return RecommenderConfig(
        policy=policy,
        window_seconds=chaos.pick([0.001, 5, 20, 60]),
        default_reward=chaos.pick([0, -0.5]),
        kinds={"click": 1.0, "buy": 5.0},
        learn="first" if first else "close",
        aggregation="earliest" if first else chaos.pick(["earliest", "last", "max", "sum"]),
    )


@dataclass
class _Sent:
    key: str
    value: bytes
    answer: Future[Place] = field(repr=False)


class Traffic:
    """Clients of the service: each sends a record again until it is told that it was logged.

    Attributes
    ----------
    logged
        Records whose place clients were told.
    """

    def __init__(self, chaos: Chaos, configs: list[EngineConfig]) -> None:
        self.logged: list[tuple[Place, str, bytes]] = []
        self._chaos = chaos
        self._configs = configs
        self._outbox: list[tuple[str, bytes]] = []
        self._sent: list[_Sent] = []
        self._requests: list[str] = []
        self._serial = 0

    @property
    def done(self) -> bool:
        """Whether nothing is left to be sent or answered."""
        return not self._outbox and not self._sent

    def happen(self) -> None:
        """Let one thing happen, at one or several clients."""
        draw = self._chaos.rng.random()
        if draw < 0.6:
            self._show()
        elif draw < 0.85:
            self._react(self._known())
        elif draw < 0.89:
            self._put(Tick(ts=self._time()), "tick")
        elif draw < 0.95:
            self._control()
        else:
            self._outbox.append((f"x{self._chaos.rng.randrange(9)}", self._chaos.pick(RUBBISH)))

    def send(self, appender: SteppedAppender, n: int) -> None:
        """Send some of what waits, in any order."""
        for _ in range(min(n, len(self._outbox))):
            key, value = self._outbox.pop(self._chaos.rng.randrange(len(self._outbox)))
            try:
                self._sent.append(_Sent(key, value, appender.submit(EVENTS, key, value)))
            except LogError:  # the queue is full
                self._outbox.append((key, value))
                return
            if self._chaos.happens("acknowledgement lost"):
                self._outbox.append((key, value))

    def hear(self) -> None:
        """Read the answers there are; what failed is sent again."""
        waiting = []
        for sent in self._sent:
            if not sent.answer.done():
                waiting.append(sent)
            elif sent.answer.exception() is not None:
                self._outbox.append((sent.key, sent.value))
            else:
                self.logged.append((sent.answer.result(), sent.key, sent.value))
        self._sent = waiting

    def lose_service(self) -> None:
        """The service died: whatever it did not answer is sent again."""
        self.hear()
        self._outbox += [(sent.key, sent.value) for sent in self._sent]
        self._sent = []

    def _show(self) -> None:
        rng = self._chaos.rng
        if self._requests and rng.random() < 0.1:
            request_id = self._known()  # an id used again
        else:
            self._serial += 1
            request_id = f"r{self._serial}"
            self._requests.append(request_id)
        items = rng.sample(ITEMS, rng.randint(1, 4))
        deferred = rng.random() < 0.3
        slate = tuple(ShownItem(item_id=i, propensity=0.5, method="exact") for i in items)
        self._put(
            Impression(
                ts=self._time(),
                request_id=request_id,
                recommender=self._chaos.pick(["default", "default", "other", "nobody"]),
                slate=slate,
                context=self._chaos.pick([{}, {"hour": 5}, {"hour": 7.5, "device": "web"}]),
                weight=self._chaos.pick([1.0, 2.5]),
                deferred=deferred,
            ),
            request_id,
        )
        if deferred and rng.random() < 0.8:
            slots = self._chaos.pick([None, (0,), (0, 1), (9,)])
            self._put(Activation(ts=self._time(), request_id=request_id, slots=slots), request_id)
        for _ in range(self._chaos.pick([0, 0, 1, 2])):
            self._react(request_id)

    def _react(self, request_id: str) -> None:
        self._put(
            Feedback(
                ts=self._time(),
                event_id=f"e{self._chaos.rng.randrange(6)}",
                request_id=request_id,
                item_id=self._chaos.pick(ITEMS),
                kind=self._chaos.pick(["click", "click", "buy", "view"]),
                value=self._chaos.pick([1.0, 0.25, 0.0]),
                slot=self._chaos.pick([None, None, None, 0, 2]),
            ),
            request_id,
        )

    def _control(self) -> None:
        chaos = self._chaos
        if chaos.chance(0.5):
            control = chaos.pick(self._configs).to_control(self._time())
        else:
            policy = chaos.pick(["policy-default", "policy-other", "nobody"])
            halvings = chaos.pick([0, 1, 3, 2000])
            control = Forgetting(policy=policy, halvings=halvings).to_control(self._time())
        self._put(control, f"control-{chaos.rng.randrange(20)}")

    def _known(self) -> str:
        return self._chaos.pick(self._requests[-12:] or ["r0"])

    def _time(self) -> int:
        """Time by a client's clock, up to an hour off."""
        return self._chaos.now + self._chaos.rng.randint(-HOUR_MS, HOUR_MS)

    def _put(self, event: Event, key: str) -> None:
        for _ in range(1 + self._chaos.chance(0.05)):
            self._outbox.append((key, encode_event(event)))
