"""Tables that lie in files: written by one process, read by others as it writes."""

import json
import random
import subprocess
import sys

import numpy as np
import pytest

from engine.embeddings.memory import Room
from engine.embeddings.saving import restore_table, save_changes, save_table
from engine.embeddings.table import EmbeddingTable
from engine.kernels.embeddings import layout as at
from streams import rooms
from streams.errors import StoreError
from streams.learner import Learner
from streams.log.base import EVENTS
from streams.log.memory import MemoryLog
from streams.publisher import Publisher
from streams.rooms import TableFolder, TableReader
from streams.store import Store
from streams.views import ViewReader, ViewWriter
from tests.streams.cases import DEVICE, HOUR, START, settings
from tests.streams.hosting import traffic
from tests.streams.table_readers import config, gradients
from tests.table_model import keys_of, register


@pytest.fixture
def folder(tmp_path):
    return TableFolder(tmp_path)


def learn(table, keys, seconds=1):
    keys = np.asarray(keys, dtype=np.uint64)
    table.learn(keys, 0, np.full(len(keys), seconds), gradients(keys))


def housed(folder, max_rows=100_000):
    table = EmbeddingTable(config(max_rows))
    return table, folder.house(table)


def read(folder, generation, max_rows=100_000):
    return TableReader(folder.folder.parent, generation, config(max_rows))


def same(reader, table, keys):
    for told, known in zip(reader.lookup(keys), table.lookup(keys), strict=True):
        assert np.array_equal(told, known)


def test_a_reader_sees_what_is_written_as_it_is_written(folder):
    table, generation = housed(folder)
    reader = read(folder, generation)
    keys = np.arange(1, 5000, dtype=np.uint64)
    assert not reader.lookup(keys)[1].any()
    for start in range(0, len(keys), 37):  # the index grows many times, and is read half moved
        learn(table, keys[start : start + 37])
        same(reader, table, keys)
        same(read(folder, generation), table, keys)
    assert reader.lookup(keys)[1].all()
    table.erase(keys[::3])
    same(reader, table, keys)


def test_a_table_is_the_same_wherever_it_lies(folder):
    here, (there, _) = EmbeddingTable(config(3000)), housed(folder, 3000)
    rng = np.random.default_rng(5)
    for turn in range(60):
        keys = rng.integers(1, 6000, 200).astype(np.uint64)
        for table in (here, there):
            learn(table, keys, turn)
        if turn == 30:
            folder.house(here)
        if turn == 45:
            here.move(Room())
    assert save_table(here) == save_table(there)


@pytest.mark.parametrize("grown", [100, 3000, 3300])
def test_a_table_moves_into_a_folder_with_all_it_holds(folder, grown):
    table = EmbeddingTable(config(100_000))
    keys = np.arange(1, 1 + grown, dtype=np.uint64)
    learn(table, keys)
    before = table.lookup(keys)
    generation = folder.house(table)
    assert folder.house(table) == generation
    reader = read(folder, generation)
    for told, known in zip(reader.lookup(keys), before, strict=True):
        assert np.array_equal(told, known)
    more = np.arange(1, 20_000, dtype=np.uint64)
    learn(table, more)
    same(reader, table, more)


def test_deltas_are_read_at_once_and_a_whole_save_is_another_generation(folder):
    source, (table, first) = EmbeddingTable(config(100_000)), housed(folder)
    reader, keys = read(folder, first), np.arange(1, 3000, dtype=np.uint64)
    for start in range(0, 2000, 100):
        learn(source, keys[start : start + 100])
        restore_table(table, save_changes(source))
        source.mark_saved()
        same(reader, source, keys)
    old = reader.lookup(keys)
    learn(source, keys)
    restore_table(table, save_table(source))
    assert table.room.generation != first
    same(read(folder, table.room.generation), source, keys)
    for told, known in zip(reader.lookup(keys), old, strict=True):  # nobody writes it any more
        assert np.array_equal(told, known)
    folder.remove_others([])
    with pytest.raises(FileNotFoundError):
        read(folder, first)
    same(read(folder, table.room.generation), source, keys)
    assert np.array_equal(reader.lookup(keys)[0], old[0])


