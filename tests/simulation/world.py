"""One seed: processes, clients, an operator and a clock take steps in an order drawn from it."""

from collections.abc import Callable

from streams.errors import LostRecordsError
from streams.host import Pace
from streams.log.base import EVENTS
from streams.membership import Membership, SoleOwner
from streams.positions import Position
from tests.simulation import checks
from tests.simulation.audience import Audience
from tests.simulation.broker import Broker, BrokerClient, SteppedAppender
from tests.simulation.chaos import Chaos, CrashError
from tests.simulation.group import Group, Member
from tests.simulation.ledger import Ledger, ViolationError, require
from tests.simulation.oracle import Oracle
from tests.simulation.process import Process
from tests.simulation.storage import SharedStore, StoreClient
from tests.simulation.traffic import HOUR_MS, Traffic, draw_config
from tests.streams.cases import START

STEPS = 90
DEEPEST = 3  # processes that stand still at once
TURNS = 200  # that everything may take to settle
CLOCK_MS = (0, 1, 200, 1_000, 2_000, 6_000, 20_000, 50_000, 130_000)


class World:
    """Everything there is for one seed."""

    def __init__(self, seed: int, storage: SharedStore) -> None:
        self.seed = seed
        self.chaos = chaos = Chaos(seed)
        chaos.now = START
        self.storage = storage
        self.broker = Broker(START, chaos.rng.randint(1, 4))
        self.partitions = len(self.broker.begins)
        self.shards = [(EVENTS, number) for number in range(self.partitions)]
        self.ledger = Ledger(self._audit)
        self.oracle = Oracle(self.broker.log, self.ledger, chaos.pick([1, 7, 1000]))
        self._close_look = chaos.chance(0.15)
        self.group = Group(chaos, self.ledger, self.shards)
        self.configs = [draw_config(chaos) for _ in range(3)]
        self.current = self.configs[0]
        self.traffic = Traffic(chaos, self.configs)
        self.hosts = chaos.rng.randint(1, 4)
        self.processes: list[Process] = []
        self.audience = self._seat() if chaos.chance(0.15) else None
        self._born = 0
        self._depth = 0
        self._service()
        actions: list[tuple[float, Callable[[], None]]] = [
            (6, self._turn),
            (4, self._happen),
            (3, self._append),
            (3, self._pass_time),
            (1, self._start),
            (0.4, self._rebalance),
            (0.3, self._expire),
            (0.3, self._kill),
            (0.3, self._stop),
            (0.3, self._retain),
            (0.3, self._break),
            (0.2, self._change),
            (2.0 if self.audience else 0.0, self._publish),
        ]
        self._actions = [action for _, action in actions]
        self._weights = [weight for weight, _ in actions]

    def run(self) -> None:
        """Live, settle, and be checked."""
        for _ in range(self.hosts):
            self._start()
        for _ in range(STEPS):
            self.step()
        self.settle()

    def step(self) -> None:
        """Let one thing happen."""
        self.chaos.rng.choices(self._actions, self._weights)[0]()

    def settle(self) -> None:
        """End all faults, let one healthy process catch up, and check everything."""
        chaos = self.chaos
        chaos.quiet = True
        self.broker.down = self.storage.down = False
        chaos.note("world", "faults end")
        self.broker.log.time_ms = max(self.broker.log.time_ms, chaos.now)
        while not self.traffic.done:
            self.traffic.send(self._appender, 1000)
            self._appender.step()
            self.traffic.hear()
        last = self._make("last", 0)
        last.join(SoleOwner(self.shards))
        for number in range(TURNS):
            self._live(last)
            self._advance(chaos.pick([1_000, 2_000, 20_000]))
            if number == 2:
                self._wake_zombies()
            elif number > 2 and checks.is_settled(last, self.shards):
                break
        else:
            raise ViolationError(f"nothing settled within {TURNS} turns: {checks.progress(last)}")
        checks.check_all(self, last)

    def _wake_zombies(self) -> None:
        for process in self.processes:
            self.chaos.note(process.name, "wakes up")
            self._live(process)
        self.processes = []

    # What may happen.

    def _turn(self) -> None:
        idle = [process for process in self.processes if not process.busy]
        if idle:
            process = self.chaos.pick(idle)
            if self.chaos.happens("deaf member") and isinstance(process.membership, Member):
                process.membership.deaf += self.chaos.rng.randint(1, 8)
            self._live(process)

    def _happen(self) -> None:
        for _ in range(self.chaos.rng.randint(1, 3)):
            self.traffic.happen()

    def _append(self) -> None:
        self.traffic.send(self._appender, self.chaos.rng.randint(1, 12))
        if self._appending:  # it stands still within a batch
            return
        self._appending = True
        try:
            self._appender.step()
        except CrashError:
            self.chaos.note("service", "dies")
            self.traffic.lose_service()
            self._service()
        finally:
            self._appending = False
        self.traffic.hear()

    def _pass_time(self) -> None:
        self._advance(self.chaos.pick(CLOCK_MS))
        if self.chaos.happens("clock steps back"):
            self.broker.log.time_ms -= self.chaos.rng.randint(1, 60_000)

    def _start(self) -> None:
        if len(self.processes) >= self.hosts:
            return
        self._born += 1
        skew = self.chaos.pick([0, 0, 0, 30_000, HOUR_MS, -HOUR_MS])
        process = self._make(f"host-{self._born}", skew)
        self.chaos.note(process.name, f"starts, its clock {skew} ms ahead")
        member = Member(self.group, process.name, process.at)
        process.join(member)
        self.processes.append(process)
        self.group.join(member)

    def _rebalance(self) -> None:
        self.group.share_out()

    def _expire(self) -> None:
        if self.group.members:
            self.group.expire(self.chaos.pick(self.group.members))

    def _kill(self) -> None:
        if self.processes:
            process = self.chaos.pick(self.processes)
            self.chaos.note(process.name, "is killed")
            process.doomed = True
            if not process.busy:
                self._bury(process)

    def _stop(self) -> None:
        idle = [process for process in self.processes if not process.busy]
        if idle:
            process = self.chaos.pick(idle)
            self.chaos.note(process.name, "is asked to stop")
            process.stop()
            self._bury(process)

    def _retain(self) -> None:
        for number in range(self.partitions):
            entry = self.ledger.entry((EVENTS, number))
            if entry.seq and self.chaos.chance(0.5):
                self.broker.remove(number, entry.join_offset)

    def _break(self) -> None:
        draw = self.chaos.rng.random()
        if draw < 0.3:
            self.broker.down = not self.broker.down
        elif draw < 0.6:
            self.storage.down = not self.storage.down
        elif draw < 0.65:
            self.chaos.note("database", "restarts")
            self.storage.restart()
        else:
            self.broker.down = self.storage.down = False
        state = {"broker": self.broker.down, "database": self.storage.down}
        self.chaos.note("world", f"down: {[name for name, down in state.items() if down]}")

    def _change(self) -> None:
        """Change the settings that processes get when they start."""
        self.current = self.chaos.pick(self.configs)
        self.chaos.note("operator", f"settings {self.current.state_hash}")

    def _publish(self) -> None:
        if self.audience is not None:
            self.audience.step()

    # How it is done.

    def _audit(self, position: Position) -> None:
        if self._close_look:
            checks.check_stored(self, position)

    def _seat(self) -> Audience:
        store = StoreClient(self.storage, self.ledger, self.chaos, lambda _: None)
        return Audience(self.storage.views, self.current, self.chaos, store, self.oracle)

    def _make(self, name: str, skew_ms: int) -> Process:
        return Process(
            name,
            self.current,
            chaos=self.chaos,
            broker=self.broker,
            storage=self.storage,
            ledger=self.ledger,
            meanwhile=self._meanwhile,
            skew_ms=skew_ms,
            pace=Pace(shortest=self.chaos.pick([0.1, 0.5, 5.0])),
        )

    def _service(self) -> None:
        self._appending = False
        log = BrokerClient(self.broker, self.chaos, self._at_service)
        self._appender = SteppedAppender(log, capacity=50, batch=self.chaos.pick([1, 5, 20]))

    def _at_service(self, point: str) -> None:
        if self.chaos.happens("crash"):
            raise CrashError(point)
        if self.chaos.happens("pause"):
            self._meanwhile(None)

    def _live(self, process: Process) -> None:
        if not process.turn():
            self._check_refusal(process)
            self._bury(process)

    def _check_refusal(self, process: Process) -> None:
        """Only records that a shard's owner needs no more are removed: zombies may miss them."""
        missed, refusal = process.log.missed, process.refusal
        zombie = (
            isinstance(refusal, LostRecordsError)
            and missed is not None
            and process.store.epochs.get(missed, 0) < self.ledger.entry(missed).epoch
        )
        require(refusal is None or zombie, f"{process.name} gave up: {refusal}")

    def _bury(self, process: Process) -> None:
        if process in self.processes:
            self.processes.remove(process)
        # Its session ends now or later; another process may be there before.
        if process.membership in self.group.members and self.chaos.chance(0.7):
            self.group.expire(process.membership)

    def _advance(self, ms: int) -> None:
        self.chaos.now += ms
        self.broker.log.time_ms += ms

    def _meanwhile(self, membership: Membership | None) -> None:
        if self._depth == DEEPEST:
            return
        self._depth += 1
        # A process that stands still is often given up: another takes its shards meanwhile.
        if self.chaos.chance(0.5) and membership in self.group.members:
            self.group.expire(membership)
        for _ in range(self.chaos.rng.randint(1, 12)):
            self.step()
        self._depth -= 1
