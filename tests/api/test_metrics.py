"""Metrics: one page for all processes, figures of learning, and what becomes of the dead."""

import os
import re
import signal
import threading
import time
import uuid

import httpx
import msgspec
import pytest
from prometheus_client import CollectorRegistry, Counter, generate_latest

from api.learning_metrics import LearningWatch, PublishingWatch
from api.metrics import Metrics
from api.metrics_server import serve_metrics
from api.shared_metrics import forget_gauges, make_room, shared_registry
from engine.errors import ConfigError
from streams.errors import LogError
from streams.host import Host, Pace
from streams.learner import Learner
from streams.log.base import EVENTS
from streams.log.memory import MemoryLog
from streams.membership import Change
from streams.publisher import Publisher
from streams.store import Store
from streams.views import ViewWriter
from tests.api.running import Running, wait_until
from tests.servers.processes import free_ports
from tests.streams.cases import START, click, impression, settings
from tests.streams.test_host import Clock, Group, happen

CONFIG = settings(window=2.0)
JSON = {"content-type": "application/json"}
ASK = {"k": 1, "candidates": ["a", "b"]}
LINE = re.compile(r"(\w+)(?:{(.*)})? (\S+)")


def samples(page):
    """Every sample of a page: (name, labels) -> value; a name comes once with the same labels."""
    found = {}
    for line in page.splitlines():
        if line.startswith("#"):
            continue
        name, labels, value = LINE.fullmatch(line).groups()
        key = (name, frozenset(re.findall(r'(\w+)="([^"]*)"', labels or "")))
        assert key not in found, line
        found[key] = float(value)
    return found


def value(page, name, **labels):
    """Sum of the samples with these labels, None when there is none."""
    wanted = {(key, str(each)) for key, each in labels.items()}
    matching = [
        number
        for (found, has), number in samples(page).items()
        if found == f"slatestream_{name}" and wanted <= has
    ]
    return sum(matching) if matching else None


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "state.db")
    yield store
    store.close()


@pytest.fixture
def learning(store):
    """A host over three partitions that owns two of them, and what its metrics say."""
    log, clock, registry = MemoryLog(START, partitions=3), Clock(), CollectorRegistry()
    group = Group(Change(assigned=[(EVENTS, 0), (EVENTS, 1)]))
    make = lambda _, partition: Learner(log, store, CONFIG, partition=partition)  # noqa: E731
    host = Host(make, group, pace=Pace(shortest=0.1), watch=LearningWatch(registry), clock=clock)

    def turn(seconds=2.0):
        clock.now += seconds
        while host.turn():
            clock.now += seconds
        return generate_latest(registry).decode()

    turn()
    return log, group, host, turn


def test_what_a_host_learns_is_counted_by_partition(learning):
    log, _, host, turn = learning
    happen(log, *(impression(f"r{number}") for number in range(30)))
    happen(log, *(click(f"r{number}") for number in range(20)), seconds=1)
    log.append(EVENTS, [("", b"{")], 0)
    log.append(EVENTS, [("", b"\xff")], 1)
    page = turn()
    for part in (0, 1):
        shard = {"topic": EVENTS, "partition": part}
        learner = host.learners[EVENTS, part]
        assert value(page, "shard_owned", **shard) == 1
        assert value(page, "shard_committed_offset", **shard) == log.end(EVENTS, part)
        assert value(page, "learned_records_total", **shard) == log.end(EVENTS, part)
        assert value(page, "shard_lag_events", **shard) == 0
        assert value(page, "shard_lag_seconds", **shard) == 0
        assert value(page, "checkpoint_bytes_total", **shard) > 0
        open_requests = learner.counts.to_dict()["impression"]["pending"]
        assert value(page, "shard_open_requests", **shard) == open_requests > 0
        for kind, fates in learner.counts.to_dict().items():
            for fate, count in fates.items():
                told = value(page, "shard_events", **shard, type=kind, fate=fate)
                assert (told or 0) == count
    assert value(page, "dead_letters_total", partition=0, reason="json") == 1
    assert value(page, "dead_letters_total", partition=1, reason="encoding") == 1
    assert value(page, "recovery_seconds_count", topic=EVENTS) == 2
    assert value(page, "shard_owned", partition=2) is None


def test_ticks_are_counted(learning):
    log, _, _, turn = learning
    happen(log, *(impression(f"r{number}") for number in range(30)))
    turn()
    log.time_ms += 5000
    page = turn()
    assert value(page, "ticks_total", partition=0) == 1
    assert value(page, "shard_open_requests") == 0


def test_a_shard_that_leaves_is_told_no_more_and_one_that_is_fenced_is_counted(learning, store):
    log, group, _, turn = learning
    happen(log, *(impression(f"r{number}") for number in range(30)))
    group.leaving = [(EVENTS, 1)]
    group.rebalances = 3
    page = turn()
    gauges = ("shard_owned", "shard_committed_offset", "shard_events", "shard_lag_events")
    for name in (*gauges, "shard_checkpoint_timestamp_seconds"):
        assert value(page, name, partition=1) == 0
        if name != "shard_lag_events":
            assert value(page, name, partition=0) > 0
    assert value(page, "rebalances_total") == 3
    assert value(page, "learned_records_total", partition=1) > 0, "counters stay"
    happen(log, *(click(f"r{number}") for number in range(30)))
    store.claim(EVENTS, 0, log.topic_id(EVENTS), 3)
    page = turn(0.2)
    assert value(page, "fenced_commits_total", partition=0) == 1
    assert value(page, "shard_owned") == 0


