"""What a child process does at a signal, whatever its main thread is doing."""

import signal
import subprocess
import sys

import pytest

# The main thread holds the event's own lock nearly all the time.
BUSY = """
import threading
from api.children import stop_on_signals
stop = threading.Event()
stop_on_signals(stop.set)
print("ready", flush=True)
while not stop.is_set():
    stop.wait(0.0001)
    with stop._cond:
        sum(range(2000))
print("stopped", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_a_thread_that_holds_the_very_lock(number):
    for _ in range(5):
        process = subprocess.Popen(
            [sys.executable, "-c", BUSY], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        try:
            told, errors = process.communicate(timeout=20)
        finally:
            process.kill()
        assert (told, errors, process.returncode) == ("stopped\n", "", 0)
