"""The conditions of a measurement: one thread, one core, NumPy at its best, and their record."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["KAFKA", "Machine", "child_environment", "describe", "pin", "spare_cores"]

KAFKA = "BENCH_KAFKA"
"""Environment variable of the brokers that may be used."""

THREADS = (
    "OPENBLAS_NUM_THREADS",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)
# They make OpenBLAS pick other kernels than the CPU's own: NumPy would look slower than it is.
HANDICAPS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
PACKAGES = (
    "slatestream",
    "numpy",
    "numba",
    "scipy",
    "vowpalwabbit",
    "mabwiser",
    "river",
    "implicit",
    "contextualbandits",
    "faiss-cpu",
    "hnswlib",
    "redis",
    "kafka-python",
    "confluent-kafka",
    "msgspec",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What a measuring process ran on."""

    python: str
    system: str
    cores: int
    pinned: int | None  # number of the core; None where processes cannot be pinned
    blas: str
    packages: dict[str, str]


def child_environment(given: Mapping[str, str]) -> dict[str, str]:
    """Environment of a measuring process: BLAS reads it once, when NumPy is first imported.

    The process imports what this one runs, whatever lies in the user's folder.
    """
    kept = {key: value for key, value in given.items() if key not in HANDICAPS}
    home = str(Path(__file__).resolve().parent.parent)
    path = os.pathsep.join(filter(None, (home, given.get("PYTHONPATH"))))
    return kept | dict.fromkeys(THREADS, "1") | {"PYTHONPATH": path}


def pin() -> int | None:
    """Keep this process on the last core it may use; returns its number."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    return core


def spare_cores(pinned: int | None) -> set[int]:
    """Return the cores of this machine on which nothing is measured."""
    return set(range(os.cpu_count() or 1)) - {pinned}


def describe(pinned: int | None) -> Machine:
    """Say what this process runs on; NumPy must be loaded, so that its BLAS is known."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return Machine(
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
        cores=os.cpu_count() or 1,
        pinned=pinned,
        blas=_blas(),
        packages=found,
    )


def _blas() -> str:
    try:
        import threadpoolctl  # noqa: PLC0415  (an optional extra)
    except ModuleNotFoundError:
        return "unknown: threadpoolctl is not installed"
    pools = [pool for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]
    told = {
        f"{pool['internal_api']} {pool['version']}, kernels for "
        f"{pool.get('architecture', 'unknown')}, {pool['num_threads']} thread"
        for pool in pools
    }
    return "; ".join(sorted(told)) or "none found"
