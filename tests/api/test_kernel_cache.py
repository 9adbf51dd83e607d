"""Where compiled kernels go, and that a filled cache is told from a stale one."""

import subprocess
import sys

import pytest

from api import kernel_cache
from engine.errors import ConfigError


@pytest.fixture(autouse=True)
def own_environment(monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", "")
    monkeypatch.delenv("NUMBA_CACHE_DIR")


def test_the_directory_is_keyed_by_release_and_cpu(tmp_path, monkeypatch):
    directory = kernel_cache.use(tmp_path)
    assert directory == tmp_path / "kernels" / kernel_cache.cache_key()
    assert directory.is_dir()
    features = {"some-feature": True}
    monkeypatch.setattr("llvmlite.binding.get_host_cpu_features", lambda: features)
    assert kernel_cache.use(tmp_path) != directory


def test_a_directory_of_the_environment_is_kept_unless_one_is_configured(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "given"))
    assert kernel_cache.use(None) == tmp_path / "given"
    assert kernel_cache.use(tmp_path / "configured").parent.parent == tmp_path / "configured"


def test_a_directory_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cache_dir"):
        kernel_cache.use(tmp_path / "file")


def test_a_mark_of_other_sources_does_not_count(tmp_path):
    directory = kernel_cache.use(tmp_path)
    assert not kernel_cache.is_filled(directory)
    (directory / kernel_cache.MARKER).write_text("of another release")
    assert not kernel_cache.is_filled(directory)


def test_the_command_line_loads_no_compiled_code_before_the_cache_is_set():
    loaded = "import sys, api.cli, api.supervisor; print('numba' in sys.modules)"
    told = subprocess.check_output([sys.executable, "-c", loaded], text=True)
    assert told.strip() == "False"


@pytest.mark.slow
def test_a_filled_cache_holds_every_kernel(tmp_path):
    directory = kernel_cache.use(tmp_path)
    kernel_cache.fill(directory)
    assert kernel_cache.is_filled(directory)
    compiled = set(directory.rglob("*.nbc"))
    assert len(compiled) > 5
    subprocess.run([sys.executable, "-c", kernel_cache.WARM_UP], check=True)
    assert set(directory.rglob("*.nbc")) == compiled
