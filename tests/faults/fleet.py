"""Learners as real processes, producers that never give up, and the check of what came of it."""

import json
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from streams.errors import LogError
from streams.events import encode_event
from streams.learner import Learner
from streams.log.base import EVENTS, Place
from streams.log.kafka import KafkaConfig, KafkaLog
from streams.shard import replay_log
from streams.store import Store
from tests.api.running import COMMAND, environment, wait_until
from tests.streams.cases import HOUR, click, impression, settings

WINDOW = 1.0
CONFIG = settings(HOUR, window=WINDOW, spec="linear-thompson:ridge=1.0")
TOML = f"""
commit_interval_ms = 200

[policies.main]
spec = "linear-thompson:ridge=1.0"
features = [{{ type = "numeric", name = "hour", center = 12, scale = 6 }}]

[recommenders.default]
policy = "main"
window_seconds = {WINDOW}
kinds = {{ click = 1.0, buy = 5.0 }}
"""
HOUR_MS = 3_600_000
BROKEN = (
    b"",
    b"{",
    b"\xff\xfe",
    b"null",
    b'{"type":"nothing","ts":0}',
    b'{"type":"feedback","ts":0}',
    b'{"type":"item","ts":0,"id":"a"}',
    b'{"type":"feedback","ts":0,"event_id":"e","request_id":"r","item_id":"a","kind":"click","value":NaN}',
    b'{"type":"impression","ts":0,"request_id":"r","recommender":"default","slate":[]}',
    b'{"type":"impression","ts":0,"request_id":"r","recommender":"default",'
    b'"slate":[{"item_id":"a","propensity":0,"method":"exact"}]}',
    b"[" * 200 + b"]" * 200,
)


