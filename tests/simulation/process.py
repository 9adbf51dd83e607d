"""A process that learns, and dies, stands still or is woken up between any two of its steps."""

from collections.abc import Callable

from streams.config import EngineConfig
from streams.errors import RefusedError, UnfitTopicError
from streams.host import Host, Pace
from streams.learner import Learner
from streams.membership import Membership
from tests.simulation.broker import Broker, BrokerClient
from tests.simulation.chaos import Chaos, CrashError
from tests.simulation.ledger import Ledger
from tests.simulation.storage import SharedStore, StoreClient

Meanwhile = Callable[[Membership | None], None]


class _Stopped:
    """A stop event that is set."""

    def is_set(self) -> bool:
        return True


class Process:
    """A `Host` and all that it is connected to.

    Attributes
    ----------
    busy
        It is within a turn, perhaps standing still there.
    doomed
        It dies at its next step.
    """

    def __init__(
        self,
        name: str,
        config: EngineConfig,
        *,
        chaos: Chaos,
        broker: Broker,
        storage: SharedStore,
        ledger: Ledger,
        meanwhile: Meanwhile,
        skew_ms: int = 0,
        pace: Pace | None = None,
    ) -> None:
        self.name = name
        self.busy = self.doomed = False
        self.refusal: Exception | None = None
        self._chaos = chaos
        self._config = config
        self._meanwhile = meanwhile
        self._pace = pace
        self.log = BrokerClient(broker, chaos, self.at, skew_ms)
        self.store = StoreClient(storage, ledger, chaos, self.at)
        self.membership: Membership | None = None
        self._host: Host | None = None

    @property
    def host(self) -> Host:
        """The host; there is one once the process joined a group."""
        assert self._host is not None
        return self._host

    def join(self, membership: Membership) -> None:
        """Begin to learn what a membership assigns."""
        self.membership = membership
        self._host = Host(
            self._make, membership, pace=self._pace, clock=lambda: self._chaos.now / 1000
        )

    def at(self, point: str) -> None:
        """Pass a point between two steps."""
        if self._chaos.quiet and not self.doomed:
            return
        self._chaos.note(self.name, point)
        if self.doomed or self._chaos.happens("crash"):
            raise CrashError(point)
        if self._chaos.happens("pause"):
            self._chaos.note(self.name, f"stands still at: {point}")
            self._meanwhile(self.membership)
            self._chaos.note(self.name, f"goes on from: {point}")
            if self.doomed:
                raise CrashError(point)

    def turn(self) -> bool:
        """Take a turn; returns whether the process still lives."""
        return self._do(self.host.turn)

    def stop(self) -> None:
        """End as on SIGTERM."""
        self._do(lambda: self.host.run(_Stopped()))

    def _do(self, work: Callable[[], object]) -> bool:
        self.busy = True
        try:
            work()
        except CrashError as crash:
            self._chaos.note(self.name, f"dies at: {crash}")
            return False
        except (RefusedError, UnfitTopicError) as error:
            self._chaos.note(self.name, f"gives up: {error}")
            self.refusal = error
            return False
        finally:
            self.busy = False
        return True

    def _make(self, _: str, partition: int) -> Learner:
        point = lambda name: self.at(f"{name} {partition}")  # noqa: E731
        return Learner(self.log, self.store, self._config, partition=partition, point=point)
