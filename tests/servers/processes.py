"""Servers as processes of ours: ports of their own, and none outlives the process that began it."""

import atexit
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

# Below the ports that systems hand to outgoing connections (Linux from 32768, others from 49152):
# a server that is killed and started again finds its port still free.
PORTS = range(20000, 32768)
# Its input ends when its parent does, however that ends; what is still held then is killed.
REAPER = """
import contextlib, os, signal, sys
held = set()
for line in sys.stdin:
    verb, pid = line.split()
    (held.add if verb == "hold" else held.discard)(int(pid))
for pid in held:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
"""

_lock = threading.Lock()
_reaper: list[subprocess.Popen[str]] = []
_reserved: list[socket.socket] = []


class UnavailableError(Exception):
    """What a server needs is not installed here; the message says what to install."""


class ServerError(Exception):
    """A server did not start, did not answer or ended by itself."""


def _tell_reaper(verb: str, pid: int) -> None:
    with _lock:
        if not _reaper:
            command = [sys.executable, "-I", "-S", "-c", REAPER]
            _reaper.append(
                subprocess.Popen(command, stdin=subprocess.PIPE, text=True, start_new_session=True)
            )
            atexit.register(_reaper[0].communicate)
        stream = _reaper[0].stdin
        assert stream is not None
        stream.write(f"{verb} {pid}\n")
        stream.flush()


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that are free and stay reserved among processes that use this function.

    The reservation is a UDP socket on the same number: it stands in no TCP server's way and
    disappears with this process.

    Raises
    ------
    ServerError
        Too few ports are free.
    """
    found: list[int] = []
    for port in random.SystemRandom().sample(PORTS, len(PORTS)):
        if len(found) == count:
            break
        claim = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            claim.bind(("127.0.0.1", port))
            with socket.socket() as trial:
                trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                trial.bind(("127.0.0.1", port))
        except OSError:
            claim.close()
            continue
        _reserved.append(claim)
        found.append(port)
    if len(found) < count:
        raise ServerError(f"{count} free ports were asked for; {len(found)} were found in {PORTS}")
    return found


class Server:
    """One server process; what it says is appended to a file.

    Parameters
    ----------
    command
        Program and arguments.
    log
        File of its output and errors.
    options
        Passed on to `subprocess.Popen`.
    """

    def __init__(self, command: Sequence[str | Path], log: Path, **options: Any) -> None:
        self.log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in a terminal is ours to pass on
                **options,
            )
        _tell_reaper("hold", self.process.pid)

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def send(self, number: int) -> None:
        """Send a signal, if the process still runs."""
        self.process.send_signal(number)

    def wait(self, seconds: float = 30.0) -> int:
        """Wait for the end, killing after `seconds`; the exit code."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        _tell_reaper("release", self.process.pid)
        return self.process.returncode

    def kill(self) -> None:
        """End by SIGKILL."""
        self.send(signal.SIGKILL)
        self.wait()

    def wait_until(self, answers: Callable[[], bool], seconds: float) -> None:
        """Wait until the server answers.

        Raises
        ------
        ServerError
            It ended, or did not answer in time; with the end of its output.
        """
        deadline = time.monotonic() + seconds
        while not answers():
            if not self.alive:
                raise ServerError(f"the server ended with {self.wait()}: {self.last_words()}")
            if time.monotonic() > deadline:
                raise ServerError(f"no answer within {seconds:g} s: {self.last_words()}")
            time.sleep(0.02)

    def last_words(self) -> str:
        """The end of what it said."""
        return self.log.read_text(errors="replace")[-3000:]
