"""Killed at any time, in the midst of a delta too: replay makes the same bytes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from engine.embeddings.saving import save_table
from tests.engine.embeddings.folding import fold, frames

BATCHES = 600
ROOT = Path(__file__).parents[3]


def start(folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.engine.embeddings.folding", str(folder), str(BATCHES)]
    return subprocess.Popen(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)})


def kill_beyond(child: subprocess.Popen[bytes], path: Path, size: int) -> bool:
    """SIGKILL once its file is that long; whether it came to that."""
    while child.poll() is None:
        if path.exists() and path.stat().st_size >= size:
            child.send_signal(signal.SIGKILL)
            child.wait()
            return True
        time.sleep(0.0005)
    return False


@pytest.mark.slow
def test_kills_in_the_midst_of_deltas_leave_no_trace(tmp_path: Path) -> None:
    expected = save_table(fold(tmp_path / "uninterrupted", BATCHES))
    total = (tmp_path / "uninterrupted").stat().st_size
    rng, killed, torn = np.random.default_rng(1), 0, 0
    folder = tmp_path / "killed"
    folder.mkdir()
    path = folder / "deltas"
    for round_ in range(5):
        child = start(folder)
        killed += kill_beyond(child, path, int(total * (round_ + rng.random()) / 6))
        data = path.read_bytes()
        ends = [end for _, _, end in frames(data)]
        if ends and ends[-1] == len(data) and round_ % 2:  # the next kill, by hand, within a frame
            path.write_bytes(data[: len(data) - int(rng.integers(1, len(data) - ends[-2]))])
            torn += 1
        torn += ends[-1] < len(data)
    child = start(folder)
    assert child.wait(timeout=120) == 0
    assert (killed, torn >= 2) == (5, True)
    assert (folder / "whole").read_bytes() == expected
    assert path.read_bytes() == (tmp_path / "uninterrupted").read_bytes()


def test_a_torn_tail_is_told_from_whole_frames(tmp_path: Path) -> None:
    path = tmp_path / "deltas"
    fold(path, 9)
    data = path.read_bytes()
    ends = [end for _, _, end in frames(data)]
    assert len(ends) == 3
    for cut in range(ends[1] + 1, ends[2], 97):
        assert [end for _, _, end in frames(data[:cut])] == ends[:2]
    flipped = bytearray(data)
    flipped[ends[1] + 50] ^= 4
    assert [end for _, _, end in frames(bytes(flipped))] == ends[:2]
