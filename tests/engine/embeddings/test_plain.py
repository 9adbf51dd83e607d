"""Without the instructions the table asks of LLVM it gives the same answers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from api.kernel_cache import cache_key
from engine.embeddings.saving import digest_table
from engine.embeddings.table import EmbeddingTable
from engine.kernels import memory
from tests.engine.embeddings.tables import learn, mixed_config, stream

ROOT = Path(__file__).parents[3]


def answers() -> str:
    """Digest of what was learned, and of what is read: vectors, and whose."""
    config = mixed_config(900)
    table, events = EmbeddingTable(config), stream(4, 3000, config, keys=3000)
    learn(table, events, 0, 3000)
    table.erase(events["keys"][:50])
    keys = np.arange(4000, dtype=np.uint64)
    vectors, own = table.lookup(keys, (keys % 3).astype(np.int64))
    told = [digest_table(table).hex(), vectors.sum(dtype=np.float64).hex(), str(own.sum())]
    return f"{memory.PLAIN} {' '.join(told)} {hash(vectors.tobytes() + own.tobytes())}"


def test_plain_kernels_give_the_same_answers(monkeypatch) -> None:
    monkeypatch.delenv("SLATESTREAM_PLAIN", raising=False)
    usual = cache_key()
    monkeypatch.setenv("SLATESTREAM_PLAIN", "1")
    assert cache_key() != usual
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "PYTHONHASHSEED": "0",
        "NUMBA_CACHE_DIR": str(ROOT / ".cache" / "numba" / cache_key()),
    }
    told = []
    for plain in ("1", "0"):
        child = environment | {"SLATESTREAM_PLAIN": plain}
        if plain == "0":
            child["NUMBA_CACHE_DIR"] = os.environ["NUMBA_CACHE_DIR"]
        program = "from tests.engine.embeddings.test_plain import answers; print(answers())"
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=ROOT, env=child, check=True, capture_output=True
        )
        told.append(done.stdout.decode().split())
    assert (told[0][0], told[1][0]) == ("True", "False")
    assert told[0][1:] == told[1][1:]
