"""Databases that stop, lie about a commit or are full: nothing is lost and nothing counts twice."""

import contextlib
import random
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import event as hooks

from streams.errors import FencedError, StoreError
from streams.learner import Learner
from streams.log.base import EVENTS
from streams.log.memory import MemoryLog
from streams.store import Store
from tests.streams.cases import HOUR, START, settings
from tests.streams.hosting import Hosting, check_against_replay, traffic, wait_until
from tests.streams.test_store import commit

CONFIG = settings(HOUR, window=2.0)


def append(log: MemoryLog, rng: random.Random, number: int) -> None:
    log.time_ms += rng.choice([0, 100, 2500])
    log.append(EVENTS, traffic(rng, number))


@pytest.mark.parametrize("shard", range(3))
def test_of_two_owners_that_commit_at_once_one_writes(where, shard):
    store, other = Store(where), Store(where)
    store.claim("events", shard, "log")
    for offset in range(1, 15):
        # Both hold the same claim: the second never learned that it was taken for dead.
        position = store.claim("events", shard, "log")
        start = threading.Barrier(2)

        def write(store, position=position, start=start, offset=offset) -> bool:
            start.wait()
            with contextlib.suppress(FencedError):
                store.commit(position, commit(offset))
                return True
            return False

        with ThreadPoolExecutor(2) as pool:
            assert sum(pool.map(write, [store, other])) == 1
    last = store.claim("events", shard, "log")
    assert (last.seq, last.next_offset) == (14, 14)
    assert len(store.load(last).deltas) == 14
    store.close()
    other.close()


def test_a_server_that_crashes_under_load_loses_and_doubles_nothing(postgres):
    rng = random.Random(3)
    log, store = MemoryLog(START, partitions=2), Store(postgres.url)
    number = 0
    with Hosting(log, store, CONFIG) as hosting:
        for _ in range(3):
            for _ in range(20):
                append(log, rng, number)
                number += 25
                wait_until(lambda: hosting.committed() > 0)
            postgres.server.stop(immediate=True)
            append(log, rng, number)
            number += 25
            wait_until(lambda: len(hosting.host.troubled) == 2)
            told = {str(error) for error in hosting.host.troubled.values()}
            assert all(f"store {store.database.name}: " in each for each in told), told
            postgres.server.start()
        hosting.wait_committed()
        wait_until(lambda: not hosting.host.troubled)
    check_against_replay(log, store, CONFIG)
    store.close()


class Proxy:
    """Passes a connection on to a server, until it is told to swallow a reply and hang up."""

    def __init__(self, port: int) -> None:
        self._server = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.swallow = b""  # hang up when the server answered a request that holds this
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._server))
                threading.Thread(target=self._serve, args=(client, server), daemon=True).start()

    def _serve(self, client: socket.socket, server: socket.socket) -> None:
        swallowing = threading.Event()

        def answer() -> None:
            with contextlib.suppress(OSError):
                while data := server.recv(1 << 16):
                    if swallowing.is_set():
                        break
                    client.sendall(data)
            for end in (client, server):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        with contextlib.suppress(OSError):
            while data := client.recv(1 << 16):
                if self.swallow and self.swallow in data:
                    self.swallow = b""
                    swallowing.set()
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)
        thread.join()
        client.close()
        server.close()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def proxied(postgres):
    proxy = Proxy(postgres.server.port)
    store = Store(postgres.url.replace(f":{postgres.server.port}/", f":{proxy.port}/"))
    yield proxy, store
    store.close()
    proxy.close()


def test_a_commit_whose_reply_is_lost_is_not_made_twice(proxied):
    proxy, store = proxied
    position = store.commit(store.claim("events", 0, "log"), commit(1))
    proxy.swallow = b"COMMIT\0"
    with pytest.raises(StoreError, match="cannot commit to"):
        store.commit(position, commit(2))
    with pytest.raises(FencedError, match="whose reply was lost"):
        store.commit(position, commit(3))
    again = store.claim("events", 0, "log")
    assert (again.seq, again.next_offset) == (2, 2)
    assert store.load(again).deltas == [{"main": b"1"}, {"main": b"2"}]


def test_a_commit_that_did_not_arrive_is_made_again(proxied):
    proxy, store = proxied
    position = store.commit(store.claim("events", 0, "log"), commit(1))
    proxy.swallow = b"UPDATE shard"
    with pytest.raises(StoreError, match="cannot commit to"):
        store.commit(position, commit(2))
    assert store.commit(position, commit(3)).seq == 2


def test_a_learner_goes_on_after_lost_replies_as_if_nothing_were(proxied):
    proxy, store = proxied
    rng = random.Random(8)
    log = MemoryLog(START)
    learner, fenced = Learner(log, store, CONFIG), 0
    learner.start()
    for number in range(40):
        append(log, rng, 25 * number)
        proxy.swallow = rng.choice([b"COMMIT\0", b"UPDATE shard", b"INSERT INTO", b""])
        try:
            learner.step(rng.choice([7, 1000]))
            learner.commit()
        except FencedError:
            fenced += 1
            proxy.swallow = b""
            learner = Learner(log, store, CONFIG)
            learner.recover()
        except StoreError:
            continue
    proxy.swallow = b""
    learner = Learner(log, store, CONFIG)
    learner.recover()
    while learner.step():
        learner.commit()
    assert fenced > 2
    check_against_replay(log, store, CONFIG)


def limit_pages(store: Store, pages: int) -> None:
    """Let the store's file grow no further: what SQLite then says is what a full disk makes it."""

    def limit(connection: object, _: object) -> None:
        connection.execute(f"PRAGMA max_page_count = {pages}")

    hooks.listen(store.database._writer, "connect", limit)
    store.database._writer.dispose()


def test_a_full_disk_stops_learning_and_nothing_else(tmp_path):
    rng = random.Random(4)
    log, store = MemoryLog(START), Store(tmp_path / "state.db")
    with Hosting(log, store, CONFIG) as hosting:
        append(log, rng, 0)
        hosting.wait_committed()
        with store.database.reading() as connection:
            used = connection.exec_driver_sql("PRAGMA page_count").scalar()
        limit_pages(store, used + 2)
        number = 25
        while not hosting.host.troubled:
            append(log, rng, number)
            number += 25
            wait_until(lambda: hosting.host.troubled or hosting.committed() == hosting.appended())
        (trouble,) = hosting.host.troubled.values()
        assert "cannot commit to" in str(trouble)
        assert "disk is full" in str(trouble)
        frozen = hosting.committed()
        append(log, rng, number)
        assert frozen == hosting.committed() < hosting.appended()
        limit_pages(store, 1 << 30)
        hosting.wait_committed()
        wait_until(lambda: not hosting.host.troubled)
    check_against_replay(log, store, CONFIG)
    store.close()
