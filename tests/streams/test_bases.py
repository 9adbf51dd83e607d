"""Bases of large states, written bit by bit while the learner goes on."""

import random
from itertools import pairwise

import msgspec
import pytest
from sqlalchemy import func, select

from streams import bases, blobs
from streams.agenda import Remembered
from streams.blobs import KEEP_BASES, key_of, read_base
from streams.errors import FencedError, StoreError
from streams.events import encode_event
from streams.learner import Learner
from streams.log.base import EVENTS
from streams.positions import Saved
from streams.renewal import find_topics, reset, restore
from streams.snapshots import write_snapshot
from streams.tables import BASE, DELTA, PIECE
from tests.streams.cases import HOUR, settings
from tests.streams.hosting import traffic
from tests.streams.tabled import SPEC, Run
from tests.streams.test_crashes import CrashError, Fate
from tests.table_model import register

KEY = key_of(EVENTS, 0)


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    register(monkeypatch)
    monkeypatch.setattr(bases, "LARGE_BYTES", 1)
    monkeypatch.setattr(bases, "STEP_BYTES", 4000)


class GrowingRun(Run):
    """A run whose bases grow bit by bit."""

    @property
    def growing(self):
        return self.learner._base is not None

    def until_begun(self):
        while not self.growing:
            self.on(1)
        return self.learner.position.seq

    def until_whole(self, committed=lambda: None):
        """Learn and commit; what is learned last is not committed."""
        self.learn()
        while self.growing:
            self.learner.commit()
            committed()
            self.learn()

    def strays(self):
        """Numbers of bases that pieces are there of, and no row."""
        return sorted(set(self.pieces()) - set(self.seqs(BASE)))

    def pieces(self):
        with self.store.database.reading() as connection:
            query = select(PIECE.c.seq).where(PIECE.c.kind == "base").order_by(PIECE.c.place)
            return list(connection.execute(query).scalars())

    def stored(self):
        """Bytes of all bodies."""
        queries = [select(func.sum(func.length(t.c.body))) for t in (BASE, DELTA, PIECE)]
        with self.store.database.reading() as connection:
            return sum(connection.execute(query).scalar() or 0 for query in queries)

    def recovered(self):
        again = super().recovered()
        assert self.strays() == []
        return again


def state_hash(run):
    return run.learner.shard.states["main"].hash()


@pytest.fixture
def run(where):
    run = GrowingRun(where)
    yield run
    run.store.close()


@pytest.fixture
def local_run(tmp_path):
    run = GrowingRun(str(tmp_path / "state.db"))
    yield run
    run.store.close()


def test_a_base_is_the_state_of_the_commit_that_began_it(run):
    for _ in range(3):
        before = run.seqs(BASE)
        begun = run.until_begun()
        told, bodies = state_hash(run), run.learner.shard.bodies(base=True)
        position = run.learner.position
        run.until_whole()
        assert run.learner.position.seq > begun + 1
        assert run.seqs(BASE) == [*before, begun][-2:]
        with run.store.database.reading() as connection:
            seq, body = read_base(connection, KEY)
        assert (seq, body) == (begun, msgspec.msgpack.encode(bodies))
        saved = Saved(base=bodies, deltas=[], closed=Remembered.of({}))
        assert position.states(saved)["main"].hash() == told != state_hash(run)
        run.learner = run.check()
    assert run.seqs(DELTA)[0] == run.seqs(BASE)[0] + 1
    assert run.strays() == []


def test_nobody_sees_a_base_before_it_is_whole(run):
    run.until_begun()
    seen, bodies = run.learner.position.seq, run.learner.shard.bodies(base=True)
    run.on(1)
    assert run.strays() == [seen]
    for whole in (False, True):
        if whole:
            run.until_whole()
            run.learner.commit()
        told = state_hash(run)
        (tail,) = run.store.tail({(EVENTS, 0): seen})
        assert tail.base is None
        (tail,) = run.store.tail({})
        assert (tail.base == bodies) is whole
        saved = Saved(base=tail.base, deltas=tail.deltas, closed=Remembered.of({}))
        assert tail.position.states(saved)["main"].hash() == told