def test_what_a_writer_left_half_written_is_not_waited_for_forever(folder):
    table, generation = housed(folder)
    keys = np.arange(1, 1000, dtype=np.uint64)
    learn(table, keys)
    reader = read(folder, generation)
    vectors, found = reader.lookup(keys)
    row = table.live_rows()[0]
    table.table.words[row, at.VERSION] |= 1
    left = keys == table.keys_of(np.array([row]))[0]
    now, still = reader.lookup(keys)
    assert not still[left].any()
    assert not now[left].any()
    assert np.array_equal(now[~left], vectors[~left])
    assert np.array_equal(still[~left], found[~left])
    table.table.head[at.LEFT] = 1  # and an index, with none in its place
    for again in (reader, read(folder, generation)):
        absent = np.arange(5000, 5100, dtype=np.uint64)
        assert not again.lookup(absent)[1].any()
        assert again.lookup(keys[~left])[1].all()


def test_an_index_that_is_mixed_anew_is_followed(folder):
    table, generation = housed(folder)
    keys = np.arange(1, 3000, dtype=np.uint64)
    learn(table, keys)
    late, readers = read(folder, generation), []
    for _ in range(5):
        readers.append(read(folder, generation))
        table._mix_anew()
        learn(table, keys[:500])
        for reader in readers:
            same(reader, table, keys)
    same(late, table, keys)  # it looked at none of the five, and those between are gone


def test_readers_that_look_while_an_index_is_made_find_the_one_before(folder, monkeypatch):
    table, generation = housed(folder)
    keys = np.arange(1, 3000, dtype=np.uint64)
    learn(table, keys)
    early = read(folder, generation)
    met = []
    reserve_of = table.room.reserve

    def looked(name, shape, dtype):
        made = reserve_of(name, shape, dtype)
        if name.startswith("cells-"):  # and its head is not there yet
            met.append(read(folder, generation))
            for reader in (early, met[-1]):
                same(reader, table, keys)
        return made

    monkeypatch.setattr(table.room, "reserve", looked)
    for _ in range(4):
        table._mix_anew()
    more = np.arange(3000, 4000, dtype=np.uint64)
    learn(table, more)
    for reader in (early, *met):
        same(reader, table, np.concatenate([keys, more]))


def test_what_a_killed_publisher_left_half_made_is_removed_before_room_is_asked_for(tmp_path):
    writer = ViewWriter(tmp_path)
    left = writer.tables.folder / "half"
    left.mkdir()
    (left / "words").write_bytes(bytes(4096))
    ViewWriter(tmp_path)
    assert not left.exists()


def test_a_full_disk_is_told_before_it_is_written_to(folder, monkeypatch):
    monkeypatch.setattr(rooms, "SPARE_BYTES", 1 << 60)
    with pytest.raises(StoreError, match="make room"):
        housed(folder)


READS = 1_000_000


