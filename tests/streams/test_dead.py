"""Dead letters read from a state file that a learner may be writing."""

import pytest

from streams.dead import read_dead_letters
from streams.errors import StoreError
from streams.learner import Learner
from streams.log.base import EVENTS
from streams.log.memory import MemoryLog
from streams.store import Store
from tests.streams.cases import START, settings


def test_without_a_file_there_are_none(tmp_path):
    assert read_dead_letters(tmp_path / "state.db", 10) == []
    assert not list(tmp_path.iterdir())


def test_the_latest_come_first_also_among_equal_stamps(tmp_path):
    log, store = MemoryLog(START), Store(tmp_path / "state.db")
    try:
        learner = Learner(log, store, settings())
        learner.start()
        offsets = [
            place.offset
            for place in log.append(EVENTS, [("", b"{%d" % number) for number in range(12)])
        ]
        learner.step()
        learner.commit()
        read = read_dead_letters(tmp_path / "state.db", 10)
        assert [each.offset for each in read] == offsets[:1:-1]
        assert read[0].value == b"{11"
        assert (read[0].topic, read[0].partition, read[0].size) == (EVENTS, 0, 3)
    finally:
        store.close()


def test_what_is_no_state_file_is_told(tmp_path):
    (tmp_path / "state.db").write_bytes(b"not a database" * 100)
    with pytest.raises(StoreError, match=r"state\.db: file is not a database"):
        read_dead_letters(tmp_path / "state.db", 10)