def test_lag_is_told_in_events_and_seconds(learning, monkeypatch):
    log, _, host, turn = learning
    learner = host.learners[EVENTS, 0]
    happen(log, impression("r"))
    turn()
    monkeypatch.setattr(learner, "step", lambda _: 0)  # it hangs
    monkeypatch.setattr(learner, "tick", lambda: False)
    log.time_ms += 3_600_000
    log.append(EVENTS, [("", b"{}")] * 7, 0)
    page = turn()
    assert value(page, "shard_lag_events", partition=0) == 7
    seconds = value(page, "shard_lag_seconds", partition=0)
    assert 0 < seconds < 600, "they waited since just now, though the one before is an hour old"
    assert value(page, "shard_lag_seconds", partition=1) == 0


def test_lag_after_a_recovery_goes_by_the_stamp_of_what_was_learned_last(learning, monkeypatch):
    log, group, _, turn = learning
    happen(log, *(impression(f"r{number}") for number in range(9)))
    group.leaving = [(EVENTS, 0)]
    turn()
    log.time_ms += 90_000
    log.append(EVENTS, [("", b"{}")] * 7, 0)
    monkeypatch.setattr(Learner, "step", lambda *_: 0)
    group.changes = [Change(assigned=[(EVENTS, 0)])]
    page = turn()
    assert value(page, "shard_lag_seconds", partition=0) == 90


def test_a_shard_in_trouble_is_told(learning, monkeypatch):
    log, _, _, turn = learning

    def away(*_):
        raise LogError("the broker is away")

    with monkeypatch.context() as patch:
        patch.setattr(log, "poll", away)
        patch.setattr(log, "end", away)
        page = turn()
        assert value(page, "shard_troubled") == 2
    log.append(EVENTS, [("", b"{}")], 0)
    log.append(EVENTS, [("", b"{}")], 1)
    assert value(turn(), "shard_troubled") == 0


def test_published_views_tell_how_old_their_newest_event_is(tmp_path, store):
    now = time.time_ns() // 1_000_000
    log, registry = MemoryLog(now - 60_000), CollectorRegistry()
    learner = Learner(log, store, CONFIG)
    learner.start()
    watch = PublishingWatch(registry)
    publisher = Publisher(store, ViewWriter(tmp_path), CONFIG, watch=watch)
    assert publisher.refresh() == 1
    assert publisher.refresh() is None
    page = generate_latest(registry).decode()
    assert value(page, "views_total") == value(page, "view_build_seconds_count") == 1
    assert value(page, "event_to_view_seconds_count") == 0, "what was learned before is no delay"
    happen(log, impression("r"), seconds=40)
    learner.step()
    learner.commit()
    publisher.refresh()
    page = generate_latest(registry).decode()
    assert value(page, "event_to_view_seconds_count") == 1
    assert value(page, "event_to_view_seconds_sum") >= 19


def test_files_are_reserved_and_a_dead_process_keeps_its_counts(tmp_path):
    folder = make_room(tmp_path, ["api", "api-2"])
    before = {file.name: file.stat().st_blocks for file in folder.iterdir()}
    assert all(blocks > 0 for blocks in before.values())
    assert len(before) == 6
    forget_gauges(folder, "api")
    assert {file.name for file in folder.iterdir()} == set(before)
    assert generate_latest(shared_registry(folder)) == b""
    (folder / "counter_old.db").write_bytes(b"")
    make_room(tmp_path, ["api", "api-2"])
    assert {file.name for file in folder.iterdir()} == set(before), "emptied at the start"


def test_without_room_metrics_are_not_shared(tmp_path, caplog):
    (tmp_path / "data").write_text("")
    assert make_room(tmp_path / "data", ["api"]) is None
    assert "do not share their metrics" in caplog.text


def test_the_small_server_answers_two_paths():
    registry = CollectorRegistry()
    Counter("slatestream_things", "Things", registry=registry).inc(3)
    with serve_metrics("127.0.0.1", 0, registry) as port:
        url = f"http://127.0.0.1:{port}"
        page = httpx.get(f"{url}/metrics")
        assert page.headers["content-type"].startswith("text/plain")
        assert value(page.text, "things_total") == 3
        assert httpx.get(f"{url}/health/live").json() == {"status": "live"}
        assert httpx.get(f"{url}/").status_code == 404
        refused = pytest.raises(ConfigError, match=rf"127\.0\.0\.1:{port}.*metrics_port")
        with refused, serve_metrics("127.0.0.1", port, registry):
            pass
    assert "metrics" not in {thread.name for thread in threading.enumerate()}


