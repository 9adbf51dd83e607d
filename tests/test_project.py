"""The project as users meet it: the wheel, the import directions, the promises of the README."""

import subprocess
import sys
import venv

import pytest


def run(*command, cwd, **options):
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_imports_point_one_way(root):
    lint = [
        sys.executable,
        "-c",
        "from importlinter.cli import lint_imports_command as main; main()",
    ]
    assert "Contracts: 2 kept, 0 broken" in run(*lint, cwd=root)


@pytest.mark.slow
def test_the_wheel_works_outside_the_checkout(root, tmp_path):
    build = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--outdir",
        str(tmp_path / "dist"),
        str(root),
    ]
    run(*build, cwd=tmp_path)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    venv.create(tmp_path / "clean", with_pip=True)
    python = tmp_path / "clean" / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", str(wheel), cwd=tmp_path)
    command = tmp_path / "clean" / "bin" / "slatestream"
    assert "simulate" in run(command, "--help", cwd=tmp_path)
    table = tmp_path / "table.csv"
    rows = [f"{i % 7},{i % 3},{'abc'[(i % 7) % 3]}" for i in range(60)]
    table.write_text("\n".join(["x,y,label", *rows]))
    simulate = ["simulate", "multiclass", "--data", str(table), "--label", "label"]
    rounds = ["--policy", "beta-ucb", "--rounds", "300", "--seed", "1", "--json"]
    assert '"mean_reward"' in run(command, *simulate, *rounds, cwd=tmp_path)
    store = "from streams.store import Store; Store('state.db').claim('events', 0, 'log')"
    run(python, "-c", store, cwd=tmp_path)
    bench = ["bench", "update", "--quick", "--rounds", "1", "--json"]
    assert '"ratio"' in run(command, *bench, cwd=tmp_path)
