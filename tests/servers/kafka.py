"""A real Apache Kafka of one or three nodes on this machine, for tests and development.

As a program (`make kafka`) it runs in the foreground until Ctrl-C.
"""

import argparse
import base64
import contextlib
import shutil
import signal
import socket
import struct
import sys
import threading
import time
import uuid
from pathlib import Path

from tests.servers.jars import CACHE, broker_jars, java
from tests.servers.processes import Server, ServerError, UnavailableError, free_ports

START_SECONDS = 120.0
STOP_SECONDS = 10.0
# Starts fast and stays small; a broker's own caching is the operating system's.
JVM = [
    "-Xms64m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
]
# Topics are made by who uses them, groups of any session timeout form at once, and a lost node is
# noticed (and may register anew) after two seconds instead of nine. How records are stamped is
# each topic's own matter.
SETTINGS = {
    "process.roles": "broker,controller",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "auto.create.topics.enable": "false",
    "group.initial.rebalance.delay.ms": 0,
    "group.min.session.timeout.ms": 1000,
    "offsets.topic.num.partitions": 1,
    "transaction.state.log.num.partitions": 1,
    "share.coordinator.state.topic.num.partitions": 1,
    "log.cleaner.dedupe.buffer.size": 1048577,
    "log.initial.task.delay.ms": 500,
    "log.retention.check.interval.ms": 1000,
    "broker.heartbeat.interval.ms": 300,
    "broker.session.timeout.ms": 2000,
    "controller.quorum.election.backoff.max.ms": 500,
    "replica.fetch.wait.max.ms": 200,
    "replica.lag.time.max.ms": 2000,
    "num.io.threads": 4,
    "num.network.threads": 2,
}


class Cluster:
    """Apache Kafka (KRaft): every node is broker and controller; nodes are numbered from 1.

    With three nodes each topic has three replicas by default, two of which must hold a record
    before it is acknowledged to a producer that asks for `acks=all`.

    Parameters
    ----------
    folder
        Settings, data and logs; a cluster made over an old one's folder, with the same number of
        nodes, continues with its data.
    nodes
        1 or 3.
    port
        First port: brokers listen on `port`, `port + 1`, ..., controllers on the next ones. By
        default ports are found that are free.
    heap_mb
        Largest heap of a node, MiB.
    settings
        More broker settings, or other values than the ones above.

    Raises
    ------
    UnavailableError
        Java is not installed, or the jars cannot be fetched.
    """

    def __init__(
        self,
        folder: Path,
        nodes: int = 1,
        *,
        port: int | None = None,
        heap_mb: int = 384,
        settings: dict[str, object] | None = None,
    ) -> None:
        if nodes not in {1, 3}:
            raise ValueError(f"{nodes} nodes were asked for; a cluster has 1 or 3")
        ports = free_ports(2 * nodes) if port is None else list(range(port, port + 2 * nodes))
        self.folder = folder
        self.nodes = range(1, nodes + 1)
        self._brokers = dict(zip(self.nodes, ports[:nodes], strict=True))
        self._controllers = dict(zip(self.nodes, ports[nodes:], strict=True))
        self._settings = SETTINGS | self._replication() | (settings or {})
        self._java = [java(), *JVM, f"-Xmx{heap_mb}m", "-cp", f"{broker_jars()}/*"]
        self._servers: dict[int, Server] = {}

    def __enter__(self) -> "Cluster":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def bootstrap(self) -> str:
        """Addresses for clients."""
        return ",".join(f"127.0.0.1:{port}" for port in self._brokers.values())

    @property
    def running(self) -> list[int]:
        """Nodes whose process runs (a suspended one does)."""
        return [node for node, server in self._servers.items() if server.alive]

    def start(self, node: int | None = None) -> None:
        """Start the nodes that do not run, or one of them, and wait until each answers.

        Raises
        ------
        ServerError
            A node ended or did not answer in time.
        """
        chosen = [one for one in self._which(node) if one not in self.running]
        self._format([one for one in chosen if not self._data(one).is_dir()])
        for one in chosen:
            command = [*self._java, "kafka.Kafka", self._write_settings(one)]
            self._servers[one] = Server(command, self.log(one))
        for one in chosen:
            self._servers[one].wait_until(
                lambda port=self._brokers[one]: answers(port), START_SECONDS
            )

    def stop(self, node: int | None = None) -> None:
        """Stop all nodes, or one of them, by SIGTERM: leaders move and logs close in order."""
        stopped = [self._servers.pop(one) for one in self._which(node) if one in self._servers]
        for server in stopped:
            server.send(signal.SIGTERM)
            server.send(signal.SIGCONT)
        for server in stopped:
            server.wait(STOP_SECONDS)  # the last of three waits for a quorum that is gone

    def kill(self, node: int) -> None:
        """End a node by SIGKILL."""
        self._servers.pop(node).kill()

    def restart(self, node: int) -> None:
        """Stop a node if it runs, start it, wait until it answers."""
        self.stop(node)
        self.start(node)

    def suspend(self, node: int) -> None:
        """Halt a node by SIGSTOP: it keeps its connections and answers nothing."""
        self._servers[node].send(signal.SIGSTOP)

    def resume(self, node: int) -> None:
        """Let a suspended node continue."""
        self._servers[node].send(signal.SIGCONT)

    def discard(self) -> None:
        """Kill all nodes and delete their data; their logs stay."""
        for node in list(self._servers):
            self.kill(node)
        for node in self.nodes:
            shutil.rmtree(self._data(node), ignore_errors=True)

    def log(self, node: int) -> Path:
        """What a node said so far."""
        return self.folder / f"node-{node}.log"

    def _data(self, node: int) -> Path:
        return self.folder / f"node-{node}"

    def _which(self, node: int | None) -> list[int]:
        return list(self.nodes) if node is None else [node]

    def _replication(self) -> dict[str, object]:
        copies, kept = (3, 2) if len(self.nodes) == 3 else (1, 1)
        return {
            "default.replication.factor": copies,
            "min.insync.replicas": kept,
            "offsets.topic.replication.factor": copies,
            "transaction.state.log.replication.factor": copies,
            "transaction.state.log.min.isr": kept,
            "share.coordinator.state.topic.replication.factor": copies,
            "share.coordinator.state.topic.min.isr": kept,
        }

    def _write_settings(self, node: int) -> Path:
        broker = f"PLAINTEXT://127.0.0.1:{self._brokers[node]}"
        voters = [f"{one}@127.0.0.1:{port}" for one, port in self._controllers.items()]
        own = {
            "node.id": node,
            "listeners": f"{broker},CONTROLLER://127.0.0.1:{self._controllers[node]}",
            "advertised.listeners": broker,
            "controller.quorum.voters": ",".join(voters),
            "log.dirs": self._data(node).resolve(),
        }
        file = self.folder / f"node-{node}.properties"
        file.write_text(
            "".join(f"{key}={value}\n" for key, value in (self._settings | own).items())
        )
        return file

    def _format(self, nodes: list[int]) -> None:
        """Make new nodes' data folders, all under one cluster's identity."""
        if not nodes:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        identity = self.folder / "cluster.id"
        if not identity.exists():
            identity.write_text(new_identity())
        tool = [*self._java, "kafka.tools.StorageTool", "format", "-t", identity.read_text(), "-c"]
        made = [Server([*tool, self._write_settings(one)], self.log(one)) for one in nodes]
        for one in made:
            if one.wait(START_SECONDS):
                raise ServerError(f"a data folder could not be made: {one.last_words()}")


