"""What a store keeps of its past: enough to outlive a damaged base, and no more."""

import random

import pytest
from sqlalchemy import func, select, text, update

from streams.blobs import KEEP_BASES
from streams.errors import RefusedError
from streams.learner import Learner
from streams.log.base import EVENTS
from streams.log.memory import MemoryLog
from streams.positions import MIN_BASE_BYTES
from streams.publisher import Publisher
from streams.shard import replay_log
from streams.store import Store
from streams.tables import BASE, CLOSED, DELTA, SHARD
from streams.views import ViewReader, ViewWriter
from tests.streams.cases import DEVICE, HOUR, START, settings
from tests.streams.hosting import check_against_replay, traffic

CONFIG = settings(HOUR, DEVICE, window=2.0)
ITEMS = 1500


class Run:
    """A learner that commits after every few slates; keeps count of what it wrote."""

    def __init__(self, where: str, config=CONFIG) -> None:
        self.log, self.store = MemoryLog(START), Store(where)
        self.learner = Learner(self.log, self.store, config)
        self.learner.start()
        self.rng = random.Random(6)
        self.written = {DELTA.name: 0, BASE.name: 0}
        self.slates = 0

    def on(self, commits: int, *, items: int = ITEMS) -> None:
        for _ in range(commits):
            self.log.time_ms += 500
            self.log.append(EVENTS, traffic(self.rng, self.slates, slates=40, items=items))
            self.slates += 40
            self.learner.step()
            self.learner.commit()
            for table in (DELTA, BASE):
                self.written[table.name] += self.size(table, self.learner.position.seq)

    def until_base(self, **options: int) -> None:
        bases = self.seqs(BASE)
        while self.seqs(BASE) == bases:
            self.on(1, **options)

    def size(self, table, seq: int) -> int:
        query = select(func.length(table.c.body)).where(table.c.seq == seq)
        with self.store.database.reading() as connection:
            return connection.execute(query).scalar() or 0

    def seqs(self, table) -> list[int]:
        with self.store.database.reading() as connection:
            return list(connection.execute(select(table.c.seq).order_by(table.c.seq)).scalars())

    def damage(self, table, seq: int) -> None:
        with self.store.database.writing("damage") as connection:
            connection.execute(update(table).where(table.c.seq == seq).values(body=b"\0" * 100))


@pytest.fixture
def run(where):
    run = Run(where)
    yield run
    run.store.close()


@pytest.fixture
def local_run(tmp_path):
    run = Run(str(tmp_path / "state.db"))
    yield run
    run.store.close()


def test_old_bases_and_deltas_go_and_what_is_left_is_one_chain(run):
    for _ in range(3):
        run.until_base()
    run.on(3)
    bases, deltas = run.seqs(BASE), run.seqs(DELTA)
    assert len(bases) == KEEP_BASES
    assert deltas == list(range(bases[0] + 1, run.learner.position.seq + 1))
    assert bases[1] in deltas
    check_against_replay(run.log, run.store, CONFIG)


def test_a_damaged_newest_base_is_passed_over(run, caplog):
    for _ in range(2):
        run.until_base()
    run.on(2)
    run.damage(BASE, run.seqs(BASE)[-1])
    check_against_replay(run.log, run.store, CONFIG)
    assert "is damaged: the one before it is read" in caplog.text


def test_a_publisher_passes_it_over_too(local_run, tmp_path):
    run = local_run
    for _ in range(2):
        run.until_base()
    run.on(1)

    def published(folder: str):
        Publisher(run.store, ViewWriter(tmp_path / folder), CONFIG).refresh()
        return ViewReader(tmp_path / folder).current().policies["main"]

    before = published("before")
    run.damage(BASE, run.seqs(BASE)[-1])
    after = published("after")
    assert sorted(after.item_ids) == sorted(before.item_ids)
    rows = after.rows(before.item_ids)
    for name, array in before.arrays.items():
        assert (after.arrays[name][rows] == array[before.rows(before.item_ids)]).all()


def test_without_a_way_past_a_damaged_base_the_state_is_refused(local_run):
    run = local_run
    run.on(3)
    assert len(run.seqs(BASE)) == 1  # that of the settings' own record: no rows tell what it made
    run.damage(BASE, run.seqs(BASE)[0])
    with pytest.raises(RefusedError, match="'slatestream restore'"):
        Learner(run.log, run.store, CONFIG).recover()


@pytest.mark.parametrize("harm", ["damage", "remove"])
def test_a_damaged_or_missing_delta_is_refused(local_run, harm):
    run = local_run
    run.until_base()
    run.on(4)
    seq = run.seqs(DELTA)[-2]
    if harm == "damage":
        run.damage(DELTA, seq)
    else:
        with run.store.database.writing("damage") as connection:
            connection.execute(text(f"DELETE FROM delta WHERE seq = {seq}"))
    with pytest.raises(RefusedError, match=f"delta {seq} of shard events-0 is damaged or missing"):
        Learner(run.log, run.store, CONFIG).recover()


@pytest.mark.parametrize("items", [400, ITEMS, 6000])
def test_bases_take_no_more_than_deltas(tmp_path, items):
    """Write amplification: of states long known, still filling up, and growing all the time."""
    run = Run(str(tmp_path / "state.db"))
    bases, largest, paid = 0, 0, 0
    while bases < 5 or run.learner.position.delta_bytes < 0:
        before = run.written[BASE.name]
        run.on(1, items=items)
        bases += run.written[BASE.name] > before
        largest = max(largest, run.learner.position.base_bytes)
        base, delta = run.written[BASE.name], run.written[DELTA.name]
        # A base of a state that grew is on credit until the deltas after it are as large.
        assert base <= delta + largest
        if run.learner.position.delta_bytes >= 0:
            assert (base + delta) / delta <= 2.0
            paid += 1
    assert paid > 20
    stored = sum(run.size(table, seq) for table in (DELTA, BASE) for seq in run.seqs(table))
    assert stored <= 6 * max(largest, MIN_BASE_BYTES)
    run.store.close()


def test_closed_requests_are_pruned_when_they_are_forgotten(run):
    kept = 0
    for _ in range(60):
        run.on(5, items=50)
        with run.store.database.reading() as connection:
            oldest, count = connection.execute(
                select(func.min(CLOSED.c.forget), func.count())
            ).one()
            clock = connection.execute(select(SHARD.c.clock)).scalar()
        assert oldest is None or oldest > clock
        kept = max(kept, count)
    # A window of 2 s is remembered for 62 s more, a commit is made every 0.5 s of the log.
    assert 100 < kept < 150
    check_against_replay(run.log, run.store, CONFIG)
    assert replay_log(run.log).next_offset == run.log.end(EVENTS)
