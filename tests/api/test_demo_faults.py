"""The demo against a service that fails: clicks are sent again, counts are waited for."""

import asyncio
import json
import sys

import pytest

from api.client import Client
from api.demo.host import DemoError, _wait_ready
from api.demo.show import settle
from api.demo.traffic import MOST_SENDINGS, Traffic
from simulator.worlds.shop import Shop

CONSERVATION = {"exact": True, "counts": {"feedback": {"pending": 0}}}
MODEL = {"conservation": CONSERVATION, "offsets": {"0": 3}, "end": 3}
SHOWN = Shop().items_at(0.0)[: Shop().slots]
SLATE = {"request_id": "r", "slate": [{"item_id": item_id} for item_id in SHOWN]}


class Flaky:
    """Answers like the service, after refusing each path a number of times."""

    def __init__(self, refusals):
        self.refusals = dict(refusals)
        self.bodies = []

    async def serve(self, reader, writer):
        while line := await reader.readline():
            path, length = line.split()[1].decode(), 0
            while header := (await reader.readline()).strip():
                name, _, value = header.lower().partition(b":")
                length = int(value) if name == b"content-length" else length
            self.bodies.append((path, await reader.readexactly(length)))
            refused = self.refusals.get(path, 0) > 0
            self.refusals[path] = self.refusals.get(path, 0) - 1
            answers = {"/v1/events": (202, {}), "/v1/slates": (200, SLATE)}
            status, body = (503, {}) if refused else answers.get(path, (200, MODEL))
            told = json.dumps(body).encode()
            writer.write(b"HTTP/1.1 %d x\r\nContent-Length: %d\r\n\r\n" % (status, len(told)))
            writer.write(told)
        writer.close()

    async def talk(self, ask):
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        try:
            async with Client("127.0.0.1", server.sockets[0].getsockname()[1]) as client:
                return await ask(client)
        finally:
            server.close()
            await server.wait_closed()


async def browse(client):
    traffic, stop = Traffic(client, Shop()), asyncio.Event()
    running = asyncio.create_task(traffic.run(stop))
    await asyncio.sleep(0.3)
    stop.set()
    await running
    return traffic


def clicked(traffic):
    return sum(sum(tally.clicks.values()) for tally in traffic.tallies.values())


def clicks(flaky):
    batches = [json.loads(body) for path, body in flaky.bodies if path == "/v1/events"]
    return [event["event_id"] for batch in batches for event in batch]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("api.demo.traffic.RESEND_SECONDS", 0.01)


def test_clicks_that_were_refused_are_sent_again():
    flaky = Flaky({"/v1/events": 3})
    traffic = asyncio.run(flaky.talk(browse))
    assert traffic.failed == 3
    assert 0 < traffic.events < len(clicks(flaky))
    assert traffic.events == clicked(traffic)


def test_a_service_that_stays_down_is_given_up():
    flaky = Flaky({"/v1/events": 10**9})
    traffic = asyncio.run(flaky.talk(browse))
    assert traffic.events == 0
    assert len(clicks(flaky)) == clicked(traffic) * MOST_SENDINGS > 0


def test_counts_are_waited_for_while_the_service_is_unready():
    assert asyncio.run(Flaky({"/v1/model": 3}).talk(settle)) == CONSERVATION


def test_what_a_service_said_before_it_ended_is_told(tmp_path):
    told = tmp_path / "service.log"
    told.write_text("\n".join(f"line {number}" for number in range(50)))

    async def start():
        process = await asyncio.to_thread(ended)
        await _wait_ready(process, tmp_path / "service.json", told)

    with pytest.raises(DemoError, match=r"(?s)code 1\. It said:\nline 30\n.*line 49$"):
        asyncio.run(start())


def ended():
    import subprocess

    process = subprocess.Popen([sys.executable, "-c", "raise SystemExit(1)"])
    process.wait()
    return process
