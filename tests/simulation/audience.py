"""A host's publisher and a server that reads what it publishes, checked against the log."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from engine.batches import Posterior
from engine.state import State
from streams.align import align_state
from streams.config import EngineConfig
from streams.counts import Counts
from streams.errors import StoreError
from streams.publisher import Publisher
from streams.views import View, ViewReader, ViewWriter
from tests.simulation.chaos import Chaos, CrashError
from tests.simulation.ledger import Ledger, require
from tests.simulation.oracle import Oracle
from tests.simulation.storage import StoreClient


class _Cut(Mapping[str, Posterior]):
    """Posteriors that end, with whoever writes them, after the first."""

    def __init__(self, whole: Mapping[str, Posterior], fault: BaseException) -> None:
        self._whole, self._fault = whole, fault

    def __getitem__(self, name: str) -> Posterior:
        return self._whole[name]

    def __len__(self) -> int:
        return len(self._whole)

    def __iter__(self) -> Iterator[str]:
        yield from list(self._whole)[:1]
        raise self._fault


class _NoCounter:
    """The mapped counter of a process that dies before it sets it."""

    def __getitem__(self, _: int) -> int:
        return 0

    def __setitem__(self, *_: object) -> None:
        raise CrashError("before the counter is set")


class FailingWriter(ViewWriter):
    """A `ViewWriter` that fails or dies before, while and after it writes."""

    def __init__(self, folder: Path, chaos: Chaos) -> None:
        super().__init__(folder)
        self._chaos = chaos

    def publish(self, *, policies: Mapping[str, Posterior], **rest: object) -> int:
        counter = self._counter
        if self._chaos.happens("publisher crashes"):
            where = self._chaos.pick(["before", "within", "unnamed"])
            if where == "before":
                raise CrashError("before a view is written")
            if where == "within":
                policies = _Cut(policies, CrashError("within a view"))
            else:
                self._counter = _NoCounter()
        elif self._chaos.happens("disk full"):
            policies = _Cut(policies, OSError("no space left on device"))
        try:
            return super().publish(policies=policies, **rest)
        finally:
            self._counter = counter


class Audience:
    """Publishes and reads; each view must be what one fold of the log gives at its offsets."""

    def __init__(
        self, folder: Path, config: EngineConfig, chaos: Chaos, store: StoreClient, oracle: Oracle
    ) -> None:
        self.reader = ViewReader(folder)
        self.views = 0
        self._folder = folder
        self._config = config
        self._chaos = chaos
        self._store = store
        self._oracle = oracle
        self._offsets: dict[int, int] = {}
        self._publisher: Publisher | None = None

    def step(self) -> None:
        """Let the publisher look for news; it starts anew when it died."""
        try:
            if self._publisher is None:
                writer = FailingWriter(self._folder, self._chaos)
                self._publisher = Publisher(self._store, writer, self._config)
            version = self._publisher.refresh()
        except StoreError as error:
            self._chaos.note("publisher", f"waits: {error}")
            return
        except CrashError as crash:
            self._chaos.note("publisher", f"dies {crash}")
            self._publisher = None
            return
        if version is not None:
            view = self.reader.current()
            require(view is not None and view.version == version, f"view {version} is not there")
            self._chaos.note("publisher", f"shows view {version} of {view.offsets}")
            self._check(view)
            self.views += 1

    def check_final(self, ledger: Ledger) -> None:
        """Check that nothing committed is missing once all is quiet."""
        self.step()
        view = self.reader.current()
        committed = {number: entry.next_offset for (_, number), entry in ledger.shards.items()}
        require(view is not None and view.offsets == committed, f"the last view is {view}")

    def _check(self, view: View) -> None:
        for number, offset in self._offsets.items():
            require(view.offsets.get(number, 0) >= offset, f"{number} went back from {offset}")
        self._offsets = dict(view.offsets)
        shards = [self._oracle.at(number, view.offsets[number]) for number in sorted(view.offsets)]
        for name, shown in view.policies.items():
            policy = view.config.policies[name].build(name)
            states: list[State] = [
                align_state(policy, shard.policies[name], shard.states[name]).copy()
                for shard in shards
                if name in shard.states
            ] or [policy.init()]
            whole = states[0] if len(states) == 1 else policy.merge(states)
            _compare(name, shown, policy.derive(whole))
        counts: dict[str, dict[str, int]] = {}
        for shard in shards:
            for kind, fates in shard.counts.to_dict().items():
                into = counts.setdefault(kind, dict.fromkeys(fates, 0))
                counts[kind] = {fate: into[fate] + n for fate, n in fates.items()}
        require(view.counts == Counts(counts), f"the view counts {view.counts}, the log {counts}")


def _compare(name: str, shown: Posterior, expected: Posterior) -> None:
    ids = sorted(expected.item_ids)
    require(sorted(shown.item_ids) == ids, f"{name}: items {shown.item_ids} are shown")
    ours, theirs = shown.rows(["", *ids]), expected.rows(["", *ids])
    for key, array in expected.arrays.items():
        found, right = shown.arrays[key][ours], array[theirs]
        off = [item for item, a, b in zip(["", *ids], found, right, strict=True) if (a != b).any()]
        require(not off, f"{name}: {key} shown of items {off} is not what the log gives")
    for key, array in expected.shared.items():
        same = shown.shared[key].tobytes() == array.tobytes()
        require(same, f"{name}: shared {key} shown is not what the log gives")