class Producer(threading.Thread):
    """Appends slates, clicks and rubbish; what is refused is sent again."""

    def __init__(self, config: KafkaConfig, seed: int, *, rate: int = 1500) -> None:
        super().__init__(name="producer", daemon=True)
        self.acknowledged: list[tuple[Place, bytes]] = []
        self.refused = 0
        self._log = KafkaLog(config)
        self._rng = random.Random(seed)
        self._rate = rate
        self._sent = 0
        self._halt = threading.Event()
        self._name = f"p{seed}"

    def run(self) -> None:
        while not self._halt.is_set():
            start = time.monotonic()
            entries = self._batch()
            while True:
                try:
                    places = self._log.append(EVENTS, entries)
                    break
                except LogError:
                    self.refused += 1
                    time.sleep(0.1)
            values = [value for _, value in entries]
            self.acknowledged += zip(places, values, strict=True)
            time.sleep(max(0.0, len(entries) / self._rate - (time.monotonic() - start)))

    def finish(self) -> None:
        self._halt.set()
        self.join(120)
        assert not self.is_alive()
        self._log.close()

    def _batch(self) -> list[tuple[str, bytes]]:
        rng, entries = self._rng, []
        for _ in range(40):
            self._sent += 1
            name = f"{self._name}-{self._sent}"
            skew = rng.choice([-HOUR_MS, 0, HOUR_MS])
            now = max(time.time_ns() // 1_000_000 + skew, 0)
            slate = impression(name, "abc", context={"hour": rng.random() * 24})
            entries.append((name, encode_event(_at(slate, now))))
            for number in range(rng.choice([0, 1, 1, 2])):
                reply = click(name, rng.choice("abcd"), f"e{number}")
                place = rng.randrange(len(entries) + 1)  # before its slate, now and then
                entries.insert(place, (name, encode_event(_at(reply, now))))
            if rng.random() < 0.1:
                entries.append(rng.choice(entries))  # a repeat
            if rng.random() < 0.02:
                entries.append((name, rng.choice(BROKEN)))
        return entries


def _at(event, ts: int):
    return type(event)(
        **{name: getattr(event, name) for name in event.__struct_fields__} | {"ts": ts}
    )


class Fleet:
    """`slatestream serve --role learner`, several of them in one group."""

    def __init__(self, folder: Path, url: str, store: str, names: str = "abc") -> None:
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._folder, self.names = folder, names
        self._settings = (url, store)

    def start(self, name: str) -> None:
        url, store = self._settings
        file = self._folder / f"{name}.toml"
        file.write_text(
            f'data_dir = "{self._folder / name}"\nlog = "{url}&instance_id={name}"\n'
            f'store = "{store}"\n{TOML}'
        )
        with self.errors(name).open("ab") as errors:
            self._processes[name] = subprocess.Popen(
                [*COMMAND, "serve", "--role", "learner", "--config", str(file)],
                stderr=errors,
                stdout=errors,
                env=environment(),
                cwd=self._folder,
            )

    def pid(self, name: str) -> int:
        """Process id of the learner itself, 0 while it does not run."""
        try:
            status = json.loads((self._folder / name / "service.json").read_text())
        except (OSError, ValueError):
            return 0
        return int(status["children"]["learner"]["pid"])

    def send(self, name: str, number: int) -> int:
        """Send a signal to the learner; returns its process id."""
        wait_until(lambda: self.pid(name), 60)
        pid = self.pid(name)
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return 0
        return pid

    def kill(self, name: str) -> None:
        """SIGKILL the learner; its supervisor starts another."""
        self.send(name, signal.SIGKILL)

    def stop(self) -> None:
        for process in self._processes.values():
            process.terminate()
        for name, process in self._processes.items():
            assert process.wait(60) in {0, -15}, self.errors(name).read_text()

    def errors(self, name: str) -> Path:
        return self._folder / f"{name}.stderr"

    def said(self) -> str:
        return "".join(self.errors(name).read_text() for name in self._processes)


@contextmanager
def running_fleet(folder: Path, url: str, store: str, names: str = "abc") -> Iterator[Fleet]:
    fleet = Fleet(folder, url, store, names)
    try:
        for name in names:
            fleet.start(name)
        yield fleet
    finally:
        for process in fleet._processes.values():
            if process.poll() is None:
                process.kill()
                process.wait()


def learned(store_url: str) -> dict[int, int]:
    """Committed offsets by partition."""
    store = Store(store_url)
    try:
        tails = store.tail({})
        return {
            t.position.partition: t.position.next_offset
            for t in tails
            if t.position.topic == EVENTS
        }
    finally:
        store.close()


def wait_learned(log: KafkaLog, store_url: str, seconds: float = 120) -> None:
    """Wait until everything in the log is committed, but for the ticks that still come."""
    ends = {p: log.end(EVENTS, p) for p in range(log.partitions(EVENTS))}

    def reached() -> bool:
        offsets = learned(store_url)
        return all(offsets.get(p, 0) >= end for p, end in ends.items())

    wait_until(reached, seconds)


def check(config: KafkaConfig, store_url: str, producers: list[Producer]) -> dict[str, int]:
    """Every shard equals one uninterrupted pass; nothing acknowledged is missing; counts add up."""
    log, store = KafkaLog(config), Store(store_url)
    total: dict[str, int] = {}
    try:
        records = {}
        for partition in range(log.partitions(EVENTS)):
            learner = Learner(log, store, CONFIG, partition=partition)
            learner.start()
            whole = replay_log(log, partition=partition)
            assert learner.next_offset == whole.next_offset
            assert learner.hash() == whole.hash
            assert learner.counts == whole.counts
            assert learner.counts.exact
            for fates in learner.counts.to_dict().values():
                for fate, n in fates.items():
                    total[fate] = total.get(fate, 0) + n
            end = log.end(EVENTS, partition)
            offset = 0
            while offset < end:
                for record in log.poll(EVENTS, offset, 10_000, partition):
                    records[partition, record.offset] = record.value
                    offset = record.offset + 1
        for producer in producers:
            for place, value in producer.acknowledged:
                assert records[place] == value
        assert total["consumed"] == len(records)
        assert total["applied"] > 0.5 * total["consumed"]
        assert total["dead"] > 0
    finally:
        store.close()
        log.close()
    return total
