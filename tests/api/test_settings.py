"""Settings: one file, the environment over it, the command line over both."""

import pytest

from api.commands.init import TEMPLATE
from api.settings import Settings, read_settings
from engine.drift import Drift
from engine.errors import ConfigError
from engine.features import KINDS
from streams.config import EngineConfig


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "settings.toml"


def refusal(file, text):
    file.write_text(text)
    with pytest.raises(ConfigError) as refused:
        read_settings(file)
    return str(refused.value)


def test_without_a_file_the_defaults_work():
    settings = read_settings()
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert EngineConfig.from_dict(settings.engine_settings()).policies["main"].build("main")


def test_the_template_is_the_defaults(file):
    file.write_text(TEMPLATE)
    written, default = read_settings(file), read_settings()
    policy = {"policies": {"main": default.policies["main"].model_dump()}}
    policy["policies"]["main"]["spec"] = written.policies["main"].spec
    assert written.model_dump() == default.model_dump() | policy
    config = EngineConfig.from_dict(written.engine_settings())
    plain = EngineConfig.from_dict(default.engine_settings())
    assert config.policies["main"].build("main") == plain.policies["main"].build("main")


def test_the_template_names_every_setting():
    for name in Settings.model_fields:
        assert name in TEMPLATE


def test_environment_over_file_and_command_line_over_both(file, monkeypatch):
    file.write_text('port = 1\nhost = "::1"\n[policies.main]\nspec = "uniform"\n')
    assert read_settings(file).port == 1
    monkeypatch.setenv("SLATESTREAM_PORT", "2")
    monkeypatch.setenv("SLATESTREAM_POLICIES__MAIN__SPEC", "beta-ucb")
    settings = read_settings(file)
    assert (settings.port, settings.host) == (2, "::1")
    assert settings.policies["main"].spec == "beta-ucb"
    assert read_settings(file, port=3, host=None).port == 3


def test_settings_are_frozen_and_cross_a_pipe_unchanged(file):
    file.write_text(TEMPLATE)
    settings = read_settings(file)
    with pytest.raises(ValueError, match="frozen"):
        settings.port = 5
    assert Settings.model_validate_json(settings.model_dump_json()).model_dump() == (
        settings.model_dump()
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("prot = 1", "'prot' is no setting; did you mean 'port'?"),
        ('[policies.a]\nspec = "uniform"\nfeature = []', "did you mean 'features'?"),
        ('[recommenders.a]\npolicy = "a"\nwindow = 3', "did you mean 'window_seconds'?"),
        ("port = 70000", "'port' is 70000"),
        ('port = "x"', "'port' is 'x'"),
        ('[[keys]]\nname = "a"\nscope = "all"\nsha256 = "00"', "'serve' or 'admin'"),
        ('[policies.a]\nspec = "uniform"\n[policies.a.drift]\nhalving = 2', "'halvings'?"),
        ('[policies.a]\nspec = "uniform"\n[policies.a.drift]\naction = "stop"', "or 'decay'"),
        ("port = ", "is not TOML"),
    ],
)
def test_what_is_wrong_is_named(file, text, says):
    assert says in refusal(file, text)


def test_a_watch_for_drift_is_read_and_checked(file, monkeypatch):
    text = '[policies.main]\nspec = "beta-ucb"\n[policies.main.drift]\n'
    file.write_text(text + 'detector = "page-hinkley"\naction = "decay"\nthreshold = 9\n')
    monkeypatch.setenv("SLATESTREAM_POLICIES__MAIN__DRIFT__HALVINGS", "3")
    config = EngineConfig.from_dict(read_settings(file).engine_settings())
    drift = Drift(detector="page-hinkley", action="decay", threshold=9.0, halvings=3)
    assert config.policies["main"].drift == drift
    file.write_text(text + "threshold = 9\n")
    with pytest.raises(ConfigError, match="threshold is of page-hinkley"):
        EngineConfig.from_dict(read_settings(file).engine_settings())


def test_the_commented_features_of_the_template_are_a_schema(file):
    lines = [line.replace("    # {", "    {") for line in TEMPLATE.splitlines()]
    at = lines.index("# [policies.tastes]")
    lines[at : at + 3] = [line.removeprefix("# ") for line in lines[at : at + 3]]
    file.write_text("\n".join(lines))
    config = EngineConfig.from_dict(read_settings(file).engine_settings())
    schema = config.policies["main"].build("main").schema
    ids = config.policies["tastes"].build("tastes").schema
    assert [each.name for each in ids.ids] == ["user_id"]
    assert {each["type"] for each in schema.to_list()} == set(KINDS) - {"id"}
    assert schema.item_features == ("genre",)


def test_a_key_pasted_for_its_hash_is_not_repeated(file):
    secret = "sk_" + "s" * 40
    said = refusal(file, f'[[keys]]\nname = "a"\nscope = "serve"\nsha256 = "{secret}"')
    assert secret not in said
    assert "slatestream keys new" in said
    for text in (
        f'keys = "{secret}"',
        f'keys = ["{secret}"]',
        f"[keys]\n{secret} = 1",
        f"[[keys]]\n{secret} = 1",
        f'[[keys]]\nname = "a"\nscope = "{secret}"\nsha256 = "{"0" * 64}"',
    ):
        assert secret not in refusal(file, text)
    assert "did you mean 'sha256'" in refusal(file, '[[keys]]\nsha265 = "0"')


def test_a_missing_file_is_refused(file):
    with pytest.raises(ConfigError, match="slatestream init"):
        read_settings(file)


def test_unknown_variables_are_refused(monkeypatch):
    monkeypatch.setenv("SLATESTREAM_PROT", "1")
    with pytest.raises(ConfigError, match="did you mean 'SLATESTREAM_PORT'"):
        read_settings()


def test_variables_that_are_no_settings_of_ours_are_left_alone(monkeypatch):
    monkeypatch.setenv("SLATESTREAM_DATA", "/somewhere")
    assert read_settings().port == 8000


def test_a_broken_variable_is_refused(monkeypatch):
    monkeypatch.setenv("SLATESTREAM_KEYS", "[{")
    with pytest.raises(ConfigError, match="keys"):
        read_settings()
