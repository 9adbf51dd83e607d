"""``slatestream export``, and the commands that read what it wrote."""

import json
import random

import pytest

from streams.config import EngineConfig
from streams.events import Item, Tick, encode_event
from streams.log.archive import ArchiveLog
from streams.log.base import CATALOGUE, EVENTS
from streams.log.kafka import KafkaLog
from streams.log.sqlite import SqliteLog
from streams.replay import replay_all
from tests.api.running import run_cli
from tests.streams.cases import HOUR, settings
from tests.streams.hosting import traffic
from tests.streams.kafka_cases import config_of

CONFIG: EngineConfig = settings(HOUR, window=0.001)


def read(done, code=0):
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


def entries(slates: int) -> list[tuple[str, bytes]]:
    control = ("control", encode_event(CONFIG.to_control(0)))
    return [control, *traffic(random.Random(4), 0, slates), ("t", encode_event(Tick(ts=0)))]


@pytest.fixture
def folder(tmp_path):
    log = SqliteLog(tmp_path / "log.db")
    log.append(CATALOGUE, [("i0", encode_event(Item(ts=0, id="i0")))])
    log.append(EVENTS, entries(40))
    log.close()
    return tmp_path


def test_a_folder_is_exported_and_read_as_before(folder):
    file = folder / "a.archive"
    told = read(run_cli("export", str(folder), str(file), "--json"))
    assert (told["file"], told["bytes"]) == (str(file), file.stat().st_size)
    assert [(part["topic"], part["begin"], part["end"]) for part in told["parts"]] == [
        ("events", 0, len(entries(40))),
        ("catalogue", 0, 1),
    ]
    for command in ("replay", "check"):
        before, after = (
            run_cli(command, str(place), "--json") for place in (folder / "log.db", file)
        )
        wanted, found = read(before, before.returncode), read(after, before.returncode)
        assert found.pop("source") == str(file)
        assert wanted.pop("source") == str(folder / "log.db")
        assert found == wanted
    again = run_cli("export", str(folder), str(file))
    assert again.returncode == 2
    assert "exists; give another file" in again.stderr
    file.write_bytes(file.read_bytes()[:-10])
    refused = run_cli("replay", str(file))
    assert refused.returncode == 1
    assert "is not whole" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_kafka_is_exported_and_replayed_by_its_url(kafka, tmp_path):
    log = KafkaLog(config_of(kafka, partitions=2))
    try:
        log.create_topics()
        for part in range(2):
            log.append(EVENTS, entries(30 + part), part)
        shards = {f"{t}-{p}": shard.hash for (t, p), shard in replay_all(log).shards.items()}
    finally:
        log.close()
    url, file = f"kafka://{kafka}/{log.config.prefix}", tmp_path / "a.archive"
    done = run_cli("export", f"{url}?client_id=secret", str(file))
    assert done.returncode == 0, done.stderr
    assert "events-1" in done.stdout
    assert "secret" not in done.stdout + done.stderr
    for place in (f"{url}?client_id=secret", str(file)):
        found = read(run_cli("replay", place, "--json"))
        assert found["source"] == place.partition("?")[0]
        told = {f"{s['topic']}-{s['partition']}": s["state_hash"] for s in found["shards"]}
        assert told == shards
    printed = run_cli("replay", str(file)).stdout
    assert all(digest in printed for digest in shards.values())
    archive = ArchiveLog(file)
    assert archive.end(EVENTS, 1) == len(entries(31))
    archive.close()
    missing = run_cli("export", f"kafka://{kafka}/nobody.", str(tmp_path / "b.archive"))
    assert missing.returncode == 1
    assert "has no topic events" in missing.stderr
    assert [each.name for each in tmp_path.iterdir()] == ["a.archive"]
