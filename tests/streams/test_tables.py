"""Embedding tables in what learners commit: nothing lost, nothing doubled, gaps refused."""

import random

import pytest
from sqlalchemy import select, text

from engine.embeddings.part import Embeddings
from streams import blobs
from streams.config import PolicyConfig
from streams.errors import FencedError, RefusedError, StoreError
from streams.learner import Learner
from streams.log.base import EVENTS, OUTCOMES
from streams.log.memory import MemoryLog
from streams.renewal import find_topics, restore
from streams.snapshots import write_snapshot
from streams.store import Store
from streams.tables import BASE, DELTA, PIECE
from tests.streams.cases import DEVICE, HOUR, START, settings
from tests.streams.hosting import traffic
from tests.streams.tabled import CONFIG, SPEC, Run
from tests.table_model import register


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    register(monkeypatch)


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


def table_of(learner, name="main"):
    part = learner.shard.states[name].parts["table"]
    assert isinstance(part, Embeddings)
    return part.table


def test_a_table_is_restored_from_base_and_deltas_and_learning_goes_on(run):
    for _ in range(3):
        run.until_base()
        run.on(2)
        run.learner = run.check()
    assert len(table_of(run.learner)) > 200


def test_bodies_too_long_for_a_row_are_cut_and_put_together(where, monkeypatch):
    monkeypatch.setattr(blobs, "PIECE_BYTES", 1000)
    run = Run(where)
    for _ in range(2 * blobs.KEEP_BASES):
        run.until_base()
        run.on(1)
    run.check()
    with run.store.database.reading() as connection:
        rows = connection.execute(select(PIECE)).all()
        longest = connection.execute(text("SELECT max(length(body)) FROM base")).scalar()
    assert longest == 1000
    assert {len(row.body) for row in rows} >= {1000}
    assert max(len(row.body) for row in rows) == 1000
    kept = {("base", seq) for seq in run.seqs(BASE)} | {("delta", seq) for seq in run.seqs(DELTA)}
    assert {(row.kind, row.seq) for row in rows} == kept
    with run.store.database.writing("damage") as connection:
        connection.execute(PIECE.delete().where(PIECE.c.kind == "base").where(PIECE.c.place == 1))
    with pytest.raises(RefusedError, match="damaged or missing"):
        run.recovered()
    run.store.close()


def test_a_body_exactly_as_long_as_a_row_is_whole(local_run, monkeypatch):
    local_run.on(3)
    with local_run.store.database.reading() as connection:
        body = connection.execute(select(DELTA.c.body)).scalars().all()[-1]
    monkeypatch.setattr(blobs, "PIECE_BYTES", len(body))
    local_run.check()


def test_snapshots_hold_tables_in_pieces(local_run, tmp_path, monkeypatch):
    monkeypatch.setattr(blobs, "PIECE_BYTES", 1000)
    run = local_run
    run.until_base()
    run.on(2)
    told = run.learner.hash()
    snapshot = write_snapshot(run.store.database, tmp_path / "snapshot")
    run.on(3)
    restore(run.store.database, snapshot, find_topics(run.log))
    with pytest.raises(FencedError):
        run.on(1)
    again = run.recovered()
    assert again.hash() == told
    while again.step():
        pass
    run.learner = again
    run.check()


def test_a_commit_that_failed_loses_nothing(run, monkeypatch):
    run.until_base()
    run.on(1)

    def full(*_):
        raise StoreError("the disk is full")

    for _ in range(3):
        run.learn()
        with monkeypatch.context() as patch:
            patch.setattr(run.store, "commit", full)
            with pytest.raises(StoreError, match="full"):
                run.learner.commit()
    run.learner = run.check()
    run.on(2)
    run.check()


def test_a_fenced_learner_leaves_nothing(run):
    run.on(2)
    told = run.learner.hash()
    other = run.recovered()
    run.learn()
    with pytest.raises(FencedError):
        run.learner.commit()
    assert other.hash() == told
    while other.step():
        pass
    run.learner = other
    run.check()


def test_a_damaged_base_is_passed_over(run, caplog):
    for _ in range(2):
        run.until_base()
        run.on(2)
    run.learner.commit()
    last = run.seqs(BASE)[-1]
    with run.store.database.writing("damage") as connection:
        connection.execute(BASE.update().where(BASE.c.seq == last).values(body=b"\0" * 100))
    run.check()
    assert "is damaged: the one before it is read" in caplog.text


def test_a_delta_that_does_not_follow_is_refused_where_it_is_read(local_run):
    """A chain that the store's own numbers hold for whole, of tables that do not follow."""
    run = local_run
    run.until_base()
    run.on(3)
    first, second = run.seqs(DELTA)[-2:]
    with run.store.database.writing("harm") as connection:
        row = connection.execute(DELTA.select().where(DELTA.c.seq == second)).one()
        changed = DELTA.update().where(DELTA.c.seq == first)
        connection.execute(changed.values(crc=row.crc, body=row.body))
    with pytest.raises(
        RefusedError, match=r"policy 'main' in shard events-0 .* does not follow .* 'slatestream"
    ):
        run.recovered()


def test_a_table_is_kept_when_only_the_schema_changes(local_run):
    run = local_run
    run.on(3)
    kept = table_of(run.learner)
    run.config = settings(HOUR, DEVICE, window=2.0, spec=SPEC)
    run.learner = Learner(run.log, run.store, run.config)
    run.learner.start()
    assert len(table_of(run.learner)) == len(kept)
    run.on(2)
    run.check()


def test_a_table_whose_own_settings_change_begins_afresh(local_run):
    run = local_run
    spec = f"{SPEC}:of_schema=true"
    run.config = settings(HOUR, window=2.0, spec=spec)
    for features in ((HOUR,), (HOUR, DEVICE)):
        run.config = settings(*features, window=2.0, spec=spec)
        run.learner = Learner(run.log, run.store, run.config)
        run.learner.start()
        assert len(table_of(run.learner)) == 0
        run.on(3)
        assert len(table_of(run.learner)) > 0
    run.check()


def test_a_table_is_learned_from_outcomes_of_many_partitions(where):
    log, store = MemoryLog(START, partitions=2, outcomes=1), Store(where)
    sources = [Learner(log, store, CONFIG, partition=part) for part in range(2)]
    for source in sources:
        source.start()
    owner = Learner(log, store, CONFIG, topic=OUTCOMES)
    owner.start()
    rng = random.Random(3)
    for turn in range(12):
        log.time_ms += 1000
        for part in range(2):
            entries = traffic(rng, 2 * turn * 20 + part * 20, slates=20, items=100)
            log.append(EVENTS, entries, part)
        for learner in (*sources, owner):
            while learner.step():
                pass
            learner.commit()
        if turn % 4 == 3:
            told = owner.hash()
            owner = Learner(log, store, CONFIG, topic=OUTCOMES)
            owner.start()
            assert owner.hash() == told
    assert len(table_of(owner)) == 100
    store.close()


def test_settings_of_a_policy_with_a_table_are_a_policys():
    assert PolicyConfig(spec=SPEC).build("main").model.traits.merging == "refused"