def test_what_is_spent_on_bases_is_as_if_they_were_written_at_once(tmp_path, monkeypatch):
    """As soon as it is whole; and nothing more is begun while one is being written."""
    runs = [GrowingRun(str(tmp_path / name)) for name in ("slow", "once")]
    slow, once = runs
    monkeypatch.setattr(bases, "STEP_BYTES", 300)
    begun = slow.until_begun()
    slow.until_whole()
    assert slow.seqs(BASE)[-1] == begun
    assert slow.strays() == []
    assert slow.learner.position.seq > begun + 12
    with monkeypatch.context() as patch:
        patch.setattr(bases, "LARGE_BYTES", 1 << 40)
        while once.learner.position.seq < begun:
            once.on(1)
        assert once.seqs(BASE)[-1] == begun
        expected = once.learner.position
    since = 0
    with slow.store.database.reading() as connection:
        query = select(DELTA.c.body).where(DELTA.c.seq > begun)
        for body in connection.execute(query).scalars():
            since += sum(map(len, msgspec.msgpack.decode(body).values()))
    position = slow.learner.position
    assert position.base_bytes == expected.base_bytes
    assert position.delta_bytes == expected.delta_bytes + since
    assert position.wants_base
    again = slow.store.claim(EVENTS, 0, slow.log.topic_id(EVENTS))
    assert (again.base_bytes, again.delta_bytes) == (position.base_bytes, position.delta_bytes)
    for each in runs:
        each.store.close()


@pytest.mark.parametrize("point", ["piece", "pieced", "polled", "learned", "committing"])
def test_killed_at_every_point_while_a_base_grows(run, monkeypatch, point):
    """The first, the second, … time that it is passed, until all is written and let go of."""
    monkeypatch.setattr(bases, "STEP_BYTES", 5000)
    told: dict[int, str] = {}
    deaths, whole = 0, 0

    def committed():
        told[run.learner.committed_offset] = run.learner.hash()

    while not whole:
        begun = run.until_begun()
        run.learner._point = run.learner.shard.point = Fate(point, deaths + 1)
        try:
            committed()
            run.until_whole(committed)
            whole = begun
        except CrashError:
            deaths += 1
            run.learner = run.recovered()
            assert run.learner.hash() == told[run.learner.next_offset]
            while run.learner.step():
                pass
            run.learner.commit()
            committed()
    assert deaths >= 3
    run.learner._point = run.learner.shard.point = lambda _: None
    run.on(1)
    run.check()


def test_a_damaged_base_is_passed_over_for_the_one_before(run, caplog):
    for _ in range(2):
        run.until_begun()
        run.until_whole()
    run.on(2)
    last = run.seqs(BASE)[-1]
    with run.store.database.writing("damage") as connection:
        piece = PIECE.update().where(PIECE.c.seq == last).where(PIECE.c.place == 2)
        assert connection.execute(piece.values(body=b"\0" * 100)).rowcount == 1
    run.check()
    assert f"base {last} of" in caplog.text
    assert "is damaged: the one before it is read" in caplog.text