def test_any_worker_tells_of_all_processes(tmp_path):
    (port,) = free_ports(1)
    running = Running(tmp_path, f"commit_interval_ms = 50\nworkers = 2\nmetrics_port = {port}\n")
    running.start()
    with httpx.Client(base_url=running.url) as http:
        for item_id in ("a", "b"):
            assert http.put(f"/v1/items/{item_id}", json={}).status_code == 200
    for _ in range(40):
        time.sleep(0.01)
        with httpx.Client(base_url=running.url) as http:  # a new connection: any worker
            wait_until(lambda http=http: http.post("/v1/slates", json=ASK).status_code == 200)
    pages = {"": lambda: httpx.get(f"http://127.0.0.1:{port}/metrics").text}
    pages |= {str(n): lambda: httpx.get(f"{running.url}/metrics").text for n in range(6)}
    for page in (read() for read in pages.values()):
        assert value(page, "slates_total") == 40
        assert value(page, "shard_owned", topic=EVENTS, partition=0) == 1
        assert value(page, "views_total") >= 1
    wait_until(lambda: value(pages["0"](), "event_to_servable_seconds_count") > 0)
    page = pages["0"]()
    assert value(page, "view_partition_offset", partition=0) > 0
    assert value(page, "view_partition_lag_events", partition=0) is not None
    assert value(page, "shard_checkpoint_age_seconds", partition=0) < 60
    check_deaths(running, pages)
    assert running.stop() == 0


def check_deaths(running, pages):
    for victim in ("api", "api-2", "learner"):
        pid = running.pid(victim)
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda victim=victim, pid=pid: running.pid(victim) not in {0, pid})
    running.wait_ready()
    wait_until(lambda: value(pages[""](), "shard_owned") == 1)
    for read in pages.values():
        page = read()
        assert value(page, "slates_total") == 40
        assert value(page, "process_restarts_total") == 3
    assert value(pages[""](), "recovery_seconds_count") == 2
    files = {file.name for file in (running.data_dir / "metrics").iterdir()}
    assert len(files) == 3 * 4, "a file by kind and name, however many processes there were"


def test_the_page_on_operations_names_every_metric_and_no_other(root, service, http):
    assert http.post("/v1/slates", json={"k": 1, "pool": "base"}).status_code == 200
    told = set(re.findall(r"^# TYPE (slatestream_\w+)", http.get("/metrics").text, re.MULTILINE))
    instruments = CollectorRegistry()
    LearningWatch(instruments)
    told |= {metric.name for each in (instruments, Metrics().registry) for metric in each.collect()}
    rows = [row for row in (root / "docs" / "operations.md").read_text().split("\n") if "|" in row]
    written = {
        name.removesuffix("_total") for name in re.findall(r"slatestream_\w+", "".join(rows))
    }
    assert written == {name.removesuffix("_total") for name in told}


@pytest.fixture
def two_hosts(tmp_path, kafka, postgres):
    """A host that learns and one that serves, and the ports of their metrics."""
    ports = free_ports(2)
    url = f"kafka://{kafka}/metrics-{uuid.uuid4().hex[:8]}.?partitions=3"
    common = f'log = "{url}"\nstore = "{postgres.url}"\ncommit_interval_ms = 50\n'
    hosts = []
    for role, port in zip(("learner", "api"), ports, strict=True):
        (tmp_path / role).mkdir()
        settings = f"{common}max_wait_ms = 30000\nmetrics_port = {port}\n"
        hosts.append(Running(tmp_path / role, settings))
        hosts[-1].launch("--role", role)
    try:
        hosts[1].wait_ready()
        yield hosts[1], ports
    finally:
        codes = [host.stop() for host in reversed(hosts)]
    assert codes == [0, 0]


def test_hosts_of_either_role_tell_their_part(two_hosts):
    host, ports = two_hosts
    learner, api = (f"http://127.0.0.1:{port}/metrics" for port in ports)
    with httpx.Client(base_url=host.url, timeout=60) as http:
        for item_id in ("a", "b"):
            assert http.put(f"/v1/items/{item_id}", json={}).status_code == 200
        clicks = [click(f"r{number}", event_id=str(number)) for number in range(30)]
        reply = http.post("/v1/events", content=msgspec.json.encode(clicks), headers=JSON)
        version = reply.json()["version"]
        assert version.count(":") == 3
        slate = http.post("/v1/slates", json={**ASK, "min_version": version})
        assert slate.status_code == 200
        model = http.get("/v1/model").json()
        assert set(model["clocks"]) == set(model["ends"]) == {"0", "1", "2"}
        page = http.get("/metrics").text
        for part in range(3):
            assert value(page, "view_partition_lag_events", partition=part) is not None
        assert value(page, "shard_owned") is None, "that is the other host's"
    assert value(httpx.get(api).text, "event_to_view_seconds_count") > 0

    def learned():
        page = httpx.get(learner).text
        return value(page, "shard_events", type="feedback", fate="pending") == 30

    wait_until(learned)
    page = httpx.get(learner).text
    assert value(page, "shard_owned", topic=EVENTS) == 3
    assert value(page, "rebalances_total") >= 1
    assert value(page, "slates_total") is None
