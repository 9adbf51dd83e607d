"""Settings of the service: one TOML file, overridden by the environment, read once.

``SLATESTREAM_PORT=9000`` overrides ``port``; ``SLATESTREAM_POLICIES__MAIN__SPEC=…`` overrides a
nested one. This module loads no compiled code, so that it can be read before numba is.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pydantic
import pydantic_settings
from pydantic import BaseModel, ConfigDict, Field
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from engine.errors import ConfigError, suggest

__all__ = ["DEFAULT_FILE", "DriftSettings", "KeySettings", "Settings", "read_settings"]

DEFAULT_FILE = Path("slatestream.toml")
PREFIX = "SLATESTREAM_"
FOREIGN = frozenset({"SLATESTREAM_DATA", "SLATESTREAM_CONFIG"})  # not settings of the service


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)


class KeySettings(_Table):
    """An API key, by its hash."""

    name: str = Field(min_length=1)
    scope: Literal["serve", "admin"]
    sha256: str = Field(pattern=r"^[0-9a-fA-F]{64}$")


class DriftSettings(_Table):
    """How a policy's rewards are watched, and what is done when they fall: `engine.drift.Drift`."""

    detector: Literal["adwin", "page-hinkley"] = "adwin"
    action: Literal["reset", "decay"] = "reset"
    halvings: int = 1
    delta: float | None = None
    threshold: float | None = None


class PolicySettings(_Table):
    """A policy: ``name`` or ``name:key=value,…``, the features it reads, and its watch."""

    spec: str
    features: tuple[dict[str, Any], ...] = ()
    drift: DriftSettings | None = None


class RecommenderSettings(_Table):
    """A recommender: its policy and how feedback becomes reward."""

    policy: str
    window_seconds: float = 600.0
    default_reward: float = 0.0
    kinds: dict[str, float] = Field(default_factory=lambda: {"click": 1.0})
    aggregation: Literal["earliest", "last", "max", "sum"] = "earliest"
    learn: Literal["close", "first"] = "close"
    shortlist: int = Field(default=0, ge=0, le=10_000)
    shortlist_random: int = Field(default=0, ge=0, le=10_000)


class Settings(BaseSettings):
    """Everything `slatestream serve` reads."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        case_sensitive=False,
    )

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    data_dir: Path = Path("slatestream-data")
    cache_dir: Path | None = None
    log: str = ""
    store: str = ""
    kafka: dict[str, Any] = Field(default_factory=dict)
    durability: Literal["process", "power"] = "process"
    workers: int = Field(default=1, ge=1, le=256)
    commit_interval_ms: int = Field(default=500, ge=1, le=60_000)
    commit_bytes_per_second: float = Field(default=8e6, ge=1e3, le=1e12)
    max_wait_ms: int = Field(default=2000, ge=0, le=60_000)
    metrics_port: int = Field(default=0, ge=0, le=65535)
    log_format: Literal["text", "json"] = "text"
    max_body_bytes: int = Field(default=1_048_576, ge=1024, le=1 << 30)
    remember_requests: int = Field(default=10_000, ge=0, le=10_000_000)
    remember_events: int = Field(default=100_000, ge=0, le=10_000_000)
    keys: tuple[KeySettings, ...] = ()
    policies: dict[str, PolicySettings] = Field(
        default_factory=lambda: {"main": PolicySettings(spec="linear-thompson")}
    )
    recommenders: dict[str, RecommenderSettings] = Field(
        default_factory=lambda: {"default": RecommenderSettings(policy="main")}
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Command line over environment over file."""
        del dotenv_settings, file_secret_settings
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    @property
    def reads_vectors(self) -> bool:
        """Whether some policy reads vectors of sets in the data folder."""
        features = (each for policy in self.policies.values() for each in policy.features)
        return any(each.get("type") == "vector" for each in features)

    def engine_settings(self) -> dict[str, Any]:
        """Return the part learned state depends on, as `EngineConfig.from_dict` takes it."""
        return {
            "policies": {name: each.model_dump() for name, each in self.policies.items()},
            "recommenders": {
                # What is ranked is no part of what is learned.
                name: each.model_dump(exclude={"shortlist", "shortlist_random"})
                for name, each in self.recommenders.items()
            },
        }


def read_settings(file: Path | None = None, **overrides: Any) -> Settings:
    """Read the TOML file and the environment; ``overrides`` (command line) win over both.

    Parameters
    ----------
    file
        The file; ``slatestream.toml`` is read when it exists and none is given.

    Raises
    ------
    ConfigError
        When the file is missing or not TOML, a key is unknown (with the nearest known one), or
        a value is wrong.
    """
    _refuse_unknown_variables(os.environ)
    path: Path | None = file or DEFAULT_FILE
    if file is None and not DEFAULT_FILE.exists():
        path = None
    given = {key: value for key, value in overrides.items() if value is not None}
    try:
        return _reader(_check_toml(path))(**given)
    except pydantic.ValidationError as error:
        raise ConfigError(f"{path or 'settings'}: {_explain(error)}") from error
    except pydantic_settings.SettingsError as error:
        raise ConfigError(f"settings: {error}") from error


def _reader(path: Path | None) -> type[Settings]:
    class FileSettings(Settings):
        model_config = SettingsConfigDict(toml_file=path)

    return FileSettings


def _check_toml(path: Path | None) -> Path | None:
    try:
        if path:
            tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read ({error.strerror}); 'slatestream init' writes one"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not TOML: {error}") from error
    return path


def _refuse_unknown_variables(environment: Mapping[str, str]) -> None:
    known = [PREFIX + name.upper() for name in Settings.model_fields]
    for variable in environment:
        name = variable.upper()
        if name.startswith(PREFIX) and name not in FOREIGN:
            head = PREFIX + name[len(PREFIX) :].partition("__")[0]
            if head not in known:
                raise ConfigError(
                    f"environment variable {variable} is no setting{suggest(head, known)}"
                )


def _explain(error: pydantic.ValidationError) -> str:
    told = []
    for each in error.errors(include_url=False, include_context=False):
        location = ".".join(str(part) for part in each["loc"])
        if each["type"] == "extra_forbidden":
            hint = suggest(str(each["loc"][-1]), _fields_at(each["loc"][:-1]))
            if each["loc"][0] == "keys":  # a key may stand where a name should
                location = "an entry of keys"
            told.append(f"{location!r} is no setting{hint}")
        else:
            given = each["input"]
            if each["loc"][:1] == ("keys",):  # it may be the key itself
                told.append(
                    f"{location!r}: {each['msg']}; paste the lines that 'slatestream keys new' "
                    "prints, never the key"
                )
                continue
            told.append(f"{location!r} is {given!r}: {each['msg']}")
    return "; ".join(told)


def _fields_at(location: Sequence[int | str]) -> list[str]:
    if location[:1] == ("policies",) and location[2:3] == ("drift",):
        return list(DriftSettings.model_fields)
    tables: dict[object, type[BaseModel]] = {
        "keys": KeySettings,
        "policies": PolicySettings,
        "recommenders": RecommenderSettings,
    }
    return list(tables.get(location[0] if location else None, Settings).model_fields)
