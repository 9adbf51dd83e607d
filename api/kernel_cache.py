"""Where compiled kernels are kept on disk, so that a process only ever loads them.

The directory is keyed by what the machine code depends on: the kernels' sources, Python, numba and
the CPU. numba itself looks at a kernel's own file alone, not at those of what it calls.
Nothing here may import numba: it reads its cache directory once, when it is imported.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.metadata
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import llvmlite.binding  # type: ignore[import-untyped]
import platformdirs

import engine
from engine.errors import ConfigError

__all__ = ["cache_key", "fill", "is_filled", "use"]

MARKER = "filled"
LOCK = "lock"
WARM_UP = """
import json, sys
from engine.registry import make_policy
from engine.warm_up import warm_up
from streams.config import EngineConfig
from streams.warm_up import warm_up_fold
warm_up_fold()
warm_up(make_policy("uniform"))
for name, policy in EngineConfig.from_dict(json.load(sys.stdin)).policies.items():
    warm_up(policy.build(name))
"""


def cache_key() -> str:
    """Name the machine code this process runs: kernels, Python, numba and CPU."""
    features = llvmlite.binding.get_host_cpu_features()
    cpu = f"{llvmlite.binding.get_host_cpu_name()} {sorted(k for k, on in features.items() if on)}"
    digest = hashlib.sha256(cpu.encode())
    digest.update(os.environ.get("SLATESTREAM_PLAIN", "").encode())  # see engine.kernels.memory
    for source in sorted(Path(engine.__file__).parent.rglob("kernels/**/*.py")):
        digest.update(source.read_bytes())
    versions = [importlib.metadata.version(name) for name in ("slatestream", "numba")]
    python = "".join(map(str, sys.version_info[:2]))
    name = llvmlite.binding.get_host_cpu_name()
    return f"{versions[0]}-py{python}-numba{versions[1]}-{name}-{digest.hexdigest()[:12]}"


def use(cache_dir: Path | None) -> Path:
    """Point numba, in this process and its children, at the cache; returns the directory.

    A ``NUMBA_CACHE_DIR`` of the environment is respected when no directory is configured.

    Raises
    ------
    ConfigError
        When the directory cannot be made.
    """
    given = os.environ.get("NUMBA_CACHE_DIR")
    if cache_dir is None and given:
        directory = Path(given)
    else:
        base = cache_dir or platformdirs.user_cache_path("slatestream")
        directory = base.absolute() / "kernels" / cache_key()
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"kernel cache {directory}: {error.strerror}; set cache_dir to a directory that can "
            "be written"
        ) from error
    os.environ["NUMBA_CACHE_DIR"] = str(directory)
    return directory


def is_filled(directory: Path, settings: Mapping[str, Any]) -> bool:
    """Whether `fill` ran to its end for these settings and these very kernel sources."""
    with contextlib.suppress(OSError):
        return (directory / _marker(settings)).read_text(encoding="utf-8") == _sources()
    return False


def fill(directory: Path, settings: Mapping[str, Any]) -> None:
    """Compile the kernels that policies use into the cache, in a process of its own.

    Parameters
    ----------
    settings
        Policies as `EngineConfig.from_dict` takes them.

    Raises
    ------
    ConfigError
        When a policy is not valid, or a kernel cannot be compiled here.
    """
    with _alone(directory):
        if not is_filled(directory, settings):
            _compile(directory, settings)


@contextlib.contextmanager
def _alone(directory: Path) -> Iterator[None]:
    # Of services that start together one compiles, and the others load what it made.
    with (directory / LOCK).open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _compile(directory: Path, settings: Mapping[str, Any]) -> None:
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", WARM_UP],
        check=False,
        capture_output=True,
        text=True,
        input=json.dumps({"policies": settings["policies"]}),
    )
    if done.returncode:
        tail = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise ConfigError(f"kernels cannot be compiled on this machine: {tail[0]}")
    marker = directory / _marker(settings)
    part = marker.with_suffix(f".{os.getpid()}")
    part.write_text(_sources(), encoding="utf-8")
    part.replace(marker)


def _marker(settings: Mapping[str, Any]) -> str:
    specs = sorted({policy["spec"] for policy in settings["policies"].values()})
    return f"{MARKER}-{hashlib.sha256(json.dumps(specs).encode()).hexdigest()[:12]}"


def _sources() -> str:
    import engine  # noqa: PLC0415  (holds no code: does not load numba)

    digest = hashlib.sha256(cache_key().encode())
    folder = Path(engine.__path__[0]) / "kernels"
    for path in sorted(folder.rglob("*.py")):
        stat = path.stat()  # numba's own index goes by size and time, too
        digest.update(f"{path} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()
