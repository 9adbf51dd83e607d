"""Where a Kafka log is and how it is read and written, as one frozen set of settings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from engine.errors import ConfigError, suggest
from streams.log.base import check_topic

__all__ = ["KafkaConfig"]

Compression = Literal["none", "gzip", "lz4", "zstd"]
PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "GSSAPI", "OAUTHBEARER")
SECURITY = (
    "security_protocol",
    "ssl_context",
    "ssl_check_hostname",
    "ssl_cafile",
    "ssl_certfile",
    "ssl_keyfile",
    "ssl_password",
    "ssl_crlfile",
    "ssl_ciphers",
    "sasl_mechanism",
    "sasl_plain_username",
    "sasl_plain_password",
    "sasl_kerberos_service_name",
    "sasl_kerberos_domain_name",
    "sasl_oauth_token_provider",
)
FILES = ("ssl_cafile", "ssl_certfile", "ssl_keyfile", "ssl_crlfile")
TRUTHS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
LEGAL = re.compile(r"[A-Za-z0-9._-]*")
MAX_TOPIC = 249 - len("catalogue")
POSITIVE = (
    "partitions",
    "replication",
    "heartbeat_ms",
    "session_ms",
    "poll_interval_ms",
    "partition_bytes",
    "total_bytes",
    "producer_bytes",
    "connect_ms",
    "request_ms",
    "append_ms",
    "fetch_ms",
    "stall_ms",
)


@dataclass(frozen=True, kw_only=True)
class KafkaConfig:
    """Settings of a Kafka log.

    Parameters
    ----------
    servers
        Brokers to ask first, ``host:port`` each.
    prefix
        Topics are ``{prefix}events``, ``{prefix}catalogue`` and ``{prefix}outcomes``.
    partitions, replication
        Of events and outcomes, and of all topics, when they are created; never changed later.
    client_id
        What brokers call this client in their logs and quotas.
    group_id
        Consumer group that shares the partitions among learners; "" for ``{prefix}slatestream``.
    instance_id
        Name of this member of the group, one for each process and the same after a restart: it
        gets its partitions back without a rebalance. None for a member without a name.
    leave_on_close
        A member with a name gives up its partitions when it closes, not when its session ends.
    session_ms
        A member not heard of for so long loses its partitions.
    heartbeat_ms
        How often a member says that it lives; at most a third of ``session_ms``.
    poll_interval_ms
        A member that lives but does not ask for changes for so long loses its partitions.
    security
        ``security_protocol`` and whatever begins with ``ssl_`` or ``sasl_``, as kafka-python
        takes it. Not shown in representations.
    compression
        Of what is appended: ``none``, ``gzip``, ``lz4`` or ``zstd``.
    linger_ms
        How long an append waits for others to share its batch.
    producer_bytes
        Bytes appended and not acknowledged, at most; more is refused at once.
    partition_bytes, total_bytes
        Bytes read and not yet polled, at most: of one partition, and of one topic. A poll may
        overshoot by the records of one round.
    connect_ms, request_ms
        How long to wait for a first answer of a broker, and for any later one.
    append_ms
        An append not acknowledged within this time has failed.
    fetch_ms
        How long a poll waits for records that are known to be there before it fails.
    stall_ms
        A partition known to hold more that brings nothing for so long is sought anew, after
        twice that with a new consumer.

    Raises
    ------
    ConfigError
        For what cannot work.
    """

    servers: tuple[str, ...] = ("localhost:9092",)
    prefix: str = ""
    partitions: int = 12
    replication: int = 1
    client_id: str = "slatestream"
    group_id: str = ""
    instance_id: str | None = None
    leave_on_close: bool = False
    session_ms: int = 10_000
    heartbeat_ms: int = 1_000
    poll_interval_ms: int = 120_000
    security: Mapping[str, Any] = field(default_factory=dict, repr=False)
    compression: Compression = "lz4"
    linger_ms: int = 2
    producer_bytes: int = 32 << 20
    partition_bytes: int = 8 << 20
    total_bytes: int = 64 << 20
    connect_ms: int = 5_000
    request_ms: int = 4_000
    append_ms: int = 5_000
    fetch_ms: int = 3_000
    stall_ms: int = 15_000

    def __post_init__(self) -> None:
        self._check_names()
        self._check_sizes()
        self._check_security()

    @classmethod
    def parse(cls, settings: Mapping[str, Any]) -> KafkaConfig:
        """Read plain settings: numbers may be text, servers one text with commas.

        Settings of security stand beside the others.

        Raises
        ------
        ConfigError
            For an unknown setting or one that cannot work.
        """
        plain = dict(settings)
        security = {name: plain.pop(name) for name in list(plain) if _is_security(name)}
        known = [item.name for item in fields(cls) if item.name != "security"]
        for name in plain:
            if name not in known:
                raise ConfigError(f"kafka has no setting {name!r}{suggest(name, known)}")
        if isinstance(plain.get("servers"), str):
            plain["servers"] = [part.strip() for part in plain["servers"].split(",")]
        try:
            config = msgspec.convert(plain, cls, strict=False)
        except msgspec.ValidationError as error:
            raise ConfigError(f"settings of kafka: {error}") from None
        values = {item.name: getattr(config, item.name) for item in fields(cls)}
        return cls(**{**values, "security": security})

    @classmethod
    def from_url(cls, url: str, more: Mapping[str, Any] | None = None) -> KafkaConfig:
        """Read ``kafka://host:port,host2:port/prefix?setting=value&…``; errors as in `parse`.

        ``more`` are settings beside those of the URL.
        """
        parts = urlsplit(url)
        if parts.scheme != "kafka" or not parts.netloc or "@" in parts.netloc:
            raise ConfigError(
                f"log is {url!r}; give kafka://host:port,host2:port/prefix?setting=value"
            )
        settings: dict[str, Any] = dict(parse_qsl(parts.query, keep_blank_values=True))
        settings["servers"] = parts.netloc
        if parts.path.strip("/"):
            settings["prefix"] = unquote(parts.path.strip("/"))
        return cls.parse({**settings, **(more or {})})

    @property
    def group(self) -> str:
        """Name of the consumer group: one for each set of topics, when none is given."""
        return self.group_id or f"{self.prefix}slatestream"

    def name(self, topic: str) -> str:
        """Name that Kafka knows a topic by; raises ``LogError`` when it is not one of ours."""
        return f"{self.prefix}{check_topic(topic)}"

    def _check_names(self) -> None:
        for server in self.servers:
            host, _, port = server.rpartition(":")
            if not host or not port.isdigit() or not 0 < int(port) < 65536:
                raise ConfigError(f"server is {server!r}; give host:port")
        if not self.servers:
            raise ConfigError("no servers are given; give host:port of at least one broker")
        for name, given in {"prefix": self.prefix, "instance_id": self.instance_id or "x"}.items():
            if not LEGAL.fullmatch(given) or len(given) > MAX_TOPIC:
                raise ConfigError(
                    f"{name} is {given!r}; give up to {MAX_TOPIC} of letters, digits, '.', '_', '-'"
                )
        if not self.client_id or self.instance_id == "":
            raise ConfigError("client_id or instance_id is empty; give a name")

    def _check_sizes(self) -> None:
        for name in POSITIVE:
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; give 1 or more")
        if self.compression not in get_args(Compression):
            raise ConfigError(
                f"compression is {self.compression!r}; give one of {list(get_args(Compression))}"
            )
        if not 0 <= self.linger_ms <= self.append_ms // 4:
            raise ConfigError(
                f"linger_ms is {self.linger_ms} and append_ms {self.append_ms}; give 0 to a fourth "
                "of append_ms"
            )
        if self.heartbeat_ms * 3 > self.session_ms or self.session_ms > self.poll_interval_ms:
            raise ConfigError(
                f"heartbeat_ms is {self.heartbeat_ms}, session_ms {self.session_ms}, "
                f"poll_interval_ms {self.poll_interval_ms}; give three heartbeats or more a "
                "session, and a session no longer than the poll interval"
            )
        if self.total_bytes < self.partition_bytes:
            raise ConfigError(
                f"total_bytes is {self.total_bytes}, partition_bytes {self.partition_bytes}; "
                "give more in all than for one partition"
            )

    def _check_security(self) -> None:
        security = dict(self.security)
        for name in security:
            if name not in SECURITY:
                raise ConfigError(f"security has no setting {name!r}{suggest(name, SECURITY)}")
        protocol = security.get("security_protocol", "PLAINTEXT")
        if protocol not in PROTOCOLS:
            raise ConfigError(f"security_protocol is {protocol!r}; give one of {list(PROTOCOLS)}")
        for kind in ("ssl", "sasl"):
            given = sorted(name for name in security if name.startswith(f"{kind}_"))
            if given and kind.upper() not in protocol.split("_"):
                raise ConfigError(f"{given[0]} is given and security_protocol is {protocol}")
        for name in FILES:
            if security.get(name) and not Path(security[name]).is_file():
                raise ConfigError(f"{name} is {security[name]!r}, which is no file")
        if "SASL" in protocol.split("_"):
            _check_sasl(security)
        if "ssl_check_hostname" in security:
            security["ssl_check_hostname"] = _truth(security["ssl_check_hostname"])
        object.__setattr__(self, "security", security)


def _is_security(name: str) -> bool:
    return name == "security_protocol" or name.startswith(("ssl_", "sasl_"))


def _check_sasl(security: Mapping[str, Any]) -> None:
    mechanism = security.get("sasl_mechanism")
    if mechanism not in MECHANISMS:
        raise ConfigError(f"sasl_mechanism is {mechanism!r}; give one of {list(MECHANISMS)}")
    needed = ["sasl_oauth_token_provider"] if mechanism == "OAUTHBEARER" else []
    if mechanism == "PLAIN" or mechanism.startswith("SCRAM"):
        needed = ["sasl_plain_username", "sasl_plain_password"]
    missing = [name for name in needed if not security.get(name)]
    if missing:
        raise ConfigError(f"sasl_mechanism is {mechanism} and {missing[0]} is not given")


def _truth(given: object) -> bool:
    if isinstance(given, bool):
        return given
    if str(given).lower() not in TRUTHS:
        raise ConfigError(f"ssl_check_hostname is {given!r}; give true or false")
    return TRUTHS[str(given).lower()]
