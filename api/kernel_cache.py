"""Where compiled kernels are kept on disk, so that a process only ever loads them.

The directory is keyed by what the machine code depends on: the kernels' sources, Python, numba and
the CPU. numba itself looks at a kernel's own file alone, not at those of what it calls.
Nothing here may import numba: it reads its cache directory once, when it is imported.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import llvmlite.binding  # type: ignore[import-untyped]
import platformdirs

import engine
from engine.errors import ConfigError

__all__ = ["cache_key", "fill", "is_filled", "use"]

MARKER = "filled"
WARM_UP = "from engine.kernels import warm_up; warm_up()"


def cache_key() -> str:
    """Name the machine code this process runs: kernels, Python, numba and CPU."""
    features = llvmlite.binding.get_host_cpu_features()
    cpu = f"{llvmlite.binding.get_host_cpu_name()} {sorted(k for k, on in features.items() if on)}"
    digest = hashlib.sha256(cpu.encode())
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


def is_filled(directory: Path) -> bool:
    """Whether `fill` ran to its end for these very kernel sources."""
    with contextlib.suppress(OSError):
        return (directory / MARKER).read_text(encoding="utf-8") == _sources()
    return False


def fill(directory: Path) -> None:
    """Compile every kernel into the cache, in a process of its own.

    Raises
    ------
    ConfigError
        When a kernel cannot be compiled here.
    """
    if is_filled(directory):
        return
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", WARM_UP], check=False, capture_output=True, text=True
    )
    if done.returncode:
        tail = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise ConfigError(f"kernels cannot be compiled on this machine: {tail[0]}")
    part = directory / f"{MARKER}.{os.getpid()}"
    part.write_text(_sources(), encoding="utf-8")
    part.replace(directory / MARKER)


def _sources() -> str:
    import engine  # noqa: PLC0415  (holds no code: does not load numba)

    digest = hashlib.sha256(cache_key().encode())
    folder = Path(engine.__path__[0]) / "kernels"
    for path in sorted(folder.rglob("*.py")):
        stat = path.stat()  # numba's own index goes by size and time, too
        digest.update(f"{path} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()