@pytest.mark.parametrize("left", [0, 3])
def test_fenced_while_a_base_grows(run, left):
    """In the midst of it, and when all but the row of the base is there."""
    begun = run.until_begun()
    size = len(msgspec.msgpack.encode(run.learner.shard.bodies(base=True)))
    while run.pieces().count(begun) < -(-size // bases.STEP_BYTES) - left:
        assert run.learner.step() == 0
    assert run.growing
    assert run.strays() == [begun]
    other = run.recovered()
    with pytest.raises(FencedError):
        run.learner.step()
    assert run.strays() == []
    assert begun not in run.seqs(BASE)
    run.learner = other
    run.until_begun()
    run.until_whole()
    run.check()


def test_new_settings_drop_the_base_that_grows(run):
    begun = run.until_begun()
    run.on(1)
    assert run.strays() == [begun]
    run.config = settings(HOUR, window=2.0, spec=f"{SPEC}:dimension=5")
    control = encode_event(run.config.to_control(run.log.now_ms()))
    run.log.append(EVENTS, [("control", control)])
    run.on(1)
    assert not run.growing
    assert run.strays() == []
    assert run.seqs(BASE)[-1] == run.learner.position.seq
    assert begun not in run.seqs(BASE)
    run.learner = run.check()
    run.until_begun()
    run.until_whole()
    run.check()


@pytest.mark.parametrize("anew", [False, True])
def test_a_store_put_back_or_reset_drops_the_base_that_grows(run, tmp_path, anew):
    begun = run.until_begun()
    run.on(1)
    snapshot = write_snapshot(run.store.database, tmp_path / "snapshot")
    assert run.strays() == [begun]
    topics = find_topics(run.log)
    if anew:
        reset(run.store.database, topics)
    else:
        restore(run.store.database, snapshot, topics)
    with pytest.raises(FencedError):
        run.learner.step()
    assert run.pieces() == []
    run.learner = run.recovered()
    while run.learner.step():
        pass
    run.learner = run.check()
    run.until_begun()
    run.until_whole()
    run.check()


@pytest.mark.parametrize("call", ["add_piece", "add_base", "sweep"])
@pytest.mark.parametrize("written", [False, True])
def test_a_piece_that_failed_is_written_again(run, monkeypatch, call, written):
    """Whether it failed, or was written and only the answer was lost."""
    begun = run.until_begun()
    bodies = run.learner.shard.bodies(base=True)
    works, failures = getattr(run.store, call), []

    def fail(*given):
        if len(failures) < 3:
            if written:
                works(*given)
            failures.append(given)
            raise StoreError("the disk is full")
        return works(*given)

    monkeypatch.setattr(run.store, call, fail)
    while run.growing:
        try:
            run.learn()
        except StoreError:
            run.learner.commit()
    assert len(failures) == 3
    with run.store.database.reading() as connection:
        assert read_base(connection, KEY) == (begun, msgspec.msgpack.encode(bodies))
    run.check()


def test_what_only_older_bases_needed_goes_bit_by_bit(run):
    for _ in range(2):
        run.until_begun()
        run.until_whole()
    run.until_begun()
    sizes = [run.stored()]
    while run.growing:
        run.learner.step()
        sizes.append(run.stored())
    freed = [before - after for before, after in pairwise(sizes)]
    assert sum(size > 0 for size in freed) > 15
    # The base before was of pieces; a delta here is larger than what may go at a step.
    assert max(freed) < 12_000
    bases_kept = run.seqs(BASE)
    assert len(bases_kept) == KEEP_BASES
    assert run.seqs(DELTA) == list(range(bases_kept[0] + 1, run.learner.position.seq + 1))
    assert set(run.pieces()) == set(bases_kept)
    run.check()


def test_large_deltas_go_with_their_pieces(local_run, monkeypatch):
    """A reader who is behind meets whole deltas or none, at every step."""
    run = local_run
    monkeypatch.setattr(blobs, "PIECE_BYTES", 1500)
    for _ in range(3):
        run.until_begun()
        behind = run.seqs(DELTA)[0]
        while run.growing:
            run.learner.step()
            for seen in (behind, run.seqs(DELTA)[0], run.learner.position.seq - 1):
                (tail,) = run.store.tail({(EVENTS, 0): seen})
                assert tail.position == run.learner.position
        run.on(1)
    with run.store.database.reading() as connection:
        query = select(PIECE.c.seq).where(PIECE.c.kind == "delta").distinct()
        assert set(connection.execute(query).scalars()) <= set(run.seqs(DELTA))
    run.check()


def test_small_states_are_saved_within_a_commit(local_run, monkeypatch):
    monkeypatch.setattr(bases, "LARGE_BYTES", 1 << 25)
    local_run.until_base()
    assert not local_run.growing
    with local_run.store.database.reading() as connection:
        assert connection.execute(select(func.count()).select_from(PIECE)).scalar() == 0


def test_how_many_steps_a_base_takes_leaves_no_trace(tmp_path, monkeypatch):
    hashes = set()
    for size in (700, 1 << 30):
        monkeypatch.setattr(bases, "STEP_BYTES", size)
        run = GrowingRun(str(tmp_path / f"{size}"))
        run.on(14)
        hashes.add(run.learner.hash())
        run.check()
        run.store.close()
    assert len(hashes) == 1


def test_a_step_writes_one_piece_and_learns(local_run):
    run = local_run
    begun = run.until_begun()
    rng, learned = random.Random(5), run.learner.next_offset
    for number in range(3):
        run.log.append(EVENTS, traffic(rng, 10_000 + number * 5, slates=5, items=300))
        assert run.learner.step() > 0
        assert run.pieces().count(begun) == number + 1
    assert run.learner.next_offset > learned
    with run.store.database.reading() as connection:
        sizes = connection.execute(
            select(func.length(PIECE.c.body)).where(PIECE.c.seq == begun)
        ).scalars()
        assert set(sizes) == {bases.STEP_BYTES}
    assert isinstance(run.check(), Learner)
