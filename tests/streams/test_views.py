"""Views: what was published is what is read, whoever deletes what meanwhile."""

import threading

import numpy as np
import pytest

from engine.batches import Posterior
from streams.counts import Counts
from streams.errors import StoreError
from streams.views import ViewReader, ViewWriter
from tests.streams.cases import HOUR, settings

CONFIG = settings(HOUR)


def posterior(value: float, items: int = 3) -> Posterior:
    ids = [f"i{number}" for number in range(items)]
    return Posterior(
        ids, {"mean": np.full((items + 1, 2), value), "count": np.full(items + 1, value)}
    )


def publish(writer: ViewWriter, number: int, items: int = 3) -> int:
    return writer.publish(
        clocks={0: 1000 * number},
        offsets={0: number},
        policies={"main": posterior(number, items)},
        config=CONFIG,
        counts=Counts({"tick": {"consumed": number, "applied": number}}),
    )


def test_what_was_published_is_read(tmp_path):
    reader = ViewReader(tmp_path / "views-of-host")
    assert reader.current() is None
    writer = ViewWriter(tmp_path / "views-of-host")
    assert reader.current() is None
    assert publish(writer, 7) == 1
    view = reader.current()
    assert (view.version, view.offsets) == (1, {0: 7})
    assert view.config.state_hash == CONFIG.state_hash
    assert view.state_hashes == {"main": CONFIG.policies["main"].build("main").state_hash}
    assert view.counts.to_dict()["tick"]["applied"] == 7
    main = view.policies["main"]
    assert main.item_ids == ["i0", "i1", "i2"]
    assert main.rows(["i2", "new"]).tolist() == [3, 0]
    assert type(main.arrays["mean"]) is np.ndarray
    np.testing.assert_array_equal(main.arrays["mean"], np.full((4, 2), 7.0))


def test_a_view_is_mapped_once_and_again_when_it_changed(tmp_path):
    writer, reader = ViewWriter(tmp_path), ViewReader(tmp_path)
    publish(writer, 1)
    first = reader.current()
    assert reader.current() is first
    publish(writer, 2)
    assert reader.current().version == 2
    assert first.policies["main"].arrays["count"].tolist() == [1.0] * 4


def test_a_view_without_items_holds_the_prior(tmp_path):
    writer = ViewWriter(tmp_path)
    publish(writer, 1, items=0)
    assert ViewReader(tmp_path).current().policies["main"].arrays["mean"].shape == (1, 2)


def test_old_views_are_deleted_and_stay_readable_where_mapped(tmp_path):
    writer, reader = ViewWriter(tmp_path, keep=3), ViewReader(tmp_path)
    publish(writer, 1)
    held = reader.current()
    for number in range(2, 7):
        publish(writer, number)
    assert sorted(path.name for path in (tmp_path / "views").iterdir()) == ["4", "5", "6"]
    assert held.policies["main"].arrays["mean"].sum() == 8.0
    assert reader.current().version == 6


def test_a_writer_goes_on_from_an_earlier_one(tmp_path):
    publish(ViewWriter(tmp_path), 1)
    (tmp_path / "views" / ".tmp-2").mkdir()  # one that died while writing
    (tmp_path / "views" / "5").mkdir()  # and one before it set the counter
    writer = ViewWriter(tmp_path)
    reader = ViewReader(tmp_path)
    assert reader.current().version == 1
    assert publish(writer, 2) == 6
    assert reader.current().version == 6
    assert not (tmp_path / "views" / ".tmp-2").exists()


def test_a_view_deleted_while_it_is_opened_is_passed_over(tmp_path, monkeypatch):
    writer, reader = ViewWriter(tmp_path, keep=1), ViewReader(tmp_path)
    publish(writer, 1)
    opened = np.load

    def overtaken(path, **options):
        monkeypatch.setattr(np, "load", opened)
        publish(writer, 2)
        return opened(path, **options)

    monkeypatch.setattr(np, "load", overtaken)
    assert reader.current().version == 2


def test_a_lost_or_broken_view_is_an_error(tmp_path):
    publish(ViewWriter(tmp_path), 1)
    manifest = tmp_path / "views" / "1" / "manifest.json"
    manifest.write_bytes(b"{")
    with pytest.raises(StoreError, match="view 1 cannot be read"):
        ViewReader(tmp_path).current()
    manifest.unlink()
    with pytest.raises(StoreError, match="view 1 is not there"):
        ViewReader(tmp_path).current()


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="cannot publish"):
        ViewWriter(tmp_path / "file")
    writer = ViewWriter(tmp_path / "gone")
    (tmp_path / "gone" / "views").rmdir()
    with pytest.raises(StoreError, match="cannot publish view 1"):
        publish(writer, 1)


def test_readers_never_see_a_mixed_view(tmp_path):
    writer = ViewWriter(tmp_path)
    done = threading.Event()
    wrong: list[str] = []
    seen: list[int] = []

    def read() -> None:
        reader = ViewReader(tmp_path)
        last = 0
        while not done.is_set():
            view = reader.current()
            if view is None:
                continue
            values = {view.offsets[0], *np.unique(view.policies["main"].arrays["mean"]).tolist()}
            if len(values) != 1 or view.version < last:
                wrong.append(f"{view.version}: {values} after {last}")
            last = view.version
        seen.append(last)

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(1, 150):
        publish(writer, number, items=number % 40)
    done.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(seen) == 2


def test_folders_in_the_way_of_a_view_stop_no_writer(tmp_path):
    writer = ViewWriter(tmp_path)
    for left in (".tmp-1", "1", "3"):
        (tmp_path / "views" / left).mkdir()
        (tmp_path / "views" / left / "left").write_text("by one that failed")
    assert [publish(writer, number) for number in (7, 8)] == [2, 4]
    view = ViewReader(tmp_path).current()
    assert (view.version, view.offsets) == (4, {0: 8})