def new_identity() -> str:
    """A random identity in Kafka's form; a leading dash would read as an option."""
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not text.startswith("-"):
            return text


def answers(port: int, seconds: float = 5.0) -> bool:
    """Whether a broker answers requests: it does once it is registered and serves clients."""
    request = struct.pack(">hhih", 18, 0, 7, -1)  # ApiVersions, version 0, without a client's name
    with (
        contextlib.suppress(OSError),
        socket.create_connection(("127.0.0.1", port), timeout=1) as connection,
    ):
        connection.settimeout(seconds)
        connection.sendall(struct.pack(">i", len(request)) + request)
        answer = connection.recv(10, socket.MSG_WAITALL)
        return len(answer) == 10 and struct.unpack(">iih", answer)[1:] == (7, 0)
    return False


def main() -> int:
    """Run a cluster in the foreground; its data is kept for the next time."""
    parser = argparse.ArgumentParser(prog="make kafka", description=__doc__)
    parser.add_argument("--nodes", type=int, choices=(1, 3), default=1)
    parser.add_argument("--port", type=int, default=9092, help="the first broker's port")
    given = parser.parse_args()
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    folder = CACHE / "data" / f"nodes-{given.nodes}"
    try:
        began = time.monotonic()
        with Cluster(folder, given.nodes, port=given.port, heap_mb=1024) as cluster:
            taken = time.monotonic() - began
            print(f"Kafka answers at {cluster.bootstrap} after {taken:.1f} s; Ctrl-C ends it.")
            print(f"Data and logs: {folder}", flush=True)
            while cluster.running == list(cluster.nodes):
                if ended.wait(0.5):
                    return 0
            print(f"make kafka: a node ended; see the logs in {folder}", file=sys.stderr)
    except (UnavailableError, ServerError) as problem:
        print(f"make kafka: {problem}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
