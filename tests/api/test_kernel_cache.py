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


SETTINGS = {"policies": {"main": {"spec": "linear-thompson"}}}
USE = """
import numpy as np
from tests.engine.worlds import learned, requests
for spec in ("linear-thompson", "uniform"):
    made, state = learned(spec)
    posterior = made.derive(state)
    made.rank(posterior, requests(posterior, n=3), 4)
    made.rank(posterior, requests(posterior, n=1), 2, np.array([[3, -1]]))
    made.item_summary(posterior, ["item-1"], requests(posterior).x[0])
"""


def test_a_mark_of_other_sources_or_policies_does_not_count(tmp_path):
    directory = kernel_cache.use(tmp_path)
    assert not kernel_cache.is_filled(directory, SETTINGS)
    marker = directory / kernel_cache._marker(SETTINGS)
    marker.write_text("of another release")
    assert not kernel_cache.is_filled(directory, SETTINGS)
    marker.write_text(kernel_cache._sources())
    assert kernel_cache.is_filled(directory, SETTINGS)
    other = {"policies": {"main": {"spec": "linear-ucb"}}}
    assert not kernel_cache.is_filled(directory, other)


def test_a_policy_that_is_not_valid_is_told(tmp_path):
    directory = kernel_cache.use(tmp_path)
    with pytest.raises(ConfigError, match="linear-ucp"):
        kernel_cache.fill(directory, {"policies": {"main": {"spec": "linear-ucp"}}})


def test_the_command_line_loads_no_compiled_code_before_the_cache_is_set():
    loaded = "import sys, api.cli, api.supervisor; print('numba' in sys.modules)"
    told = subprocess.check_output([sys.executable, "-c", loaded], text=True)
    assert told.strip() == "False"


@pytest.mark.slow
def test_a_filled_cache_holds_every_kernel_that_serving_needs(tmp_path):
    directory = kernel_cache.use(tmp_path)
    kernel_cache.fill(directory, SETTINGS)
    assert kernel_cache.is_filled(directory, SETTINGS)
    compiled = set(directory.rglob("*.nbc"))
    assert len(compiled) > 5
    subprocess.run([sys.executable, "-c", USE], check=True)
    assert set(directory.rglob("*.nbc")) == compiled
