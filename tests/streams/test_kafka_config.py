"""Settings of a Kafka log: read from text, refused when they cannot work, handed to each client."""

import contextlib
import socket
import threading

import pytest

from engine.errors import ConfigError
from streams.errors import LogError
from streams.log.base import EVENTS
from streams.log.kafka import KafkaConfig, open_kafka
from streams.log.kafka.clients import client_settings
from streams.log.kafka.clock import BrokerClock
from streams.log.kafka.library import KafkaAdminClient, KafkaConsumer, KafkaProducer

CLIENTS = [KafkaAdminClient, KafkaConsumer, KafkaProducer]
LOGIN = {"sasl_mechanism": "SCRAM-SHA-512", "sasl_plain_username": "u", "sasl_plain_password": "p"}


def test_a_url_names_brokers_prefix_and_settings():
    config = KafkaConfig.from_url(
        "kafka://one:9092,two:9093/shop.eu.?partitions=24&instance_id=learner-1&leave_on_close=true"
    )
    assert config.servers == ("one:9092", "two:9093")
    assert config.name(EVENTS) == "shop.eu.events"
    assert (config.partitions, config.instance_id, config.leave_on_close) == (24, "learner-1", True)
    assert KafkaConfig.from_url("kafka://one:9092").name(EVENTS) == "events"


def test_plain_settings_are_read_and_keep_their_kinds():
    config = KafkaConfig.parse(
        {"servers": "a:1, b:2", "session_ms": "9000", "security_protocol": "SSL"}
    )
    assert config.servers == ("a:1", "b:2")
    assert config.session_ms == 9000
    assert config.security == {"security_protocol": "SSL"}
    assert KafkaConfig.parse({"servers": ["a:1"]}) == KafkaConfig(servers=("a:1",))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"servers": "broker"}, "give host:port"),
        ({"servers": []}, "no servers"),
        ({"servers": "a:99999"}, "host:port"),
        ({"prefix": "a/b"}, "prefix is 'a/b'"),
        ({"prefix": "x" * 250}, "up to 240"),
        ({"instance_id": ""}, "empty"),
        ({"partition": 3}, "did you mean 'partitions'"),
        ({"partitions": 0}, "partitions is 0"),
        ({"partitions": "many"}, "partitions"),
        ({"compression": "brotli"}, "compression"),
        ({"session_ms": 2000}, "three heartbeats"),
        ({"session_ms": 200_000}, "poll interval"),
        ({"linger_ms": 2000}, "fourth"),
        ({"total_bytes": 10}, "more in all"),
        ({"security_protocol": "TLS"}, "SASL_SSL"),
        ({"ssl_cafile": "/nowhere.pem", "security_protocol": "SSL"}, "no file"),
        ({"ssl_check_hostname": "false"}, "security_protocol is PLAINTEXT"),
        ({"ssl_check_hostname": "perhaps", "security_protocol": "SSL"}, "true or false"),
        ({"ssl_cipher": "x", "security_protocol": "SSL"}, "did you mean 'ssl_ciphers'"),
        ({"sasl_mechanism": "PLAIN"}, "security_protocol is PLAINTEXT"),
        ({"security_protocol": "SASL_SSL"}, "sasl_mechanism is None"),
        (
            {"security_protocol": "SASL_SSL", "sasl_mechanism": "PLAIN"},
            "sasl_plain_username is not given",
        ),
        (
            {"security_protocol": "SASL_SSL", "sasl_mechanism": "OAUTHBEARER"},
            "sasl_oauth_token_provider is not given",
        ),
    ],
)
def test_what_cannot_work_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        KafkaConfig.parse(settings)


@pytest.mark.parametrize("url", ["kafka:/one:1/x", "http://one:1", "kafka://u:p@one:9092/x"])
def test_what_is_not_a_url_of_kafka_is_refused(url):
    with pytest.raises(ConfigError, match="give kafka://"):
        KafkaConfig.from_url(url)


@pytest.mark.parametrize("kind", CLIENTS)
def test_security_reaches_every_client(kind, tmp_path):
    authority = tmp_path / "ca.pem"
    authority.write_text("")
    config = KafkaConfig.parse(
        {
            "servers": "one:9093",
            "security_protocol": "SASL_SSL",
            "ssl_cafile": str(authority),
            "ssl_check_hostname": "no",
            **LOGIN,
        }
    )
    settings = client_settings(config, kind)
    expected = {
        "bootstrap_servers": ["one:9093"],
        "security_protocol": "SASL_SSL",
        "ssl_cafile": str(authority),
        "ssl_check_hostname": False,
        **LOGIN,
    }
    assert {name: settings[name] for name in expected} == expected
    assert set(settings) <= set(kind.DEFAULT_CONFIG)


def test_passwords_are_not_shown():
    config = KafkaConfig.parse({"security_protocol": "SASL_PLAINTEXT", **LOGIN})
    assert "SCRAM" not in repr(config)


def test_when_no_broker_answers_the_error_says_why():
    log = open_kafka("kafka://127.0.0.1:1/x.?connect_ms=300")
    for ask in (
        lambda: log.poll(EVENTS, 0, 1),
        lambda: log.append(EVENTS, [("", b"")]),
        lambda: log.end(EVENTS),
        lambda: log.topic_id(EVENTS),
        log.create_topics,
    ):
        with pytest.raises(LogError, match=r"127\.0\.0\.1:1.*REFUSED"):
            ask()
    log.close()
    with pytest.raises(LogError, match="closed"):
        log.poll(EVENTS, 0, 1)


def test_who_asks_in_turn_does_not_wait_in_turn(monkeypatch):
    monkeypatch.setattr("streams.log.kafka.clients.BREAK_SECONDS", 60.0)
    connections = []

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connections.append(server.accept()[0])  # and never answer

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        log = open_kafka(f"kafka://127.0.0.1:{server.getsockname()[1]}?connect_ms=300")
        with pytest.raises(LogError, match="cannot connect"):
            log.end(EVENTS)
        seen = len(connections)
        assert seen > 0
        for partition in range(20):
            with pytest.raises(LogError, match="cannot connect"):
                log.poll(EVENTS, 0, 1, partition)
        assert len(connections) == seen
        log.close()
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
    for connection in connections:
        connection.close()


def test_the_clock_follows_stamps_by_as_little_as_they_ask(monkeypatch):
    monkeypatch.setattr("streams.log.kafka.clock.system_ms", lambda: 1000)
    clock = BrokerClock()
    clock.acknowledged(900, 950, 1000)
    assert clock.now_ms() == 1000  # nothing says that the clocks differ
    clock.acknowledged(900, 5000, 1000)
    assert clock.now_ms() == 5000  # it was at least so late when the answer came
    clock.acknowledged(900, 3000, 1000)
    assert clock.now_ms() == 3100  # and at most so late when it was sent
    clock.acknowledged(900, 800, 1000)
    assert clock.now_ms() == 900
    clock.read(700)
    assert clock.now_ms() == 900
    clock.read(1200)
    assert clock.now_ms() == 1200