@pytest.mark.parametrize(("max_rows", "most"), [(100_000, 60_000), (2000, 6000)])
def test_processes_that_read_while_another_writes(folder, root, max_rows, most):
    """Half of it: an index that grows and moves. The other: records given to one key after another.

    What must not be seen is counted by the readers, and that they looked while it went on.
    """
    table, generation = housed(folder, max_rows)
    learn(table, np.arange(1, 40))
    readers, seen = [], []
    for number in range(2):
        progress = folder.folder / f"read-{number}"
        seen.append(np.memmap(progress, dtype=np.int64, mode="w+", shape=(1,)))
        arguments = [folder.folder.parent, generation, most, max_rows, READS, progress]
        command = [sys.executable, "-m", "tests.streams.table_readers", *map(str, arguments)]
        readers.append(subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True))
    try:
        rng, known = np.random.default_rng(1), 40
        while any(reader.poll() is None for reader in readers):
            more = min(known + 40, most * int(min(seen)[0]) // READS)  # it grows as they read
            fresh = np.arange(known, max(more, known))
            known += len(fresh)
            learn(table, np.concatenate([fresh, rng.integers(1, known, 200)]))
            if len(fresh) and known % 16_000 < 40:
                table._mix_anew()
        counts = [json.loads(reader.communicate()[0]) for reader in readers]
    finally:
        for reader in readers:
            reader.kill()
            reader.wait()
    for count in counts:
        assert (count["torn"], count["foreign"], count["missing"]) == (0, 0, 0)
        assert count["found"] > READS // 10
    # The slower reader met all of it: it grew as that one read.
    grown, moved = (max(count[name] for count in counts) for name in ("sizes", "numbers"))
    assert max_rows < most or min(grown, moved) > 2
    assert (table.statistics().evicted > 1000) == (max_rows < most)


SPEC = "tabled-greedy:max_rows=5000"


class House:
    """A learner, its store, and a publisher of its views."""

    def __init__(self, folder):
        self.folder, self.log = folder, MemoryLog(START)
        self.store = Store(folder / "state.db")
        self.rng, self.slates = random.Random(2), 0
        self.use(settings(HOUR, window=2.0, spec=SPEC))
        self.reader = ViewReader(folder)

    def use(self, config):
        self.config = config
        self.learner = Learner(self.log, self.store, config)
        self.learner.start()
        self.publish_anew()

    def publish_anew(self):
        self.views = ViewWriter(self.folder)
        self.publisher = Publisher(self.store, self.views, self.config)
        self.publisher.refresh()

    def on(self, commits=1, items=400):
        for _ in range(commits):
            self.log.time_ms += 1000
            self.log.append(EVENTS, traffic(self.rng, self.slates, slates=40, items=items))
            self.slates += 40
            while self.learner.step():
                pass
            self.learner.commit()
            self.publisher.refresh()

    def generations(self):
        return {entry.name for entry in (self.folder / "tables").iterdir()}

    def check(self):
        """What is read of the table is what the learner committed."""
        self.learner.commit()
        self.publisher.refresh()
        table = self.learner.shard.states["main"].parts["table"].table
        read = self.reader.current().policies["main"].parts["table"]
        keys = keys_of([f"i{number}" for number in range(500)])
        same(read, table, keys)
        return read


@pytest.fixture
def house(tmp_path, monkeypatch):
    register(monkeypatch)
    house = House(tmp_path)
    yield house
    house.store.close()


def test_views_name_the_table_and_readers_keep_it_mapped(house):
    house.on(2)
    first = house.check()
    house.on(8)
    assert house.check() is first
    assert house.generations() == {first._where.name}
    assert isinstance(first, TableReader)


def test_nothing_uncommitted_is_read(house):
    house.on(3)
    read = house.check()
    table = house.learner.shard.states["main"].parts["table"].table
    keys = keys_of([f"i{number}" for number in range(400)])
    before = read.lookup(keys)
    house.log.time_ms += 5000
    house.log.append(EVENTS, traffic(house.rng, 10_000, slates=100, items=400))
    house.log.time_ms += 5000
    house.learner.step()
    house.learner.tick()
    house.learner.step()
    house.publisher.refresh()
    assert not np.array_equal(table.lookup(keys)[0], before[0])
    assert np.array_equal(read.lookup(keys)[0], before[0])
    house.check()


def test_a_publisher_that_starts_again_leaves_the_table_that_is_read(house):
    house.on(3)
    read = house.check()
    keys = keys_of([f"i{number}" for number in range(400)])
    before = read.lookup(keys)
    house.publish_anew()
    assert np.array_equal(read.lookup(keys)[0], before[0])
    assert read._where.exists()
    assert house.check() is not read
    house.on(4)  # views that named the old table are gone
    assert not read._where.exists()
    assert house.generations() == {house.check()._where.name}
    assert np.array_equal(read.lookup(keys)[0], before[0])


def test_changed_settings_make_another_table_or_keep_it(house):
    house.on(3)
    house.use(settings(HOUR, DEVICE, window=2.0, spec=SPEC))
    house.on(3)
    kept = house.check()
    keys = keys_of([f"i{number}" for number in range(400)])
    assert kept.lookup(keys)[1].sum() > 200
    house.use(settings(HOUR, DEVICE, window=2.0, spec="tabled-greedy:max_rows=5000,dimension=7"))
    fresh = house.check()
    assert fresh.width == 7
    assert not fresh.lookup(keys)[1].any()
    house.on(4)
    house.check()
    assert len(house.generations()) == 1


def test_a_delta_that_does_not_follow_makes_the_publisher_read_a_base(house):
    house.on(3)
    house.check()
    shard = house.publisher._shards[EVENTS, 0]
    shard.states["main"].parts["table"].table.number_saved -= 1
    house.log.time_ms += 1000
    house.log.append(EVENTS, traffic(house.rng, 20_000, slates=40, items=400))
    house.log.time_ms += 5000
    house.learner.step()
    house.learner.tick()
    house.learner.step()
    house.learner.commit()
    with pytest.raises(StoreError, match="does not follow"):
        house.publisher.refresh()
    house.check()


def test_views_of_a_release_before_tables_are_read(house):
    house.on(1)
    version = house.check() and house.reader.current().version
    path = house.folder / "views" / str(version) / "manifest.json"
    manifest = json.loads(path.read_bytes())
    for entry in manifest["policies"].values():
        del entry["tables"]
    path.write_bytes(json.dumps(manifest).encode())
    assert ViewReader(house.folder).current().policies["main"].parts == {}
